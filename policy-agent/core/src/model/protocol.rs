//! The protocols whose ports policies and containers name.

/// An IP protocol that NetworkPolicy ports can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// 6.
    Tcp = 6,
    /// 17.
    Udp = 17,
    /// 132.
    Sctp = 132,
}

impl Protocol {
    /// The IANA number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}
