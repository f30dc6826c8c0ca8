//! The protocols whose ports policies and containers name.

use std::fmt;

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

/// As `spec.ports[].protocol` says it (core/v1 `Protocol`).
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}
