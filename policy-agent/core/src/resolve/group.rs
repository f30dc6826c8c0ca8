//! Groups: the pods of one namespace that no rule tells apart but by their addresses, such as the
//! replicas of a Deployment. What selectors and port names say is worked out once for a group.
//!
//! Invariants: a pod is in one group; a group has pods; a group stands under its value of every
//! label key that a term asked for.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::{book::AddressId, pool::Pool, term::pivot};
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

/// Groups by the value of one label.
type ByValue = FxHashMap<Arc<str>, Vec<GroupId>>;

/// The groups of one namespace.
#[derive(Debug, Default)]
pub(super) struct GroupIndex {
    ids: FxHashMap<Arc<Traits>, GroupId>,
    /// Only the keys that a term asked for: most labels of a cluster never matter to a node.
    keys: FxHashMap<Arc<str>, ByValue>,
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
        for (key, values) in &mut self.keys {
            if let Some(value) = traits.labels.get(key) {
                values.entry(value.clone()).or_default().push(id);
            }
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
        for (key, values) in &mut self.keys {
            let Some(value) = traits.labels.get(key) else {
                continue;
            };
            if let Some(ids) = values.get_mut(value) {
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    values.remove(value);
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
    pub(super) fn matching(
        &mut self,
        selector: &Selector,
        groups: &Slab<Group>,
        each: impl FnMut(GroupId),
    ) {
        let matches = |id: &GroupId| selector.matches(&groups[*id as usize].traits.labels);
        let ids = &self.ids;
        let by_value = |key: &Arc<str>| {
            let mut values = ByValue::default();
            for (traits, &id) in ids {
                if let Some(value) = traits.labels.get(key) {
                    values.entry(value.clone()).or_default().push(id);
                }
            }
            values
        };
        // The pivot alone decides when nothing else is required.
        let is_only = selector.requirements().len() == 1;
        let matches_rest = |id: &GroupId| is_only || matches(id);
        match pivot(selector) {
            Some(Requirement::In(key, wanted)) => {
                let values = self.keys.entry(key.clone());
                let values = values.or_insert_with_key(by_value);
                let found = wanted.iter().filter_map(|value| values.get(value));
                found.flatten().copied().filter(matches_rest).for_each(each);
            }
            Some(Requirement::Exists(key)) => {
                let values = self.keys.entry(key.clone());
                let values = values.or_insert_with_key(by_value);
                let found = values.values().flatten().copied();
                found.filter(matches_rest).for_each(each);
            }
            _ => ids.values().copied().filter(matches).for_each(each),
        }
    }
}
