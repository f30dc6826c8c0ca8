//! ADDRESSES and CIDRS: which identity an address or a prefix has.
//!
//! Invariant: after [`Resolver::move_addresses`] every marked address has what the facts and the
//! active predicates say, in one write.

use std::net::IpAddr;

use super::Resolver;
use crate::plan::{AddressValue, AddressWrite, Delta};

impl Resolver {
    /// Brings CIDRS up to date with the active blocks, and marks the addresses with entries of
    /// their own among the changed prefixes.
    pub(super) fn move_prefixes(&mut self, delta: &mut Delta) {
        let (roots, changed) = self.blocks.refresh();
        for net in changed {
            let Some(set) = self.blocks.holds(&net).cloned() else {
                if let Some(before) = self.blocks.forget(&net) {
                    self.identities.release(before);
                    delta.cidrs.push((net, None));
                }
                continue;
            };
            let identity = self.identities.acquire(&set, &mut self.predicates);
            let before = self.blocks.set_identity(&net, identity);
            if before != Some(identity) {
                delta.cidrs.push((net, Some(identity)));
            }
            if let Some(before) = before {
                self.identities.release(before);
            }
        }
        for root in roots {
            let (first, last) = (root.network(), root.broadcast());
            let inside = self
                .addresses
                .range(first..=last)
                .map(|(&address, _)| address);
            self.cluster.dirty.addresses.extend(inside);
        }
    }

    /// Brings ADDRESSES up to date for the marked addresses.
    pub(super) fn move_addresses(&mut self, delta: &mut Delta) {
        let mut dirty: Vec<IpAddr> = self.cluster.dirty.addresses.drain().collect();
        dirty.sort_unstable();
        for address in dirty {
            let after = self.address_value(address);
            let before = match after {
                Some(value) => self.addresses.insert(address, value),
                None => self.addresses.remove(&address),
            };
            if let Some(before) = before {
                self.identities.release(before.identity);
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

    /// What ADDRESSES must say of an address, holding its identity. An address for which no pod
    /// predicate holds needs no entry: its blocks come from CIDRS.
    fn address_value(&mut self, address: IpAddr) -> Option<AddressValue> {
        let pod = self.cluster.owner(address);
        let owner = pod.and_then(|pod| self.cluster.endpoint_of(&pod.name));
        let owner = owner.map(|endpoint| endpoint.id);
        let claims = self.cluster.claims.get(&address);
        let host = claims.is_some_and(|claims| claims.host);
        let mut set = self.blocks.of(address).to_vec();
        let blocks = set.len();
        if let Some(pod) = pod {
            let namespace = self.cluster.namespaces.get(&pod.name.namespace);
            let in_scopes = namespace.map_or(&[][..], |namespace| &namespace.scopes);
            self.scopes.terms_of(
                &pod.name.namespace,
                in_scopes,
                &pod.labels,
                &self.predicates,
                &mut set,
            );
            self.predicates.add_numbers(&pod.ports, &mut set);
        }
        if set.len() == blocks && owner.is_none() && !host {
            return None;
        }
        set.sort_unstable();
        set.dedup();
        Some(AddressValue {
            identity: self.identities.acquire(&set, &mut self.predicates),
            owner,
            host,
        })
    }
}
