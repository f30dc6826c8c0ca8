//! ADDRESSES and CIDRS: which identity an address or a prefix has.
//!
//! An identity is decided by the group of an address's pod and by the prefix around the address;
//! both are worked out once for all addresses that share them. Invariant: after a commit or a
//! collection every address has what the facts and the active predicates say, in one write.

use std::{cmp::Reverse, net::IpAddr};

use policy_common::IdentityId;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Resolver, activate::Gains, book::AddressId, group::GroupId, predicate::PredicateId};
use crate::plan::{AddressValue, AddressWrite, Delta};

/// The identities of the pods of a group at addresses that have this identity in CIDRS; `None`
/// where no pod predicate holds.
type PodIdentities = FxHashMap<(GroupId, IdentityId), Option<IdentityId>>;

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

impl Resolver {
    /// Brings CIDRS up to date with the active blocks, and marks the addresses with entries of
    /// their own among the changed prefixes.
    pub(super) fn move_prefixes(&mut self, delta: &mut Delta) {
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

    /// Brings ADDRESSES up to date for groups that gain predicates, except for marked addresses:
    /// their identities get finer, and the rulesets in use see no difference.
    pub(super) fn refine_addresses(&mut self, gains: Gains, delta: &mut Delta) {
        for (gained, groups) in gains {
            // First everything is read, in loops so short that the processor waits for many
            // records at a time.
            let groups = groups.iter();
            let addresses: Vec<AddressId> = groups
                .flat_map(|&group| &self.cluster.groups[group as usize].addresses)
                .copied()
                .collect();
            let written: Vec<(AddressId, IpAddr, Option<AddressValue>)> = addresses
                .into_iter()
                .map(|id| (id, &self.cluster.addresses[id]))
                .filter(|(_, record)| !record.marked)
                .map(|(id, record)| (id, record.ip, record.written))
                .collect();
            let mut finer: FxHashMap<IdentityId, Finer> = FxHashMap::default();
            let mut coarse: Vec<IdentityId> = Vec::with_capacity(written.len());
            for &(_, ip, before) in &written {
                let from = match before {
                    Some(value) => value.identity,
                    None => self.blocks.identity_of(ip),
                };
                coarse.push(from);
                let finer = finer.entry(from).or_default();
                finer.addresses += 1;
                finer.holders += usize::from(before.is_some());
            }
            for (&from, finer) in &mut finer {
                let Finer { holders, .. } = *finer;
                let predicates = &mut self.predicates;
                finer.to = self.identities.refine(from, holders, &gained, predicates);
                if finer.to != from {
                    self.identities.hold(finer.to, finer.addresses);
                    self.identities.release(from, holders);
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
                self.cluster.addresses[id].written = after;
                delta.renumbered.push(AddressWrite {
                    address,
                    before,
                    after,
                });
            }
        }
    }

    /// Brings ADDRESSES up to date for the addresses with identities that lose these predicates,
    /// for which no ruleset asks any more.
    pub(super) fn coarsen_addresses(
        &mut self,
        identities: FxHashSet<IdentityId>,
        orphans: &FxHashSet<PredicateId>,
        delta: &mut Delta,
    ) {
        // Of those that become the same the one with the most holders stays.
        let mut identities: Vec<IdentityId> = identities.into_iter().collect();
        identities.sort_unstable_by_key(|&id| (Reverse(self.identities.holders(id)), id));
        let mut coarser: FxHashMap<IdentityId, Coarser> = FxHashMap::default();
        for id in identities {
            let set = self.identities.set(id);
            let kept = set.iter().copied();
            let kept = kept.filter(|&id| !orphans.contains(&self.predicates.asked_as(id)));
            let kept: Vec<PredicateId> = kept.collect();
            if kept.iter().all(|&id| self.predicates.is_block(id)) {
                coarser.insert(id, Coarser::Blocks(kept));
                continue;
            }
            let to = self.identities.coarsen(id, &kept, &mut self.predicates);
            if to != id {
                coarser.insert(id, Coarser::Pods(to));
            }
        }
        if coarser.is_empty() {
            return;
        }
        let is_coarser = |value: AddressValue| coarser.contains_key(&value.identity);
        for id in self.cluster.addresses.written_as(is_coarser) {
            let record = &self.cluster.addresses[id];
            let address = record.ip;
            let Some(before) = record.written else {
                continue;
            };
            let identity = match &coarser[&before.identity] {
                Coarser::Pods(to) => Some(*to),
                Coarser::Blocks(_) if before.owner.is_none() && !before.host => None,
                Coarser::Blocks(kept) => Some(self.identities.intern(kept, &mut self.predicates)),
            };
            let after = identity.map(|identity| AddressValue { identity, ..before });
            if let Some(identity) = identity {
                self.identities.hold(identity, 1);
            }
            self.identities.release(before.identity, 1);
            self.cluster.addresses.write(id, after);
            delta.renumbered.push(AddressWrite {
                address,
                before: Some(before),
                after,
            });
        }
    }

    /// Brings ADDRESSES up to date for the marked addresses.
    pub(super) fn move_addresses(&mut self, delta: &mut Delta) {
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
