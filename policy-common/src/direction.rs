//! Ingress and egress, always from the pod's side.

/// Direction from the pod's side.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress = 0,
    /// From the pod.
    Egress = 1,
}

impl Direction {
    /// The direction with this number, of which only the lowest bit counts: no branch, for the verifier's sake.
    #[inline(always)]
    pub const fn of_bit(number: u64) -> Self {
        if number & 1 == 0 {
            Self::Ingress
        } else {
            Self::Egress
        }
    }

    /// The name that logs and metrics show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}
