//! ADDRESSES and CIDRS where facts or blocks changed: which identity an address or a prefix has.
//!
//! An identity is decided by the group of an address's pod and by the prefix around the address;
//! both are worked out once for all addresses that share them. Invariant: every
//! marked address gets what the facts and the active predicates say, in one write.

use std::net::IpAddr;

use policy_common::IdentityId;
use rustc_hash::FxHashMap;

use crate::{
    plan::{AddressValue, AddressWrite, Delta},
    resolve::{
        compile::Active,
        facts::{
            book::AddressBook,
            cluster::Cluster,
            ids::{AddressId, GroupId},
        },
        tables::identity::Identities,
    },
};

/// The identities of the pods of a group at addresses that have this identity in CIDRS; `None`
/// where no pod predicate holds.
type PodIdentities = FxHashMap<(GroupId, IdentityId), Option<IdentityId>>;

/// Brings CIDRS up to date with the active blocks, and marks the addresses with entries of
/// their own among the changed prefixes.
pub(crate) fn move_prefixes(
    addresses: &mut AddressBook,
    active: &mut Active,
    identities: &mut Identities,
    delta: &mut Delta,
) {
    let Active {
        predicates, blocks, ..
    } = active;
    let (roots, changed) = blocks.refresh();
    if roots.is_empty() {
        return;
    }
    for net in changed {
        let Some(set) = blocks.holds(&net).cloned() else {
            if let Some(before) = blocks.remove_prefix(&net) {
                identities.release(before, 1);
                delta.cidrs.push((net, None));
            }
            continue;
        };
        let identity = identities.intern(&set, predicates);
        identities.hold(identity, 1);
        let before = blocks.set_identity(&net, identity);
        if before != Some(identity) {
            delta.cidrs.push((net, Some(identity)));
        }
        if let Some(before) = before {
            identities.release(before, 1);
        }
    }
    blocks.index();
    for root in roots {
        let inside = root.network()..=root.broadcast();
        addresses.mark_written(inside);
    }
}

/// Brings ADDRESSES up to date for the marked addresses.
pub(crate) fn move_addresses(
    facts: &mut Cluster,
    active: &mut Active,
    identities: &mut Identities,
    delta: &mut Delta,
) {
    let mut known = PodIdentities::default();
    for id in facts.addresses.take_marked() {
        let address = facts.addresses[id].ip;
        let after = address_value(facts, active, identities, id, &mut known);
        if let Some(after) = after {
            identities.hold(after.identity, 1);
        }
        let before = facts.addresses.write(id, after);
        if let Some(before) = before {
            identities.release(before.identity, 1);
        }
        if before != after {
            delta.addresses.push(AddressWrite {
                address,
                before,
                after,
            });
        }
    }
    // Numbers of port names are made here; identities hold them from the start.
    active.predicates.take_fresh();
}

/// What ADDRESSES must say of an address. One for which no pod predicate holds needs no entry:
/// its blocks come from CIDRS.
fn address_value(
    facts: &Cluster,
    active: &mut Active,
    identities: &mut Identities,
    id: AddressId,
    known: &mut PodIdentities,
) -> Option<AddressValue> {
    let record = &facts.addresses[id];
    let (ip, host) = (record.ip, record.host);
    let winner = record.claimants.first();
    let pod = winner.map(|&pod| &facts.pods[pod as usize]);
    let group = record.group;
    let owner = pod.and_then(|pod| facts.endpoint_of(&pod.name));
    let owner = owner.map(|endpoint| endpoint.id);
    let elsewhere = active.blocks.identity_of(ip);
    let identity = group.and_then(|group| {
        let key = (group, elsewhere);
        if let Some(&identity) = known.get(&key) {
            return identity;
        }
        let identity = pod_identity(facts, active, identities, group, ip);
        known.insert(key, identity);
        identity
    });
    if identity.is_none() && owner.is_none() && !host {
        return None;
    }
    Some(AddressValue {
        identity: identity.unwrap_or(elsewhere),
        owner,
        host,
    })
}

/// The identity of a group's pod at an address, if a pod predicate holds.
fn pod_identity(
    facts: &Cluster,
    active: &mut Active,
    identities: &mut Identities,
    group: GroupId,
    ip: IpAddr,
) -> Option<IdentityId> {
    let Active {
        predicates,
        scopes,
        blocks,
    } = active;
    let mut set = blocks.of(ip).to_vec();
    let blocks = set.len();
    let group = &facts.groups[group as usize];
    let namespace = facts.namespaces.get(&group.namespace);
    let in_scopes = namespace.map_or(&[][..], |namespace| &namespace.scopes);
    scopes.terms_of(
        &group.namespace,
        in_scopes,
        &group.traits.labels,
        predicates,
        &mut set,
    );
    predicates.add_numbers(&group.traits.ports, &mut set);
    if set.len() == blocks {
        return None;
    }
    set.sort_unstable();
    set.dedup();
    Some(identities.intern(&set, predicates))
}
