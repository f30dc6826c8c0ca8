//! What one run of the agent remembers for the next: whose a network namespace is, what an interface had
//! when it was first seen, which pods lost theirs, and who was at the node's links.
//!
//! Owns what is written and what of an earlier run's is still to be matched. Invariants: a number is
//! believed to be the namespace it was only while nothing speaks against it, and doubt closes; what cannot be
//! read is not the same as nothing.

mod found;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use policy_core::bind::Binder;

pub(super) use self::found::Found;
use super::{
    Agent,
    endpoints::{key, leads_into},
};
use crate::{
    datapath::{About, MOST_FIRST, Memory as Record, MemoryMap, PinDirError},
    netns::Mark,
    node::{Interface, Sandbox},
};

/// The memory of a run.
#[derive(Debug)]
pub(super) struct Memory {
    map: MemoryMap,
    /// What stands in the map.
    written: BTreeMap<About, Record>,
    /// The network namespace in which the interfaces are.
    node: Record,
    /// Why nothing of an earlier run's is believed.
    pub(super) refused: Option<String>,
    /// The indexes of interfaces that are gone for certain.
    gone: BTreeSet<u32>,
    /// Interfaces as an earlier run knew them, until the first list has come.
    earlier: BTreeMap<u32, Record>,
    /// Whose the namespaces of these numbers were, until they are seen or end.
    owners: BTreeMap<i32, u64>,
    /// The namespaces that were those of pods without an interface.
    lost: BTreeMap<u64, (i32, Mark)>,
    /// Names of interfaces by the tags of their pods.
    names: BTreeMap<u64, String>,
    /// The numbers of namespaces that were seen, as the binder calls them.
    numbers: BTreeMap<Arc<str>, (i32, Mark)>,
    is_stale: bool,
    has_failed: bool,
}

impl Memory {
    /// Takes what an earlier run remembered, and tells the binder of pods. `gone`: interfaces that it had
    /// programs on and that are not there any more.
    pub(super) fn of(found: Found, gone: BTreeSet<u32>, binder: &mut Binder) -> Self {
        let Found {
            map,
            read,
            node,
            refused,
        } = found;
        let written = read.unwrap_or_else(|damage| {
            tracing::error!(
                "what an earlier run remembered of interfaces cannot be read ({damage}): those that were not \
                 a pod's for certain are nobody's until they are made anew"
            );
            binder.memory_is_lost();
            BTreeMap::new()
        });
        let mut memory = Self {
            map,
            written,
            node,
            refused,
            gone,
            earlier: BTreeMap::new(),
            owners: BTreeMap::new(),
            lost: BTreeMap::new(),
            names: BTreeMap::new(),
            numbers: BTreeMap::new(),
            is_stale: true,
            has_failed: false,
        };
        for (about, record) in &memory.written {
            match about {
                About::Interface(ifindex) => {
                    memory.earlier.insert(*ifindex, record.clone());
                }
                About::Pod(tag) => {
                    binder.was_spent(*tag, &record.addresses);
                    memory.lost.insert(*tag, (record.netns, record.mark));
                }
                About::Node => {}
            }
            if record.tag != 0 {
                memory.names.insert(record.tag, record.name.clone());
            }
        }
        memory
    }

    /// Interfaces or pods changed.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// A namespace has ended: its number says nothing any more.
    pub(super) fn ended(&mut self, number: i32) {
        self.owners.remove(&number);
        self.lost.retain(|_, one| one.0 != number);
        self.numbers.retain(|_, one| one.0 != number);
        self.is_stale = true;
    }

    /// The name of the interface that the pod of this tag had.
    pub(super) fn name(&self, tag: u64) -> String {
        let name = self.names.get(&tag).filter(|name| !name.is_empty());
        name.map_or_else(|| "its interface".into(), Clone::clone)
    }

    /// Makes the map what is wanted.
    fn write(&mut self, wanted: BTreeMap<About, Record>) -> Result<(), PinDirError> {
        let gone = self.written.keys().filter(|one| !wanted.contains_key(*one));
        for about in gone.copied().collect::<Vec<_>>() {
            self.map.remove(about)?;
            self.written.remove(&about);
        }
        for (about, record) in wanted {
            if self.written.get(&about) != Some(&record) {
                self.map.put(about, &record)?;
                self.written.insert(about, record);
            }
        }
        self.map.publish()
    }
}

impl Agent {
    /// Matches the interfaces that are there at the start with what an earlier run knew of them.
    pub(super) fn recall(&mut self, interfaces: &[Interface]) {
        let earlier = std::mem::take(&mut self.memory.earlier);
        let gone = std::mem::take(&mut self.memory.gone);
        for ifindex in &gone {
            self.is_another_interface(*ifindex);
        }
        let mut proven = BTreeSet::new();
        for interface in interfaces {
            let Some(record) = earlier.get(&interface.ifindex) else {
                continue;
            };
            if gone.contains(&interface.ifindex) {
                continue;
            }
            let sandbox = interface.sandbox.as_ref();
            // Only when the namespace of a number has ended, another one has it; and a pod gives none a name.
            let is_anew = |sandbox: &Sandbox| {
                sandbox.number == record.netns
                    && record.mark.is_another(&sandbox.mark, &sandbox.names)
            };
            if sandbox.is_some_and(is_anew) {
                self.is_another_interface(interface.ifindex);
                continue;
            }
            let is_same = |sandbox: &Sandbox| {
                (sandbox.number, sandbox.ifindex) == (record.netns, record.peer)
            };
            let port = self.ports.entry(interface.ifindex);
            if sandbox.is_some_and(is_same) {
                proven.insert(record.netns);
                if record.owner != 0 {
                    self.memory.owners.insert(record.netns, record.owner);
                }
                port.is_late = record.is_late;
                port.moved = record.is_moved;
                let addresses = record.addresses.clone();
                self.binder.remembered(interface.ifindex, addresses);
                if record.is_unremembered {
                    self.binder.unremembered(interface.ifindex);
                }
            } else if record.tag != 0 || port.recorded || record.is_moved {
                // It leads elsewhere than when it was decided, or is another one under the same index.
                if !record.is_moved {
                    tracing::error!(
                        "interface {}: while no agent ran its other end moved to another network namespace, or it was made anew; its pod is not known any more",
                        interface.name
                    );
                }
                (port.moved, port.recorded) = (true, true);
            }
        }
        // A number that is another namespace's for certain says nothing of whose it was.
        let sandboxes = interfaces.iter().filter_map(|one| one.sandbox.as_ref());
        let now: BTreeMap<i32, &Sandbox> = sandboxes.map(|one| (one.number, one)).collect();
        let is_over = |number: i32, mark: &Mark| {
            let now = now.get(&number);
            now.is_some_and(|now| mark.is_another(&now.mark, &now.names))
        };
        let of_interfaces = earlier.values();
        let of_interfaces = of_interfaces.map(|one| (one.netns, one.mark, one.owner));
        self.memory
            .lost
            .retain(|_, (number, mark)| !is_over(*number, mark));
        let of_pods = self.memory.lost.iter();
        let of_pods = of_pods.map(|(tag, (number, mark))| (*number, *mark, *tag));
        for (number, mark, owner) in of_interfaces.chain(of_pods) {
            if number >= 0 && owner != 0 && !is_over(number, &mark) {
                self.memory.owners.entry(number).or_insert(owner);
            }
        }
        for interface in interfaces {
            let number = interface.sandbox.as_ref().map(|sandbox| sandbox.number);
            let is_new =
                gone.contains(&interface.ifindex) || !earlier.contains_key(&interface.ifindex);
            let is_pods =
                |number: &i32| proven.contains(number) && self.memory.owners.contains_key(number);
            if is_new && number.as_ref().is_some_and(is_pods) {
                // Its pod ran already when the earlier run saw it.
                self.ports.entry(interface.ifindex).is_late = true;
            }
        }
    }

    /// The interface that an earlier run knew by this index is gone.
    fn is_another_interface(&mut self, ifindex: u32) {
        // Nothing is decided before the start is known: there is nothing to be told.
        self.binder.interface_removed(ifindex);
        self.own.gone(ifindex);
        self.ports.remove(ifindex);
        self.ids.release(ifindex);
    }

    /// An interface leads into this sandbox: tells the binder what an earlier run knew of it.
    pub(super) fn recall_sandbox(&mut self, sandbox: &Sandbox) {
        let netns = key(sandbox);
        let known = self
            .memory
            .numbers
            .insert(Arc::clone(&netns), (sandbox.number, sandbox.mark));
        if known.is_none()
            && let Some(tag) = self.memory.owners.remove(&sandbox.number)
        {
            self.binder.owned(&netns, tag);
        }
    }

    /// Pods that run on without the interface that they had in an earlier run.
    pub(super) fn recall_lost(&mut self, now: std::time::Instant) {
        for (pod, tag) in self.binder.without_interface() {
            let name = self.memory.name(tag);
            self.lost(pod, tag, (0, name), now);
        }
    }

    /// Remembers for the next run what changed.
    pub(super) fn remember(&mut self) {
        if !self.memory.is_stale || !self.phase.is_begun() {
            return;
        }
        self.memory.is_stale = false;
        let wanted = self.memorable();
        match self.memory.write(wanted) {
            Ok(()) => self.memory.has_failed = false,
            Err(error) => {
                if !self.memory.has_failed {
                    let error = super::causes(&error);
                    tracing::error!("what a restart has to know cannot be kept: {error}");
                }
                self.memory.has_failed = true;
                self.memory.is_stale = true;
            }
        }
    }

    fn memorable(&self) -> BTreeMap<About, Record> {
        let mut wanted = BTreeMap::from([(About::Node, self.memory.node.clone())]);
        for (ifindex, port) in self.ports.iter() {
            let Some(interface) = &port.interface else {
                continue;
            };
            let sandbox = leads_into(interface);
            if sandbox.is_none() && !port.moved {
                continue;
            }
            let about = About::Interface(ifindex);
            let tag = match (self.binder.tag(ifindex), &port.fact) {
                (0, Some(fact)) if port.moved => fact.tag,
                (tag, _) => tag,
            };
            let first = self.binder.first_addresses(ifindex).iter().copied();
            let mut addresses: Vec<_> = first.filter(is_telling).collect();
            // A family of which nothing is kept would count as one that was never seen.
            let is_cut = addresses.len() > MOST_FIRST;
            addresses.truncate(MOST_FIRST);
            let record = Record {
                tag,
                owner: sandbox.map_or(0, |sandbox| self.binder.owner(&key(sandbox))),
                netns: sandbox.map_or(-1, |sandbox| sandbox.number),
                mark: sandbox.map_or_else(Mark::default, |sandbox| sandbox.mark),
                peer: sandbox.map_or(0, |sandbox| sandbox.ifindex),
                is_late: port.is_late,
                is_moved: port.moved,
                is_unremembered: is_cut || self.binder.is_unremembered(ifindex),
                name: interface.name.to_string(),
                addresses,
                ..Record::default()
            };
            wanted.insert(about, record);
        }
        for (tag, addresses) in self.binder.spent() {
            let mut numbers = self.binder.sandboxes_of(tag);
            let netns = numbers.find_map(|netns| self.memory.numbers.get(netns));
            let netns = netns.or_else(|| self.memory.lost.get(&tag)).copied();
            let (number, mark) = netns.unwrap_or((-1, Mark::default()));
            let record = Record {
                tag,
                owner: tag,
                netns: number,
                mark,
                name: self.lost_name(tag).unwrap_or_else(|| self.memory.name(tag)),
                addresses: addresses.to_vec(),
                ..Record::default()
            };
            wanted.insert(About::Pod(tag), record);
        }
        wanted
    }
}

/// Whether an address tells pods apart.
fn is_telling(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}
