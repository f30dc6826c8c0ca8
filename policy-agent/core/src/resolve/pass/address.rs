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
        Resolver,
        facts::ids::{AddressId, GroupId},
    },
};

/// The identities of the pods of a group at addresses that have this identity in CIDRS; `None`
/// where no pod predicate holds.
type PodIdentities = FxHashMap<(GroupId, IdentityId), Option<IdentityId>>;

impl Resolver {
    /// Brings CIDRS up to date with the active blocks, and marks the addresses with entries of
    /// their own among the changed prefixes.
    pub(crate) fn move_prefixes(&mut self, delta: &mut Delta) {
        let (roots, changed) = self.blocks.refresh();
        if roots.is_empty() {
            return;
        }
        for net in changed {
            let Some(set) = self.blocks.holds(&net).cloned() else {
                if let Some(before) = self.blocks.forget(&net) {
                    self.identities.release(before, 1);
                    delta.cidrs.push((net, None));
                }
                continue;
            };
            let identity = self.identities.intern(&set, &mut self.predicates);
            self.identities.hold(identity, 1);
            let before = self.blocks.set_identity(&net, identity);
            if before != Some(identity) {
                delta.cidrs.push((net, Some(identity)));
            }
            if let Some(before) = before {
                self.identities.release(before, 1);
            }
        }
        self.blocks.settle();
        for root in roots {
            let inside = root.network()..=root.broadcast();
            self.cluster.addresses.mark_written(inside);
        }
    }

    /// Brings ADDRESSES up to date for the marked addresses.
    pub(crate) fn move_addresses(&mut self, delta: &mut Delta) {
        let mut known = PodIdentities::default();
        for id in self.cluster.addresses.take_marked() {
            let address = self.cluster.addresses[id].ip;
            let after = self.address_value(id, &mut known);
            if let Some(after) = after {
                self.identities.hold(after.identity, 1);
            }
            let before = self.cluster.addresses.write(id, after);
            if let Some(before) = before {
                self.identities.release(before.identity, 1);
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
        self.predicates.take_fresh();
    }

    /// What ADDRESSES must say of an address. One for which no pod predicate holds needs no entry:
    /// its blocks come from CIDRS.
    fn address_value(&mut self, id: AddressId, known: &mut PodIdentities) -> Option<AddressValue> {
        let record = &self.cluster.addresses[id];
        let (ip, host) = (record.ip, record.host);
        let winner = record.claimants.first();
        let pod = winner.map(|&pod| &self.cluster.pods[pod as usize]);
        let group = record.group;
        let owner = pod.and_then(|pod| self.cluster.endpoint_of(&pod.name));
        let owner = owner.map(|endpoint| endpoint.id);
        let elsewhere = self.blocks.identity_of(ip);
        let identity = group.and_then(|group| {
            let key = (group, elsewhere);
            if let Some(&identity) = known.get(&key) {
                return identity;
            }
            let identity = self.pod_identity(group, ip);
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
    fn pod_identity(&mut self, group: GroupId, ip: IpAddr) -> Option<IdentityId> {
        let mut set = self.blocks.of(ip).to_vec();
        let blocks = set.len();
        let group = &self.cluster.groups[group as usize];
        let namespace = self.cluster.namespaces.get(&group.namespace);
        let in_scopes = namespace.map_or(&[][..], |namespace| &namespace.scopes);
        self.scopes.terms_of(
            &group.namespace,
            in_scopes,
            &group.traits.labels,
            &self.predicates,
            &mut set,
        );
        self.predicates.add_numbers(&group.traits.ports, &mut set);
        if set.len() == blocks {
            return None;
        }
        set.sort_unstable();
        set.dedup();
        Some(self.identities.intern(&set, &mut self.predicates))
    }
}
