//! Pods, and who has an address that several of them claim.
//!
//! Invariant: the winner of an address is the first of its claimants: running before not, then
//! the later start, then the UID, then the name.

use std::{net::IpAddr, sync::Arc};

use smallvec::SmallVec;

use super::{
    book::Address,
    cluster::Cluster,
    group::{Group, Traits},
    ids::{AddressId, GroupId, PodId},
    pod::{Pod, claimed},
};
use crate::model::{ObjectName, PodFact};

impl Cluster {
    pub(crate) fn put_pod(&mut self, fact: PodFact) {
        if fact.unreadable {
            // Whoever it is, no selector can tell.
            return self.remove_pod(&fact.name);
        }
        match self.pod_id(&fact.name) {
            Some(id) => self.change_pod(id, fact),
            None => self.add_pod(fact),
        }
    }

    fn add_pod(&mut self, fact: PodFact) {
        // Fewer than 2^32 pods: each takes many bytes of memory.
        let id = self.pods.vacant_key() as PodId;
        let claimed = claimed(&fact);
        let PodFact {
            name,
            labels,
            ports,
            ..
        } = fact;
        let group = self.join_group(
            &name.namespace,
            Traits {
                labels,
                ports: ports.into(),
            },
        );
        let name = ObjectName {
            // One string for all pods of the namespace.
            namespace: self.groups[group as usize].namespace.clone(),
            name: name.name,
        };
        self.pod_ids.insert(name.clone(), id);
        self.pods.insert(Pod {
            name,
            uid: fact.uid,
            group,
            claims: SmallVec::new(),
            host_network: fact.host_network,
            finished: fact.finished,
            running: fact.running,
            started: fact.started,
        });
        self.reclaim(id, &claimed);
    }

    fn change_pod(&mut self, id: PodId, fact: PodFact) {
        let claimed = claimed(&fact);
        let pod = &self.pods[id as usize];
        let traits = Traits {
            labels: fact.labels,
            ports: fact.ports.into(),
        };
        let same_traits = *self.groups[pod.group as usize].traits == traits;
        let claims = pod.claims.iter().map(|&claim| self.addresses[claim].ip);
        let same_claims = claims.eq(claimed.iter().copied());
        let same_rest = pod.uid == fact.uid
            && pod.host_network == fact.host_network
            && pod.finished == fact.finished
            && pod.running == fact.running
            && pod.started == fact.started;
        if same_traits && same_claims && same_rest {
            return;
        }
        let before = pod.group;
        let group = match same_traits {
            true => before,
            false => self.join_group(&fact.name.namespace, traits),
        };
        let pod = &mut self.pods[id as usize];
        pod.uid = fact.uid;
        pod.group = group;
        pod.host_network = fact.host_network;
        pod.finished = fact.finished;
        pod.running = fact.running;
        pod.started = fact.started;
        self.reclaim(id, &claimed);
        if group != before {
            self.leave_group(&fact.name.namespace, before);
        }
    }

    pub(crate) fn remove_pod(&mut self, name: &ObjectName) {
        let Some(id) = self.pod_ids.remove(name) else {
            return;
        };
        for address in self.pods[id as usize].claims.clone() {
            self.retract(address, id);
        }
        let pod = self.pods.remove(id as usize);
        self.leave_group(&name.namespace, pod.group);
        self.drop_if_empty(&name.namespace);
        self.touch_interfaces(name);
    }

    fn join_group(&mut self, namespace: &Arc<str>, traits: Traits) -> GroupId {
        let entry = self.namespaces.entry(namespace.clone());
        let namespace = entry.key().clone();
        let index = &mut entry.or_default().groups;
        let group = index.join(&namespace, traits, &mut self.groups, &mut self.pools);
        if index.has_fresh() {
            self.dirty.groups.insert(namespace);
        }
        group
    }

    fn leave_group(&mut self, namespace: &Arc<str>, group: GroupId) {
        if let Some(namespace) = self.namespaces.get_mut(namespace) {
            namespace
                .groups
                .leave(group, &mut self.groups, &mut self.pools);
        }
    }

    /// Replaces what a pod claims; its addresses must be looked at in any case.
    fn reclaim(&mut self, id: PodId, claimed: &[IpAddr]) {
        let entered = claimed.iter().map(|&ip| self.addresses.enter(ip));
        let after: SmallVec<[AddressId; 2]> = entered.collect();
        let pod = &mut self.pods[id as usize];
        let name = pod.name.clone();
        let before = std::mem::replace(&mut pod.claims, after.clone());
        for &address in before.iter().filter(|address| !after.contains(address)) {
            self.retract(address, id);
        }
        for address in after {
            let claimants = &mut self.addresses[address].claimants;
            if !claimants.contains(&id) {
                claimants.push(id);
            }
            self.rank(address);
        }
        self.touch_interfaces(&name);
    }

    fn retract(&mut self, address: AddressId, id: PodId) {
        let claimants = &mut self.addresses[address].claimants;
        claimants.retain(|&mut other| other != id);
        self.rank(address);
    }

    /// Puts the winner of an address first, and the address into the winner's group. Who wins or
    /// loses it may have changed.
    fn rank(&mut self, address: AddressId) {
        self.addresses.mark(address);
        let Address {
            ip,
            claimants,
            group,
            ..
        } = &mut self.addresses[address];
        let pods = &self.pods;
        claimants.sort_by(|&a, &b| {
            let (a, b) = (&pods[a as usize], &pods[b as usize]);
            let rank = |pod: &Pod| (pod.running, pod.started);
            rank(b)
                .cmp(&rank(a))
                .then_with(|| b.uid.cmp(&a.uid))
                .then_with(|| b.name.cmp(&a.name))
        });
        let winner = claimants.first().map(|&pod| pods[pod as usize].group);
        if winner != *group {
            if let Some(before) = group.and_then(|group| self.groups.get_mut(group as usize)) {
                before.addresses.retain(|&mut other| other != address);
            }
            if let Some(group) = winner {
                self.groups[group as usize].addresses.push(address);
            }
            *group = winner;
        }
        if claimants.len() > 1 {
            self.contested.insert(*ip);
        } else {
            self.contested.remove(ip);
        }
        for pod in claimants.clone() {
            let name = self.pods[pod as usize].name.clone();
            self.touch_interfaces(&name);
        }
    }

    /// The number of a pod.
    pub(crate) fn pod_id(&self, name: &ObjectName) -> Option<PodId> {
        self.pod_ids.get(name).copied()
    }

    /// The pod of a name.
    pub(crate) fn pod(&self, name: &ObjectName) -> Option<&Pod> {
        self.pods.get(self.pod_id(name)? as usize)
    }

    /// The group of a pod.
    pub(crate) fn group_of(&self, pod: &Pod) -> &Group {
        &self.groups[pod.group as usize]
    }

    /// The pod that has an address.
    pub(crate) fn owner(&self, ip: IpAddr) -> Option<&Pod> {
        let winner = *self.addresses.find(ip)?.claimants.first()?;
        self.pods.get(winner as usize)
    }

    /// The addresses that a pod has, without those that another pod won.
    pub(crate) fn addresses_of(&self, id: PodId) -> impl Iterator<Item = IpAddr> {
        let claims = self.pods[id as usize].claims.iter();
        let records = claims.map(|&address| &self.addresses[address]);
        let own = records.filter(move |record| record.claimants.first() == Some(&id));
        own.map(|record| record.ip)
    }

    /// Everything that was said of a pod, without addresses that it cannot claim.
    pub(crate) fn fact(&self, pod: &Pod) -> PodFact {
        let Traits { labels, ports } = self.group_of(pod).traits.as_ref();
        let claims = pod.claims.iter();
        PodFact {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            labels: labels.clone(),
            addresses: claims.map(|&address| self.addresses[address].ip).collect(),
            ports: ports.to_vec(),
            host_network: pod.host_network,
            finished: pod.finished,
            running: pod.running,
            started: pod.started,
            ..PodFact::default()
        }
    }
}
