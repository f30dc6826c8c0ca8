//! Devices of sandboxes that go through to this host's network: macvlan, ipvlan and VLANs of the host's
//! interfaces, tunnels whose outer packets are the host's.
//!
//! Owns what is known of them. Must not know who made one, or why. Invariant: what a namespace's owner
//! changes without end is read no faster than its messages come.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use super::{
    event::{Child, NodeEvent},
    link::{self, Link},
    namespace::Namespaces,
    socket::Requests,
};

/// The devices, by the numbers of their namespaces and their indices there.
#[derive(Debug, Default)]
pub(super) struct Children {
    known: BTreeMap<(i32, u32), Child>,
    /// Namespaces of which all was read.
    complete: BTreeSet<i32>,
}

impl Children {
    /// Whether a device is known to be one.
    pub(super) fn contains(&self, number: i32, ifindex: u32) -> bool {
        self.known.contains_key(&(number, ifindex))
    }

    /// The namespaces in which there are some.
    pub(super) fn namespaces(&self) -> BTreeSet<i32> {
        self.known.keys().map(|(number, _)| *number).collect()
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Child> {
        self.known.values().cloned().collect()
    }

    /// Whether all of a namespace was read once.
    pub(super) fn is_complete(&self, number: i32) -> bool {
        self.complete.contains(&number)
    }

    /// Reads all devices of a namespace.
    pub(super) fn read(
        &mut self,
        number: i32,
        requests: &mut Requests,
        namespaces: &mut Namespaces,
        events: &mut Vec<NodeEvent>,
    ) -> io::Result<()> {
        self.complete.insert(number);
        let links = match link::links_inside(requests, number) {
            // It changes while it is read, again and again: each change is announced too.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            links => links?,
        };
        let before = self.known.range((number, 0)..=(number, u32::MAX));
        let mut gone: BTreeSet<u32> = before.map(|((_, ifindex), _)| *ifindex).collect();
        for link in links {
            gone.remove(&link.ifindex);
            self.seen(
                number,
                link.ifindex,
                Some(link),
                requests,
                namespaces,
                events,
            )?;
        }
        for ifindex in gone {
            self.seen(number, ifindex, None, requests, namespaces, events)?;
        }
        Ok(())
    }

    /// Reads one device of a namespace again.
    pub(super) fn refresh(
        &mut self,
        (number, ifindex): (i32, u32),
        requests: &mut Requests,
        namespaces: &mut Namespaces,
        events: &mut Vec<NodeEvent>,
    ) -> io::Result<()> {
        let link = link::link_inside(requests, number, ifindex)?;
        self.seen(number, ifindex, link, requests, namespaces, events)
    }

    fn seen(
        &mut self,
        number: i32,
        ifindex: u32,
        link: Option<Link>,
        requests: &mut Requests,
        namespaces: &mut Namespaces,
        events: &mut Vec<NodeEvent>,
    ) -> io::Result<()> {
        let mut child = None;
        if let Some(link) = link
            && let Some(to) = link.link_namespace
            && !link.kind.is_paired()
            && namespaces.is_own(requests, to)?
        {
            child = Some(Child {
                netns: namespaces.get(requests, number).key,
                ifindex,
                name: Arc::from(&*link.name),
                kind: link.kind,
                below: link.link.filter(|below| *below != 0),
            });
        }
        let place = (number, ifindex);
        match child {
            Some(child) if self.known.get(&place) == Some(&child) => {}
            Some(child) => {
                events.push(NodeEvent::Child(child.clone()));
                self.known.insert(place, child);
            }
            None => events.extend(self.known.remove(&place).map(|child| gone(&child))),
        }
        Ok(())
    }

    /// A namespace has ended.
    pub(super) fn ended(&mut self, number: i32, events: &mut Vec<NodeEvent>) {
        self.complete.remove(&number);
        let all = std::mem::take(&mut self.known);
        for (place, child) in all {
            if place.0 == number {
                events.push(gone(&child));
            } else {
                self.known.insert(place, child);
            }
        }
    }
}

fn gone(child: &Child) -> NodeEvent {
    NodeEvent::ChildGone {
        netns: child.netns,
        ifindex: child.ifindex,
    }
}
