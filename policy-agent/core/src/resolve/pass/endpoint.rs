//! ENDPOINTS: which rulesets an interface has, and when its flows must be judged again.
//!
//! Invariant: an endpoint is written when something about it changed, or when one of its rulesets
//! says something else of an address; only then.

use policy_common::{IdentityId, PortSetId, RulesetId};
use rustc_hash::FxHashSet;

use super::choose::Choice;
use crate::{
    model::pod_tag,
    plan::{AddressValue, AddressWrite, Delta, DirectionEntry, EndpointEntry, EndpointWrite},
    resolve::{
        compile::Active,
        facts::cluster::Cluster,
        tables::{
            Tables,
            endpoint::{Isolation, Written},
            ruleset::Rulesets,
        },
    },
};

fn ruleset(isolation: &Option<Isolation>) -> Option<RulesetId> {
    isolation.as_ref().map(|isolation| isolation.ruleset)
}

/// The interfaces whose endpoints have another verdict for one of the addresses. New rulesets
/// are left out: their endpoints are swapped anyway.
pub(crate) fn endpoints_to_judge_again(
    active: &Active,
    tables: &Tables,
    writes: &[AddressWrite],
    fresh: &FxHashSet<RulesetId>,
) -> FxHashSet<u32> {
    let mut changed: FxHashSet<RulesetId> = FxHashSet::default();
    let mut moves: FxHashSet<(IdentityId, IdentityId)> = FxHashSet::default();
    let mut host_changed = false;
    for write in writes {
        let elsewhere = active.blocks.identity_of(write.address);
        let identity = |value: Option<AddressValue>| value.map_or(elsewhere, |v| v.identity);
        let is_host = |value: Option<AddressValue>| value.is_some_and(|v| v.host);
        let (from, to) = (identity(write.before), identity(write.after));
        if from != to && moves.insert((from, to)) {
            let moved = rulesets_between(active, tables, from, to);
            changed.extend(moved.into_iter().filter(|&ruleset| {
                !fresh.contains(&ruleset)
                    && tables.rulesets.ports(ruleset, from) != tables.rulesets.ports(ruleset, to)
            }));
        }
        let was_host = is_host(write.before);
        if was_host != is_host(write.after) {
            host_changed = true;
            let otherwise = if was_host { to } else { from };
            changed.extend(tables.rulesets.used_for_egress().filter(|&ruleset| {
                tables.rulesets.ports(ruleset, otherwise) != PortSetId::ALLOW_ALL
            }));
        }
    }
    let mut interfaces: FxHashSet<u32> = changed
        .into_iter()
        .flat_map(|ruleset| tables.rulesets.users(ruleset))
        .collect();
    if host_changed {
        let unknown = tables.endpoints.iter().filter(|(_, w)| w.entry.unknown);
        interfaces.extend(unknown.map(|(&ifindex, _)| ifindex));
    }
    interfaces
}

/// The rulesets that ask for a predicate which only one of the identities has.
fn rulesets_between(
    active: &Active,
    tables: &Tables,
    from: IdentityId,
    to: IdentityId,
) -> FxHashSet<RulesetId> {
    let (from, to) = (
        tables.identities.predicates(from),
        tables.identities.predicates(to),
    );
    let lost = from.iter().filter(|id| to.binary_search(id).is_err());
    let gained = to.iter().filter(|id| from.binary_search(id).is_err());
    lost.chain(gained)
        .flat_map(|&id| active.predicates.rulesets(id))
        .collect()
}

/// Swaps the endpoints with other rulesets or facts, and those that must be judged again.
pub(crate) fn swap_endpoints(
    facts: &Cluster,
    tables: &mut Tables,
    mut choices: Vec<Choice>,
    touched: &FxHashSet<u32>,
    delta: &mut Delta,
) {
    let chosen: FxHashSet<u32> = choices.iter().map(|choice| choice.ifindex).collect();
    choices.extend(touched.difference(&chosen).filter_map(|&ifindex| {
        let written = tables.endpoints.get(&ifindex)?;
        Some(Choice {
            ifindex,
            ingress: written.ingress.clone(),
            egress: written.egress.clone(),
        })
    }));
    choices.sort_unstable_by_key(|choice| choice.ifindex);
    for choice in choices {
        let after = endpoint_entry(facts, &tables.rulesets, &choice);
        let chosen = [ruleset(&choice.ingress), ruleset(&choice.egress)];
        let before = match after.clone() {
            Some(entry) => tables.endpoints.insert(
                choice.ifindex,
                Written {
                    entry,
                    ingress: choice.ingress,
                    egress: choice.egress,
                },
            ),
            None => tables.endpoints.remove(&choice.ifindex),
        };
        if let Some(before) = &before {
            let before = [ruleset(&before.ingress), ruleset(&before.egress)];
            for (old, new) in before.into_iter().zip(chosen) {
                if let Some(old) = old.filter(|_| old != new) {
                    tables.rulesets.release(old, choice.ifindex);
                }
            }
        }
        let before = before.map(|written| written.entry);
        let is_swap = before != after;
        let mut write = EndpointWrite { before, after };
        let is_touched = touched.contains(&choice.ifindex);
        if let (before, Some(after)) = (&write.before, &mut write.after) {
            after.new_epoch = is_touched
                || before.as_ref().is_none_or(|before| {
                    let other_bridge = EndpointEntry {
                        bridge: after.bridge,
                        ..before.clone()
                    };
                    other_bridge != *after
                });
        }
        if is_swap || is_touched {
            delta.endpoints.push(write);
        }
    }
}

/// What ENDPOINTS must say of an interface; without a new epoch.
fn endpoint_entry(facts: &Cluster, rulesets: &Rulesets, choice: &Choice) -> Option<EndpointEntry> {
    let fact = facts.endpoints.get(&choice.ifindex)?;
    let pod = fact.pod.as_ref().and_then(|pod| facts.pod_id(pod));
    let own: Vec<_> = match pod {
        Some(pod) => facts.addresses_of(pod).collect(),
        None => fact.own.clone(),
    };
    let first = |v6| own.iter().copied().find(|address| address.is_ipv6() == v6);
    let addresses = [false, true].into_iter().filter_map(first).collect();
    let direction = |ruleset: Option<RulesetId>| {
        let ruleset = ruleset?;
        let (default_ports, has_blocks) = rulesets.defaults(ruleset);
        Some(DirectionEntry {
            ruleset,
            default_ports,
            has_blocks,
        })
    };
    Some(EndpointEntry {
        ifindex: fact.ifindex,
        id: fact.id,
        bridge: fact.bridge,
        ingress: direction(ruleset(&choice.ingress)),
        egress: direction(ruleset(&choice.egress)),
        addresses,
        unknown: pod.is_none(),
        pod_tag: pod.map_or(fact.tag, |pod| {
            let pod = &facts.pods[pod as usize];
            pod_tag(&pod.name, &pod.uid)
        }),
        mac: fact.mac,
        eui_64: fact.eui_64,
        services_later: facts.services != 0 && choice.egress.is_some(),
        new_epoch: false,
    })
}
