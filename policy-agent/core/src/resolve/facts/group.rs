//! Groups: the pods of one namespace that no rule tells apart but by their addresses, such as the
//! replicas of a Deployment. What selectors and port names say is worked out once for a group.
//!
//! Invariants: a pod is in one group; a group has pods.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::{
    ids::{AddressId, GroupId},
    label_index::LabelIndex,
    pool::Pools,
};
use crate::model::{ContainerPort, Labels, Protocol};

/// What rules can ask about a pod besides its namespace and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Traits {
    pub(crate) labels: Labels,
    pub(crate) ports: Arc<[ContainerPort]>,
}

/// The numbers that are declared under a name and protocol.
pub(crate) fn numbers(
    ports: &[ContainerPort],
    protocol: Protocol,
    name: &str,
) -> impl Iterator<Item = u16> {
    let ports = ports.iter();
    ports
        .filter(move |port| port.protocol == protocol && *port.name == *name)
        .map(|port| port.number)
}

/// Pods of one namespace with the same traits.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) namespace: Arc<str>,
    pub(crate) traits: Arc<Traits>,
    /// The addresses that its pods have, without those that other pods won.
    pub(crate) addresses: SmallVec<[AddressId; 4]>,
    pods: usize,
}

/// The groups of one namespace.
#[derive(Debug, Default)]
pub(crate) struct GroupIndex {
    ids: FxHashMap<Arc<Traits>, GroupId>,
    pub(crate) labels: LabelIndex<GroupId>,
    /// New ones, not in `labels` yet: many of one namespace at a time are listed much faster.
    fresh: Vec<GroupId>,
}

impl GroupIndex {
    /// Puts a pod into the group of its traits.
    pub(crate) fn join(
        &mut self,
        namespace: &Arc<str>,
        traits: Traits,
        groups: &mut Slab<Group>,
        pools: &mut Pools,
    ) -> GroupId {
        if let Some(&id) = self.ids.get(&traits) {
            groups[id as usize].pods += 1;
            return id;
        }
        let traits = Arc::new(Traits {
            labels: pools.take_labels(traits.labels),
            ports: pools.take_ports(traits.ports),
        });
        // Fewer groups than pods, of which there are fewer than 2^32.
        let id = groups.insert(Group {
            namespace: namespace.clone(),
            traits: traits.clone(),
            addresses: SmallVec::new(),
            pods: 1,
        }) as GroupId;
        self.fresh.push(id);
        self.ids.insert(traits, id);
        id
    }

    /// Takes a pod without addresses out of its group.
    pub(crate) fn leave(&mut self, id: GroupId, groups: &mut Slab<Group>, pools: &mut Pools) {
        let group = &mut groups[id as usize];
        group.pods -= 1;
        if group.pods > 0 {
            return;
        }
        let Group { traits, .. } = groups.remove(id as usize);
        self.ids.remove(&traits);
        self.labels.remove(&id, &traits.labels);
        self.fresh.retain(|&other| other != id);
        pools.give_back_labels(&traits.labels);
        pools.give_back_ports(&traits.ports);
    }

    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Lists the new groups by their labels.
    pub(crate) fn list(&mut self, groups: &Slab<Group>) {
        for id in self.fresh.drain(..) {
            let labels = &groups[id as usize].traits.labels;
            self.labels.insert(&id, labels);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = GroupId> {
        self.ids.values().copied()
    }
}
