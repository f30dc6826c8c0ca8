//! A full compile: the time from facts to the plan, and the memory that the process needs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use policy_core::{model::Change, plan::Op, resolve::Resolver};

use super::{cluster::Cluster, policies::policy};

/// Changes that the source hands over at a time.
const PART: usize = 1000;

/// A compiled cluster.
pub(super) struct Compiled {
    pub(super) resolver: Resolver,
    pub(super) ops: Vec<Op>,
    pub(super) took: Duration,
}

/// Compiles the cluster with a new resolver. The input is made in parts, outside of the time that
/// is taken, and is given away to the resolver, as a source does it: it never exists twice.
pub(super) fn compile(cluster: &Cluster) -> Result<Compiled> {
    let policies = (0..cluster.policies).map(|index| Ok(Change::Policy(policy(cluster, index)?)));
    let mut input = cluster.facts().map(Ok).chain(policies);
    let mut resolver = Resolver::new();
    let mut took = Duration::ZERO;
    loop {
        let part: Vec<Change> = input.by_ref().take(PART).collect::<Result<_>>()?;
        if part.is_empty() {
            break;
        }
        let start = Instant::now();
        part.into_iter().for_each(|change| resolver.apply(change));
        took += start.elapsed();
    }
    let start = Instant::now();
    let ops = resolver.commit();
    took += start.elapsed();
    Ok(Compiled {
        resolver,
        ops,
        took,
    })
}

/// A field of `/proc/self/status` in bytes: `VmHWM` is the largest resident size so far, `VmRSS`
/// the present one.
pub(super) fn memory(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading own status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line
        .and_then(|line| line.trim_start_matches(':').split_whitespace().next())
        .with_context(|| format!("no {field} in /proc/self/status"))?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
