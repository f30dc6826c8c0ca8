//! `commit`: brings the tables up to date with the facts; only ever adds predicates.

use std::{net::IpAddr, sync::Arc};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Resolver, Written,
    cluster::Namespace,
    compile::Compiler,
    predicate::{Predicate, PredicateId, Scope, Term},
    ruleset::Parts,
};
use crate::{
    model::{ObjectName, PodFact},
    plan::{AddressValue, AddressWrite, Delta, DirectionEntry, EndpointEntry, EndpointWrite, Op},
};

/// With more new terms than this in a namespace, its pods are evaluated without asking first
/// whether one of them matches.
const FEW_TERMS: usize = 8;

/// The rulesets of one endpoint.
struct Choice {
    ifindex: u32,
    ingress: Option<RulesetId>,
    egress: Option<RulesetId>,
}

impl Resolver {
    /// Brings the tables up to date with all changes applied so far. The operations are to be
    /// executed in order; nothing that a program may still use is removed before
    /// [`Resolver::collect`].
    pub fn commit(&mut self) -> Vec<Op> {
        let mut delta = Delta::default();
        self.match_namespaces();
        let choices = self.choose_rulesets();
        self.activate();
        self.move_prefixes(&mut delta);
        self.move_addresses(&mut delta);
        let fresh = self.write_rules(&mut delta);
        let changed = self.changed_rulesets(&delta.addresses, &fresh);
        self.swap_endpoints(choices, &changed, &mut delta);
        delta.port_sets = self.port_sets.take_fresh();
        delta.commit_plan()
    }

    /// Which scopes a namespace is in follows its labels.
    fn match_namespaces(&mut self) {
        let mut names: Vec<_> = self.cluster.dirty.labels.drain().collect();
        names.sort_unstable();
        for name in names {
            let Some(namespace) = self.cluster.namespaces.get_mut(&name) else {
                continue;
            };
            let scopes: Vec<_> = namespace
                .labels
                .iter()
                .flat_map(|labels| self.scopes.matching(labels))
                .collect();
            if namespace.scopes != scopes {
                namespace.scopes = scopes;
                let pods: Vec<_> = namespace.pods.iter().copied().collect();
                for pod in pods {
                    self.cluster.mark_pod(pod);
                }
            }
            self.cluster.drop_if_empty(&name);
        }
    }

    /// The rulesets of every endpoint that may have others now.
    fn choose_rulesets(&mut self) -> Vec<Choice> {
        let dirty = &mut self.cluster.dirty;
        let namespaces = std::mem::take(&mut dirty.policies);
        let mut interfaces = std::mem::take(&mut dirty.endpoints);
        if !namespaces.is_empty() {
            interfaces.extend(
                self.cluster
                    .endpoints
                    .iter()
                    .filter_map(|(&ifindex, fact)| {
                        let pod = fact.pod.as_ref()?;
                        namespaces.contains(&pod.namespace).then_some(ifindex)
                    }),
            );
        }
        let mut compiler = Compiler::new(&mut self.predicates);
        let contents: Vec<_> = interfaces
            .into_iter()
            .map(|ifindex| {
                let pod = self.cluster.endpoints.get(&ifindex);
                let pod = pod.and_then(|fact| self.cluster.pod(fact.pod.as_ref()?));
                let mut content = |direction| {
                    let pod = pod?;
                    let namespace = self.cluster.namespaces.get(&pod.name.namespace)?;
                    compiler.content(namespace, pod, direction)
                };
                let ingress = content(Direction::Ingress);
                (ifindex, ingress, content(Direction::Egress))
            })
            .collect();
        let mut choices = Vec::with_capacity(contents.len());
        for (ifindex, ingress, egress) in contents {
            let mut acquire = |content: Option<_>| {
                let parts = Parts {
                    predicates: &mut self.predicates,
                    identities: &self.identities,
                    port_sets: &mut self.port_sets,
                };
                Some(self.rulesets.acquire(content?, ifindex, parts))
            };
            choices.push(Choice {
                ifindex,
                ingress: acquire(ingress),
                egress: acquire(egress),
            });
        }
        choices
    }

    /// Makes the predicates known for which new rulesets ask, and marks the addresses for which
    /// they may hold.
    fn activate(&mut self) {
        let mut terms: Vec<(PredicateId, Term)> = Vec::new();
        let mut names: FxHashSet<PredicateId> = FxHashSet::default();
        for id in self.predicates.take_fresh() {
            if !self.predicates.is_asked_for(id) {
                self.predicates.remove(id);
                continue;
            }
            match self.predicates.get(id).map(Arc::as_ref) {
                Some(Predicate::Term(term)) => terms.push((id, term.clone())),
                Some(Predicate::Block(block)) => self.blocks.insert(id, block),
                Some(Predicate::Name(..)) => {
                    names.insert(id);
                }
                Some(Predicate::Number(..)) | None => {}
            }
        }
        if !terms.is_empty() {
            self.activate_terms(&terms);
        }
        if !names.is_empty() {
            self.activate_names(&names);
        }
    }

    fn activate_terms(&mut self, terms: &[(PredicateId, Term)]) {
        let mut by_namespace: FxHashMap<Arc<str>, Vec<PredicateId>> = FxHashMap::default();
        let mut by_selector: FxHashMap<&Scope, Vec<PredicateId>> = FxHashMap::default();
        for (id, term) in terms {
            match &term.scope {
                Scope::Namespace(name) => by_namespace.entry(name.clone()).or_default().push(*id),
                scope => by_selector.entry(scope).or_default().push(*id),
            }
            if let Some(scope) = self.scopes.insert(*id, term)
                && let Scope::Matching(selector) = &term.scope
            {
                for namespace in self.cluster.namespaces.values_mut() {
                    let labels = namespace.labels.as_ref();
                    if labels.is_some_and(|labels| selector.matches(labels)) {
                        namespace.scopes.push(scope);
                        namespace.scopes.sort_unstable();
                    }
                }
            }
        }
        for (scope, ids) in by_selector {
            let Scope::Matching(selector) = scope else {
                continue;
            };
            for (name, namespace) in &self.cluster.namespaces {
                let labels = namespace.labels.as_ref();
                if labels.is_some_and(|labels| selector.matches(labels)) {
                    by_namespace.entry(name.clone()).or_default().extend(&ids);
                }
            }
        }
        let mut marked = Vec::new();
        for (name, ids) in by_namespace {
            if let Some(namespace) = self.cluster.namespaces.get(&name) {
                marked.extend(self.pods_of_any(namespace, &ids));
            }
        }
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }

    /// The pods of a namespace for which one of the terms holds, or perhaps does.
    fn pods_of_any(
        &self,
        namespace: &Namespace,
        terms: &[PredicateId],
    ) -> impl Iterator<Item = u32> {
        namespace.pods.iter().copied().filter(move |&pod| {
            terms.len() > FEW_TERMS
                || self.cluster.pods.get(pod as usize).is_some_and(|pod| {
                    terms.iter().any(|&term| {
                        let selector = self.predicates.pods(term);
                        selector.is_some_and(|selector| selector.matches(&pod.labels))
                    })
                })
        })
    }

    fn activate_names(&mut self, names: &FxHashSet<PredicateId>) {
        let predicates = &self.predicates;
        let marked: Vec<_> = self
            .cluster
            .pods
            .iter()
            .filter(|(_, pod)| {
                pod.ports.iter().any(|port| {
                    predicates
                        .find_name(port.protocol, &port.name)
                        .is_some_and(|id| names.contains(&id))
                })
            })
            .map(|(pod, _)| pod as u32)
            .collect();
        for pod in marked {
            self.cluster.mark_pod(pod);
        }
    }

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
        let mut set = Vec::new();
        if let Some(pod) = pod {
            Self::pod_predicates(
                pod,
                self.cluster.namespaces.get(&pod.name.namespace),
                &self.scopes,
                &mut self.predicates,
                &mut set,
            );
        }
        if set.is_empty() && owner.is_none() && !host {
            return None;
        }
        set.extend(self.blocks.of(address));
        set.sort_unstable();
        set.dedup();
        Some(AddressValue {
            identity: self.identities.acquire(&set, &mut self.predicates),
            owner,
            host,
        })
    }

    fn pod_predicates(
        pod: &PodFact,
        namespace: Option<&Namespace>,
        scopes: &super::term::Scopes,
        predicates: &mut super::predicate::Predicates,
        into: &mut Vec<PredicateId>,
    ) {
        let in_scopes = namespace.map_or(&[][..], |namespace| &namespace.scopes);
        scopes.terms_of(
            &pod.name.namespace,
            in_scopes,
            &pod.labels,
            predicates,
            into,
        );
        for port in &pod.ports {
            if let Some(name) = predicates.find_name(port.protocol, &port.name)
                && predicates.is_asked_for(name)
            {
                into.push(predicates.intern(Predicate::Number(name, port.number)));
            }
        }
    }

    /// Writes the rules that new rulesets and new identities need; returns the new rulesets.
    pub(super) fn write_rules(&mut self, delta: &mut Delta) -> FxHashSet<RulesetId> {
        let identities = self.identities.take_fresh();
        let parts = Parts {
            predicates: &mut self.predicates,
            identities: &self.identities,
            port_sets: &mut self.port_sets,
        };
        let (fresh, rules) = self.rulesets.write_rules(&identities, parts);
        for &ruleset in &fresh {
            delta.rules.extend(reserved_rules(ruleset));
        }
        delta.rules.extend(rules);
        fresh.into_iter().collect()
    }

    /// The rulesets that say something else of an address than before. New ones are not among
    /// them: their endpoints are swapped anyway.
    fn changed_rulesets(
        &self,
        writes: &[AddressWrite],
        fresh: &FxHashSet<RulesetId>,
    ) -> FxHashSet<RulesetId> {
        let mut changed = FxHashSet::default();
        for write in writes {
            let elsewhere = self.blocks.identity_of(write.address);
            let identity = |value: Option<AddressValue>| value.map_or(elsewhere, |v| v.identity);
            let is_host = |value: Option<AddressValue>| value.is_some_and(|v| v.host);
            let (from, to) = (identity(write.before), identity(write.after));
            let (was_host, is_host) = (is_host(write.before), is_host(write.after));
            if from != to {
                let moved = self.rulesets_between(from, to);
                changed.extend(moved.into_iter().filter(|&ruleset| {
                    !fresh.contains(&ruleset)
                        && self.rulesets.ports(ruleset, from) != self.rulesets.ports(ruleset, to)
                }));
            }
            if was_host != is_host {
                let stays = if was_host { to } else { from };
                changed.extend(self.rulesets.used_for_egress().filter(|&ruleset| {
                    self.rulesets.ports(ruleset, stays) != PortSetId::ALLOW_ALL
                }));
            }
        }
        changed
    }

    /// The rulesets that ask for a predicate which only one of the identities has.
    fn rulesets_between(&self, from: IdentityId, to: IdentityId) -> FxHashSet<RulesetId> {
        let (from, to) = (self.identities.set(from), self.identities.set(to));
        let lost = from.iter().filter(|id| to.binary_search(id).is_err());
        let gained = to.iter().filter(|id| from.binary_search(id).is_err());
        lost.chain(gained)
            .flat_map(|&id| self.predicates.rulesets(id))
            .collect()
    }

    /// Swaps the endpoints with other rulesets or facts, and those whose ruleset says something
    /// else of an address: these only need a new epoch.
    fn swap_endpoints(
        &mut self,
        mut choices: Vec<Choice>,
        changed: &FxHashSet<RulesetId>,
        delta: &mut Delta,
    ) {
        let chosen: FxHashSet<u32> = choices.iter().map(|choice| choice.ifindex).collect();
        let touched: FxHashSet<u32> = changed
            .iter()
            .flat_map(|&ruleset| self.rulesets.users(ruleset))
            .collect();
        choices.extend(touched.difference(&chosen).filter_map(|&ifindex| {
            let written = self.endpoints.get(&ifindex)?;
            Some(Choice {
                ifindex,
                ingress: written.ingress,
                egress: written.egress,
            })
        }));
        choices.sort_unstable_by_key(|choice| choice.ifindex);
        for choice in choices {
            let after = self.endpoint_entry(&choice);
            let before = match after.clone() {
                Some(entry) => self.endpoints.insert(
                    choice.ifindex,
                    Written {
                        entry,
                        ingress: choice.ingress,
                        egress: choice.egress,
                    },
                ),
                None => self.endpoints.remove(&choice.ifindex),
            };
            if let Some(before) = &before {
                for (old, new) in [
                    (before.ingress, choice.ingress),
                    (before.egress, choice.egress),
                ] {
                    if let Some(old) = old.filter(|_| old != new) {
                        self.rulesets.release(old, choice.ifindex);
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
    fn endpoint_entry(&self, choice: &Choice) -> Option<EndpointEntry> {
        let fact = self.cluster.endpoints.get(&choice.ifindex)?;
        let pod = fact.pod.as_ref().and_then(|pod| self.cluster.pod(pod));
        let mut addresses = Vec::new();
        if let Some(pod) = pod {
            let own: Vec<_> = self.cluster.addresses_of(pod).collect();
            addresses.extend(own.iter().find(|address| address.is_ipv4()));
            addresses.extend(own.iter().find(|address| address.is_ipv6()));
        }
        let direction = |ruleset: Option<RulesetId>| {
            let ruleset = ruleset?;
            let (default_ports, has_blocks) = self.rulesets.defaults(ruleset);
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
            ingress: direction(choice.ingress),
            egress: direction(choice.egress),
            addresses,
            unknown: pod.is_none(),
            pod_tag: pod.map_or(0, |pod| pod_tag(&pod.name, &pod.uid)),
            new_epoch: false,
        })
    }
}

/// The rules of every ruleset: the host and the endpoint itself are always allowed.
pub(super) fn reserved_rules(ruleset: RulesetId) -> [(RulesetId, IdentityId, PortSetId); 2] {
    [IdentityId::HOST, IdentityId::SELF].map(|identity| (ruleset, identity, PortSetId::ALLOW_ALL))
}

/// FNV-1a over UID, namespace and name; the same for the same pod in every run, never 0.
fn pod_tag(name: &ObjectName, uid: &str) -> u64 {
    let parts = [uid, "/", &name.namespace, "/", &name.name];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}
