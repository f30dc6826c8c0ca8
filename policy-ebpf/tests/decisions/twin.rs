//! On the host a node has no twin: see the suites.

use policy_common::{Direction, Reason};
use policy_ebpf::{Origin, memory::MemoryWorld};

/// A packet at the pod's interface.
#[expect(dead_code, reason = "the twin in the kernel reads it")]
pub(crate) struct Shot<'a> {
    /// The hook where it comes by.
    pub(crate) hook: Direction,
    /// What is judged there, and counted: the hook's direction, or what is owed of the sender's.
    pub(crate) direction: Direction,
    pub(crate) frame: &'a [u8],
    pub(crate) origin: Origin,
}

/// Nothing.
#[derive(Default)]
pub(crate) struct Twin(());

impl Twin {
    /// What the core says.
    pub(crate) fn beside(
        &self,
        _: &MemoryWorld,
        _: &Shot<'_>,
        decide: impl FnOnce() -> Reason,
    ) -> Reason {
        decide()
    }
}
