//! A compiled cluster to which changes happen one by one, each checked.
//!
//! Invariant: after every change the tables are what the resolver's plans, executed one operation
//! at a time, make of them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use policy_core::{
    laws::Tables,
    model::Change,
    plan::{Contents, Op},
    resolve::Resolver,
};

use super::{cluster::Cluster, compile::Compiled, relevance::Relevance};

/// The cluster, the resolver, and its tables.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) relevance: Relevance,
    pub(super) rng: Rng,
    resolver: Resolver,
    tables: Tables,
    /// What taking back what nothing uses any more took, after each change.
    collected: Vec<Duration>,
}

/// What a change took, and how much of the tables it changed.
pub(super) struct Changed {
    pub(super) took: Duration,
    pub(super) ops: usize,
    /// Writes to ADDRESSES among them.
    pub(super) addresses: usize,
}

impl World {
    pub(super) fn new(cluster: Cluster, compiled: Compiled) -> Result<Self> {
        let Compiled {
            mut resolver, ops, ..
        } = compiled;
        let mut tables = Tables::default();
        ops.iter().for_each(|op| tables.execute(op));
        resolver.collect().iter().for_each(|op| tables.execute(op));
        Ok(Self {
            relevance: Relevance::new(&cluster)?,
            rng: Rng::with_seed(1),
            cluster,
            resolver,
            tables,
            collected: Vec::new(),
        })
    }

    /// Applies and commits the changes, one commit each, as the agent does it where they come one by
    /// one; takes the time from the first change to the last plan.
    pub(super) fn change(&mut self, changes: Vec<Change>) -> Result<Changed> {
        self.commits(changes.into_iter().map(|change| vec![change]).collect())
    }

    /// The same with a single commit: one turn of the agent's loop.
    pub(super) fn turn(&mut self, changes: Vec<Change>) -> Result<Changed> {
        self.commits(vec![changes])
    }

    /// What nothing uses any more is taken back afterwards, so that the next change finds the tables
    /// as a quiet agent has them.
    fn commits(&mut self, commits: Vec<Vec<Change>>) -> Result<Changed> {
        commits
            .iter()
            .flatten()
            .for_each(|change| self.relevance.apply(change));
        let mut plans: Vec<Vec<Op>> = Vec::with_capacity(commits.len());
        let start = Instant::now();
        for changes in commits {
            for change in changes {
                self.resolver.apply(change);
            }
            plans.push(self.resolver.commit());
        }
        let took = start.elapsed();
        let start = Instant::now();
        let collection = self.resolver.collect();
        self.collected.push(start.elapsed());

        let addresses = plans
            .iter()
            .flatten()
            .filter(|op| matches!(op, Op::PutAddress { .. } | Op::DeleteAddress(_)));
        let changed = Changed {
            took,
            ops: plans.iter().map(Vec::len).sum(),
            addresses: addresses.count(),
        };
        let ops = plans.iter().flatten().chain(&collection);
        ops.for_each(|op| self.tables.execute(op));
        let problems = self.tables.problems();
        ensure!(problems.is_empty(), "unlawful operations: {problems:?}");
        Ok(changed)
    }

    /// The times of the collections since the last call.
    pub(super) fn take_collected(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.collected)
    }

    /// Whether the tables are those that the resolver would write into empty ones.
    pub(super) fn check(&self) -> Result<()> {
        let again = Contents::of(&self.resolver.full());
        let tables = self.tables.contents();
        let same = again.port_sets == tables.port_sets
            && again.rules == tables.rules
            && again.addresses == tables.addresses
            && again.cidrs == tables.cidrs
            && again.endpoints.len() == tables.endpoints.len();
        ensure!(same, "the plans did not lead to the resolver's tables");
        Ok(())
    }
}
