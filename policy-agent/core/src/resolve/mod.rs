//! From facts to tables, incrementally.
//!
//! ```text
//! facts ── Cluster ── dirty endpoints ── Compiler ── Content ── Rulesets ─┐
//!             │                                         │                 ├─ Delta ── ops
//!             │        terms, blocks, port names ◄── Predicates           │
//!             └─────── marked addresses ── sets of predicates ─ Identities┘
//! ```
//!
//! Pods with the same labels and ports are one group: what rules say of it is worked out once.
//!
//! [`Resolver::apply`] records a change. [`Resolver::commit`] brings the tables up to date and only
//! ever *adds* predicates, so that identities get finer and nothing that a running program uses
//! goes away. [`Resolver::collect`] later takes back what nothing uses. A full compile is a commit
//! of an empty resolver to which all facts were applied.
//!
//! Knows no files, clocks, API objects or maps. Invariants: after a commit the tables give every
//! verdict that the specification gives for the facts; every ruleset has rules for every identity.

mod activate;
mod address;
mod block;
mod book;
mod cluster;
mod collect;
mod commit;
mod compile;
mod content;
mod endpoint;
mod explain;
mod group;
mod identity;
mod label_index;
mod numbers;
mod pods;
mod pool;
mod port_set;
mod predicate;
mod renumber;
mod ruleset;
mod term;
mod view;

use std::collections::BTreeMap;

use policy_common::RulesetId;

use self::{
    block::Blocks, cluster::Cluster, identity::Identities, port_set::PortSets,
    predicate::Predicates, ruleset::Rulesets, term::Scopes,
};
use crate::{model::Change, plan::EndpointEntry};

pub use explain::{AllowingRule, Explanation, PeerName, Question};
pub use view::{Conflict, EndpointView};

/// What ENDPOINTS says of an interface.
#[derive(Debug)]
struct Written {
    entry: EndpointEntry,
    ingress: Option<RulesetId>,
    egress: Option<RulesetId>,
}

/// The incremental resolver.
#[derive(Debug)]
pub struct Resolver {
    cluster: Cluster,
    predicates: Predicates,
    scopes: Scopes,
    blocks: Blocks,
    identities: Identities,
    rulesets: Rulesets,
    port_sets: PortSets,
    /// ENDPOINTS.
    endpoints: BTreeMap<u32, Written>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// A resolver without facts, for empty tables.
    pub fn new() -> Self {
        Self {
            cluster: Cluster::default(),
            predicates: Predicates::default(),
            scopes: Scopes::default(),
            blocks: Blocks::new(),
            identities: Identities::new(),
            rulesets: Rulesets::new(),
            port_sets: PortSets::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Records a change; cheap. The tables change with the next [`Resolver::commit`]. One change
    /// per commit keeps every step of the plan at the old or the new verdicts; several may be
    /// batched only into tables that no program reads yet.
    pub fn apply(&mut self, change: Change) {
        self.cluster.apply(change);
    }
}
