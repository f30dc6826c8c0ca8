//! What the kernel offers and aya does not: raw calls, grace periods, test runs, jiffies, and typed
//! access to the parts of a loaded object.
//!
//! Must not know policy, plans or pins. Invariant: outside this room nobody makes a system call of
//! bpf(2) by hand.

pub(crate) mod abi;
pub(crate) mod clock;
pub(crate) mod element;
pub(crate) mod grace;
pub(crate) mod hz;
pub(crate) mod lines;
pub(crate) mod netns;
pub(crate) mod part;
pub(crate) mod sys;
pub(crate) mod table;
pub(crate) mod test_run;
