//! Numbers of endpoints.
//!
//! Owns which number is whose. Invariant: a number is given to another interface only after a sweep
//! that did not count it as live – no flow of the endpoint before is left then.

use std::collections::{BTreeMap, BTreeSet};

use policy_common::{Endpoint, EndpointId, limits};

/// Hands out endpoint numbers.
#[derive(Debug)]
pub struct EndpointIds {
    /// Numbers by interface.
    used: BTreeMap<u32, EndpointId>,
    /// Given back since the last sweep.
    retired: BTreeSet<EndpointId>,
    /// Where to look first: a number rests as long as possible.
    next: u16,
    most: u16,
}

impl EndpointIds {
    /// Goes on where an earlier run of the agent stopped.
    pub fn new(most: u32, earlier: &[Endpoint]) -> Self {
        let most = most.min(limits::MAX_ENDPOINTS);
        Self {
            used: earlier
                .iter()
                .map(|endpoint| (endpoint.ifindex, endpoint.id))
                .collect(),
            retired: BTreeSet::new(),
            next: 1,
            most: u16::try_from(most).unwrap_or(u16::MAX),
        }
    }

    /// The number of an interface; a new one if it has none. `None`: all are in use.
    pub fn assign(&mut self, ifindex: u32) -> Option<EndpointId> {
        if let Some(id) = self.used.get(&ifindex) {
            return Some(*id);
        }
        let taken: BTreeSet<_> = self.used.values().chain(&self.retired).copied().collect();
        let id = (self.next..self.most)
            .chain(1..self.next)
            .map(EndpointId)
            .find(|id| !taken.contains(id))?;
        self.next = id.0.saturating_add(1).min(self.most);
        self.used.insert(ifindex, id);
        Some(id)
    }

    /// Takes the number of an interface back; it rests until the next sweep.
    pub fn release(&mut self, ifindex: u32) {
        self.retired.extend(self.used.remove(&ifindex));
    }

    /// Interfaces with a number.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.used.keys().copied()
    }

    /// Numbers whose flows a sweep must keep.
    pub fn live(&self) -> BTreeSet<EndpointId> {
        self.used.values().copied().collect()
    }

    /// A sweep of what is not [`EndpointIds::live`] is over.
    pub fn swept(&mut self) {
        self.retired.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_after_a_sweep() {
        let mut ids = EndpointIds::new(3, &[]);
        let one = ids.assign(7).unwrap();
        ids.assign(8).unwrap();
        ids.release(7);
        assert_eq!(ids.assign(9), None, "the only free number has flows");
        ids.swept();
        assert_eq!(ids.assign(9), Some(one));
    }

    #[test]
    fn an_interface_keeps_its_number_through_a_restart() {
        let earlier = Endpoint {
            ifindex: 7,
            id: EndpointId(5),
            ..Endpoint::default()
        };
        let mut ids = EndpointIds::new(16, &[earlier]);
        let other = ids.assign(8).unwrap();
        assert_eq!(ids.assign(7), Some(EndpointId(5)));
        assert_ne!(other, EndpointId(5));
        assert_eq!(ids.live(), BTreeSet::from([EndpointId(5), other]));
    }

    #[test]
    fn zero_is_nobodys_number() {
        let mut ids = EndpointIds::new(16, &[]);
        assert!((0..15).all(|ifindex| ids.assign(ifindex).unwrap() != EndpointId::NONE));
        assert_eq!(ids.assign(99), None);
    }
}
