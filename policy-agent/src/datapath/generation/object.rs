//! The eBPF object that this binary carries.

/// The object that the build embedded, `None` when there was none.
#[cfg(ebpf_object)]
pub const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/policy-ebpf"
)));

/// The object that the build embedded, `None` when there was none.
#[cfg(not(ebpf_object))]
pub const EMBEDDED: Option<&[u8]> = None;
