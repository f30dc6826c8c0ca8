//! The eBPF object that this binary carries, and the binary's version.

/// The object that the build embedded, `None` when there was none.
#[cfg(ebpf_object)]
pub const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(
    env!("OUT_DIR"),
    "/policy-ebpf"
)));

/// The object that the build embedded, `None` when there was none.
#[cfg(not(ebpf_object))]
pub const EMBEDDED: Option<&[u8]> = None;

/// The version of this agent, for whoever finds its tables.
pub(super) fn version() -> [u8; 3] {
    let part = |text: &str| text.parse().unwrap_or_default();
    [
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    ]
}
