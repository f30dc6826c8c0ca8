//! Groups: the pods of one namespace that no rule tells apart but by their addresses, such as the
//! replicas of a Deployment. What selectors and port names say is worked out once for a group.
//!
//! Invariants: a pod is in one group; a group has pods; a group stands under
//! each of its labels.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::{book::AddressId, pool::Pool};
use crate::model::{ContainerPort, Labels, Protocol, Requirement, Selector};

/// Number of a group, inside the resolver only.
pub(super) type GroupId = u32;

/// What rules can ask about a pod besides its namespace and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Traits {
    pub(super) labels: Labels,
    pub(super) ports: Vec<ContainerPort>,
}

impl Traits {
    /// The numbers that are declared under a name and protocol.
    pub(super) fn numbers(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = u16> {
        let ports = self.ports.iter();
        ports
            .filter(move |port| port.protocol == protocol && *port.name == *name)
            .map(|port| port.number)
    }
}

/// Pods of one namespace with the same traits.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) namespace: Arc<str>,
    pub(super) traits: Arc<Traits>,
    /// The addresses that its pods have, without those that other pods won.
    pub(super) addresses: SmallVec<[AddressId; 4]>,
    pods: usize,
}

/// Numbers of groups, sorted.
type Groups = SmallVec<[GroupId; 4]>;

/// The groups of one namespace that have a label key.
#[derive(Debug, Default)]
struct Holders {
    all: Groups,
    by_value: FxHashMap<Arc<str>, Groups>,
}

/// The groups of one namespace, by label.
#[derive(Debug, Default)]
pub(super) struct GroupIndex {
    ids: FxHashMap<Arc<Traits>, GroupId>,
    keys: FxHashMap<Arc<str>, Holders>,
}

/// A requirement as the groups that it names: all of a group's pods meet it, or none.
struct Named<'a> {
    groups: SmallVec<[&'a Groups; 2]>,
    /// Whether the named groups meet it, or the others.
    these: bool,
}

impl Named<'_> {
    fn is_met_by(&self, id: GroupId) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|groups| groups.binary_search(&id).is_ok()) == self.these
    }

    fn count(&self) -> usize {
        self.groups.iter().map(|groups| groups.len()).sum()
    }
}

fn list(groups: &mut Groups, id: GroupId) {
    if let Err(at) = groups.binary_search(&id) {
        groups.insert(at, id);
    }
}

fn unlist(groups: &mut Groups, id: GroupId) {
    if let Ok(at) = groups.binary_search(&id) {
        groups.remove(at);
    }
}

impl GroupIndex {
    /// Puts a pod into the group of its traits.
    pub(super) fn join(
        &mut self,
        namespace: &Arc<str>,
        traits: Traits,
        groups: &mut Slab<Group>,
        pool: &mut Pool,
    ) -> GroupId {
        if let Some(&id) = self.ids.get(&traits) {
            groups[id as usize].pods += 1;
            return id;
        }
        let traits = Arc::new(Traits {
            labels: pool.share(traits.labels),
            ports: traits.ports,
        });
        // Fewer groups than pods, of which there are fewer than 2^32.
        let id = groups.insert(Group {
            namespace: namespace.clone(),
            traits: traits.clone(),
            addresses: SmallVec::new(),
            pods: 1,
        }) as GroupId;
        for (key, value) in &traits.labels {
            let holders = self.keys.entry(key.clone()).or_default();
            list(&mut holders.all, id);
            list(holders.by_value.entry(value.clone()).or_default(), id);
        }
        self.ids.insert(traits, id);
        id
    }

    /// Takes a pod without addresses out of its group.
    pub(super) fn leave(&mut self, id: GroupId, groups: &mut Slab<Group>, pool: &mut Pool) {
        let group = &mut groups[id as usize];
        group.pods -= 1;
        if group.pods > 0 {
            return;
        }
        let Group { traits, .. } = groups.remove(id as usize);
        self.ids.remove(&traits);
        for (key, value) in &traits.labels {
            let Some(holders) = self.keys.get_mut(key) else {
                continue;
            };
            unlist(&mut holders.all, id);
            if holders.all.is_empty() {
                self.keys.remove(key);
            } else if let Some(groups) = holders.by_value.get_mut(value) {
                unlist(groups, id);
                if groups.is_empty() {
                    holders.by_value.remove(value);
                }
            }
        }
        pool.give_back(&traits.labels);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = GroupId> {
        self.ids.values().copied()
    }

    /// Calls `each` for the groups that the selector matches.
    pub(super) fn matching(&self, selector: &Selector, mut each: impl FnMut(GroupId)) {
        let requirements = selector.requirements().iter();
        let named: SmallVec<[Named<'_>; 4]> = requirements
            .map(|requirement| self.named(requirement))
            .collect();
        let mut each_match = |id: GroupId| {
            if named.iter().all(|named| named.is_met_by(id)) {
                each(id);
            }
        };
        let positive = named.iter().filter(|named| named.these);
        match positive.min_by_key(|named| named.count()) {
            Some(fewest) => fewest
                .groups
                .iter()
                .flat_map(|groups| groups.iter())
                .for_each(|&id| each_match(id)),
            None => self.ids.values().for_each(|&id| each_match(id)),
        }
    }

    fn named(&self, requirement: &Requirement) -> Named<'_> {
        let holders = |key| self.keys.get(key).into_iter();
        let all = |key| holders(key).map(|holders| &holders.all).collect();
        let of_values = |key, values: &[Arc<str>]| {
            let holders = holders(key);
            holders
                .flat_map(|holders| {
                    let values = values.iter();
                    values.filter_map(|value| holders.by_value.get(value))
                })
                .collect()
        };
        let (groups, these) = match requirement {
            Requirement::In(key, values) => (of_values(key, values), true),
            Requirement::NotIn(key, values) => (of_values(key, values), false),
            Requirement::Exists(key) => (all(key), true),
            Requirement::DoesNotExist(key) => (all(key), false),
            Requirement::Never => (SmallVec::new(), true),
        };
        Named { groups, these }
    }
}
