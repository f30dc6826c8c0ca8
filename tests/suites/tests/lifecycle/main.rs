//! What happens in the life of a node, on the wire: its own traffic, connections that come and go,
//! agents that end and take over, pods that change, policies that are edited. Every test runs the
//! real agent, routed with TCX and bridged with clsact.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adoption;
mod alone;
mod arithmetic;
mod books;
mod bridging;
mod changes;
mod claims;
mod commits;
mod editing;
mod established;
mod flows;
mod growth;
mod health;
mod identity;
#[path = "../../../../policy-agent/tests/kept/mod.rs"]
mod kept;
mod kills;
mod leaks;
mod masquerade;
mod memory;
mod newcomers;
mod node_origin;
mod position;
mod probes;
mod random;
mod renewed;
mod resolver;
mod restart;
mod scene;
mod services;
mod shares;
mod sift;
mod steady;
mod succession;
mod table;
mod translated;
mod trouble;
mod twins;
mod untold;
mod upgrade;
mod ways;
mod why;
mod world;
