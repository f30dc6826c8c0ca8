//! The port that rules judge.

/// A port, host byte order, or none, in one word: an `Option` leaves a register unwritten where there is none,
/// and the verifier refuses a program that puts that on its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Port(u64);

impl Port {
    /// That of a protocol without ports.
    pub const NONE: Self = Self(1 << 16);

    /// A port.
    #[inline(always)]
    pub const fn of(number: u16) -> Self {
        Self(number as u64)
    }

    /// A port as packets have it.
    #[inline(always)]
    pub const fn of_be_bytes(bytes: [u8; 2]) -> Self {
        Self::of(u16::from_be_bytes(bytes))
    }

    /// Its number, if it is one.
    #[inline(always)]
    pub const fn number(self) -> Option<u16> {
        if self.0 == Self::NONE.0 {
            None
        } else {
            Some(self.0 as u16)
        }
    }

    /// As functions take it that know numbers only.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// What [`Port::word`] gave.
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        Self(word)
    }
}
