//! ADDRESSES where predicates come or go and no fact changed: identities get finer or coarser.
//!
//! Knows nothing of pods, and asks no selector: what an identity becomes follows from its set.
//! Where all its holders become the same it keeps its number, and nothing is written. Invariant:
//! to every ruleset in use, an address says before and after the same.

use std::{cmp::Reverse, net::IpAddr};

use policy_common::IdentityId;
use rustc_hash::{FxHashMap, FxHashSet};

use super::activate::Gains;
use crate::{
    plan::{AddressValue, AddressWrite, Delta},
    resolve::{
        compile::{
            Active,
            predicate::{PredicateId, Predicates},
        },
        facts::{
            book::AddressBook,
            cluster::Cluster,
            ids::{AddressId, GroupId},
        },
        tables::identity::Identities,
    },
};

/// What becomes of the addresses that had one identity, in ADDRESSES or only in CIDRS.
#[derive(Default)]
struct Finer {
    to: IdentityId,
    addresses: usize,
    /// Those in ADDRESSES.
    holders: usize,
}

/// What an identity becomes that loses predicates.
enum Coarser {
    /// Pod predicates are left.
    Pods(IdentityId),
    /// Only blocks are left: the addresses need no entries for them.
    Blocks(Vec<PredicateId>),
}

/// Brings ADDRESSES up to date for groups that gain predicates, except for marked addresses:
/// their identities get finer, and the rulesets in use see no difference.
pub(crate) fn refine_addresses(
    facts: &mut Cluster,
    active: &mut Active,
    identities: &mut Identities,
    gains: Gains,
    delta: &mut Delta,
) {
    let Active {
        predicates, blocks, ..
    } = active;
    for (gained, groups) in gains {
        let written = written_of(facts, &groups);
        let mut finer: FxHashMap<IdentityId, Finer> = FxHashMap::default();
        let mut coarse: Vec<IdentityId> = Vec::with_capacity(written.len());
        for &(_, ip, before) in &written {
            let from = match before {
                Some(value) => value.identity,
                None => blocks.identity_of(ip),
            };
            coarse.push(from);
            let finer = finer.entry(from).or_default();
            finer.addresses += 1;
            finer.holders += usize::from(before.is_some());
        }
        for (&from, finer) in &mut finer {
            let Finer { holders, .. } = *finer;
            finer.to = identities.refine(from, holders, &gained, predicates);
            if finer.to != from {
                identities.hold(finer.to, finer.addresses);
                identities.release(from, holders);
            }
        }
        for ((id, address, before), from) in written.into_iter().zip(coarse) {
            let identity = finer[&from].to;
            if identity == from {
                continue;
            }
            let after = Some(AddressValue {
                identity,
                owner: before.and_then(|value| value.owner),
                host: before.is_some_and(|value| value.host),
            });
            facts.addresses[id].written = after;
            delta.refined.push(AddressWrite {
                address,
                before,
                after,
            });
        }
    }
}

/// The addresses of groups, without marked ones, and what ADDRESSES says of them. Read in loops
/// so short that the processor waits for many records at a time.
fn written_of(
    facts: &Cluster,
    groups: &[GroupId],
) -> Vec<(AddressId, IpAddr, Option<AddressValue>)> {
    let groups = groups.iter();
    let addresses: Vec<AddressId> = groups
        .flat_map(|&group| &facts.groups[group as usize].addresses)
        .copied()
        .collect();
    addresses
        .into_iter()
        .map(|id| (id, &facts.addresses[id]))
        .filter(|(_, record)| !record.marked)
        .map(|(id, record)| (id, record.ip, record.written))
        .collect()
}

/// Brings ADDRESSES up to date for the addresses with identities that lose these predicates,
/// for which no ruleset asks any more.
pub(crate) fn coarsen_addresses(
    addresses: &mut AddressBook,
    predicates: &mut Predicates,
    identities: &mut Identities,
    (losers, orphans): (FxHashSet<IdentityId>, &FxHashSet<PredicateId>),
    delta: &mut Delta,
) {
    // Of those that become the same the one with the most holders stays.
    let mut losers: Vec<IdentityId> = losers.into_iter().collect();
    losers.sort_unstable_by_key(|&id| (Reverse(identities.holders(id)), id));
    let mut coarser: FxHashMap<IdentityId, Coarser> = FxHashMap::default();
    for id in losers {
        let set = identities.set(id);
        let kept = set.iter().copied();
        let kept = kept.filter(|&id| !orphans.contains(&predicates.asked_as(id)));
        let kept: Vec<PredicateId> = kept.collect();
        if kept.iter().all(|&id| predicates.is_block(id)) {
            coarser.insert(id, Coarser::Blocks(kept));
            continue;
        }
        let to = identities.coarsen(id, &kept, predicates);
        if to != id {
            coarser.insert(id, Coarser::Pods(to));
        }
    }
    if coarser.is_empty() {
        return;
    }
    let is_coarser = |value: AddressValue| coarser.contains_key(&value.identity);
    for id in addresses.written_as(is_coarser) {
        let record = &addresses[id];
        let address = record.ip;
        let Some(before) = record.written else {
            continue;
        };
        let identity = match &coarser[&before.identity] {
            Coarser::Pods(to) => Some(*to),
            Coarser::Blocks(_) if before.owner.is_none() && !before.host => None,
            Coarser::Blocks(kept) => Some(identities.intern(kept, predicates)),
        };
        let after = identity.map(|identity| AddressValue { identity, ..before });
        if let Some(identity) = identity {
            identities.hold(identity, 1);
        }
        identities.release(before.identity, 1);
        addresses.write(id, after);
        delta.refined.push(AddressWrite {
            address,
            before: Some(before),
            after,
        });
    }
}
