//! What the agent tells the programs beside the maps: when it loads them, and while they run.

/// Reads a field of CONFIG: to the verifier, a constant.
macro_rules! config {
    ($field:ident) => {{
        // SAFETY: the global lies in read-only data that the loader filled; volatile, because the
        // compiler must not believe the value it was built with.
        unsafe {
            (&raw const (*(&raw const $crate::bpf::maps::CONFIG).cast::<policy_common::Config>())
                .$field)
                .read_volatile()
        }
    }};
}
pub(crate) use config;

/// Whether the object was loaded for `BPF_PROG_TEST_RUN`.
#[inline(always)]
pub(crate) fn is_test_run() -> bool {
    config!(test_seam) != 0
}

/// Reads a field of CONTROL, which the agent writes while programs run.
macro_rules! control {
    ($field:ident) => {{
        let control = $crate::bpf::maps::CONTROL.0.get();
        // SAFETY: the global is memory of the object; volatile, because it changes.
        unsafe { (&raw const (*control).$field).read_volatile() }
    }};
}
pub(super) use control;

/// Zero from a map: to the verifier, any number.
#[inline(always)]
pub(crate) fn unknown_zero() -> u64 {
    control!(zero)
}
