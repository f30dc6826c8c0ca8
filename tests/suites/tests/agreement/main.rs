//! The decision core, the loaded programs and the resolver's promises agree, on random packets and
//! random clusters. Needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
#[path = "../../../../policy-agent/core/tests/laws/generate.rs"]
#[expect(
    dead_code,
    reason = "the resolver's own tests use more of their generators"
)]
mod generate;
mod known_flows;
mod packets;
mod prefixes;
mod processors;
mod random;
mod remembered;
mod seam;
mod under_load;
