//! From facts to tables, incrementally.
//!
//! ```text
//! facts ── Cluster ── dirty endpoints ── Compiler ── Content ── Rulesets ─┐
//!             │                                         │                 ├─ Delta ── ops
//!             │        terms, blocks, port names ◄── Predicates           │
//!             └─────── marked addresses ── sets of predicates ─ Identities┘
//! ```
//!
//! The rooms; each knows only those to its left (`ask` and `pass` stand beside each other):
//!
//! ```text
//! facts/              compile/                tables/         pass/               ask/
//! what is known       what policies ask for   numbered rows   one step each of    what others may
//! cluster  claims     policy → content        identity        commit, collect:    know: view,
//! pod  group  book    predicate               ruleset         activate  refine    explain
//! pool  label_index   term  block  ports      port_set        address  endpoint
//! ids                                         numbers
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

mod ask;
mod compile;
mod facts;
mod pass;
mod tables;

use std::collections::BTreeSet;

use policy_common::RulesetId;

use self::{compile::Active, facts::cluster::Cluster, tables::Tables};
use crate::{model::Change, plan::Op};

pub use ask::{
    connection::{Connection, Judgement, Party, Passing, Reach, Unanswerable},
    explain::{Explanation, Nearest, PeerName, Question, RuleName},
    survey::{Class, Region, regions},
    view::{Conflict, EndpointView},
};

/// The incremental resolver.
#[derive(Debug)]
pub struct Resolver {
    facts: Cluster,
    active: Active,
    tables: Tables,
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
            facts: Cluster::default(),
            active: Active::new(),
            tables: Tables::new(),
        }
    }

    /// Records a change; cheap. The tables change with the next [`Resolver::commit`]. One change
    /// per commit keeps every step of the plan at the old or the new verdicts; several may be
    /// batched only into tables that no program reads yet.
    pub fn apply(&mut self, change: Change) {
        self.facts.apply(change);
    }

    /// Brings the tables up to date with all changes applied so far. The operations are to be
    /// executed in order; nothing that a program may still use is removed before
    /// [`Resolver::collect`].
    pub fn commit(&mut self) -> Vec<Op> {
        pass::commit(&mut self.facts, &mut self.active, &mut self.tables)
    }

    /// Takes back the rulesets, predicates, identities and port sets that no endpoint uses. The
    /// operations wait for running programs themselves; numbers may be used again once they are
    /// executed. Does nothing while applied changes wait for a commit.
    pub fn collect(&mut self) -> Vec<Op> {
        self.collect_but(&BTreeSet::new())
    }

    /// The same, but rulesets are held that endpoints keep in tables without room for others: they
    /// go on getting rules for every identity.
    pub fn collect_but(&mut self, held: &BTreeSet<RulesetId>) -> Vec<Op> {
        pass::collect_but(held, &mut self.facts, &mut self.active, &mut self.tables)
    }
}
