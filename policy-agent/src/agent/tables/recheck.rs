//! Connections to Services, and to ports of this host, that a change of policy forbids.
//!
//! What a pod sends on one is judged where its translation is seen, with every packet; what comes back finds the
//! flow of the address that the pod called, and nobody there knows who stands behind it. So after a change the
//! kernel's connection tracking is asked, which does. Owns whose connections are looked at, and when.
//! Invariant: a connection is only ever closed here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use policy_common::EndpointId;
use policy_core::plan::{EndpointEntry, Op};

use super::Worker;
use crate::{
    agent::causes,
    datapath::ForbiddenFlow,
    netlink::conntrack::{self, Tracked},
};

/// Between two walks of the kernel's table lies so many times what one took.
const WALK_SHARE: u32 = 10;
/// A program that had read a flow before it was closed may have written it back: so much later it has ended.
const AGAIN: Duration = Duration::from_millis(300);

/// Whose connections are to be looked at.
#[derive(Default)]
pub(super) struct Recheck {
    waiting: BTreeSet<EndpointId>,
    /// The same once more.
    again: BTreeSet<EndpointId>,
    due: Option<Instant>,
    next_walk: Option<Instant>,
    failure: Option<String>,
}

impl Recheck {
    /// Takes in what is about to be written.
    pub(super) fn foresee(&mut self, ops: &[Op], now: Instant) {
        let changed = ops.iter().filter_map(|op| match op {
            Op::PutEndpoint(entry) if entry.new_epoch && entry.egress.is_some() => Some(entry.id),
            _ => None,
        });
        let before = self.waiting.len();
        self.waiting.extend(changed);
        if self.waiting.len() > before {
            self.due = Some(self.next_walk.map_or(now, |next| next.max(now)));
        }
    }

    /// When the next walk is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Worker {
    /// Closes what the rules in force forbid.
    pub(super) fn recheck(&mut self) {
        let began = Instant::now();
        let recheck = &mut self.recheck;
        let first = std::mem::take(&mut recheck.waiting);
        let mut looked_at = std::mem::replace(&mut recheck.again, first.clone());
        looked_at.extend(&first);
        let tables = &self.now.tables;
        let endpoints: Vec<EndpointEntry> = tables
            .written_endpoints()
            .filter(|entry| looked_at.contains(&entry.id))
            .cloned()
            .collect();
        let owners: BTreeMap<IpAddr, &EndpointEntry> = endpoints
            .iter()
            .flat_map(|entry| entry.addresses.iter().map(move |one| (*one, entry)))
            .collect();
        let is_wanted = |one: &Tracked| {
            one.reply.source != one.original.destination
                && owners
                    .get(&one.original.source.ip())
                    .is_some_and(|entry| !tables.lets_out(entry, one.reply.source, one.protocol))
        };
        let result = match conntrack::tracked(is_wanted) {
            Ok(forbidden) => {
                let flows = forbidden.iter().filter_map(|one| {
                    let entry = owners.get(&one.original.source.ip())?;
                    Some(ForbiddenFlow {
                        endpoint: entry.id,
                        ifindex: entry.ifindex,
                        protocol: one.protocol,
                        pod: one.original.source,
                        peer: one.original.destination,
                    })
                });
                let flows: Vec<_> = flows.collect();
                self.now.forbid(&flows).map_err(|error| causes(&error))
            }
            Err(error) => Err(causes(&error)),
        };
        let recheck = &mut self.recheck;
        let failure = match result {
            Ok(0) => None,
            Ok(count) => {
                tracing::info!(
                    connections = count,
                    "closed what a change forbids of connections by Services"
                );
                None
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = &failure
            && recheck.failure.as_ref() != Some(failure)
        {
            tracing::warn!(
                "connections by Services that a change forbids are not all closed: {failure}"
            );
        }
        recheck.failure = failure;
        let took = began.elapsed();
        let next = began + took + took.saturating_mul(WALK_SHARE);
        recheck.next_walk = Some(next);
        recheck.due = (!recheck.again.is_empty()).then(|| next.max(began + AGAIN));
        if first.is_empty() {
            recheck.again.clear();
            recheck.due = None;
        }
    }
}
