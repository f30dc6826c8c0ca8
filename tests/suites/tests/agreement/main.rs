//! The decision core, the loaded programs and the resolver's promises agree, on random packets and
//! random clusters. Needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod known_flows;
mod loans;
mod packets;
mod prefixes;
mod processors;
mod random;
mod remembered;
mod scene;
mod seam;
mod torn;
mod under_load;
mod untold;
