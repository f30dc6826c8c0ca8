//! Numbers of endpoints.
//!
//! Owns which number is whose. Invariant: a number is given to another interface only after a sweep
//! that did not count it as live – no flow of the endpoint before is left then.

use std::collections::{BTreeMap, BTreeSet};

use policy_common::{Endpoint, EndpointId, limits};

/// Hands out the numbers 1 to `most`.
#[derive(Debug)]
pub struct EndpointIds {
    /// Numbers by interface.
    used: BTreeMap<u32, EndpointId>,
    /// Given back: flows under them may be left.
    retired: BTreeSet<EndpointId>,
    /// Those of them that the sweep under way does not count as live.
    swept: BTreeSet<EndpointId>,
    /// Where to look first: a number rests as long as possible.
    next: u16,
    most: u16,
}

impl EndpointIds {
    /// Goes on where an earlier run of the agent stopped.
    pub fn new(most: u32, earlier: &[Endpoint]) -> Self {
        let most = most.clamp(1, limits::MAX_ENDPOINTS);
        Self {
            used: earlier
                .iter()
                .map(|endpoint| (endpoint.ifindex, endpoint.id))
                .collect(),
            retired: BTreeSet::new(),
            swept: BTreeSet::new(),
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
        let id = (self.next..=self.most)
            .chain(1..self.next)
            .map(EndpointId)
            .find(|id| !taken.contains(id))?;
        self.next = id.0 % self.most + 1;
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

    /// Whether numbers rest until a sweep is over.
    pub fn is_any_resting(&self) -> bool {
        !self.retired.is_empty()
    }

    /// A sweep begins: the numbers whose flows it must keep.
    pub fn begin_sweep(&mut self) -> BTreeSet<EndpointId> {
        self.swept.clone_from(&self.retired);
        self.used.values().copied().collect()
    }

    /// The sweep that began last is over; whether numbers became free.
    pub fn swept(&mut self) -> bool {
        let swept = std::mem::take(&mut self.swept);
        self.retired.retain(|id| !swept.contains(id));
        !swept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_after_a_sweep() {
        let mut ids = EndpointIds::new(2, &[]);
        let one = ids.assign(7).unwrap();
        ids.assign(8).unwrap();
        ids.release(7);
        assert_eq!(ids.assign(9), None, "the only free number has flows");
        ids.begin_sweep();
        assert!(ids.swept());
        assert_eq!(ids.assign(9), Some(one));
    }

    #[test]
    fn a_number_that_is_given_back_during_a_sweep_rests_until_the_next() {
        let mut ids = EndpointIds::new(1, &[]);
        ids.assign(7).unwrap();
        let live = ids.begin_sweep();
        ids.release(7);
        assert!(!live.is_empty() && !ids.swept());
        assert_eq!(ids.assign(8), None);
        assert!(ids.is_any_resting());
        ids.begin_sweep();
        assert!(ids.swept() && ids.assign(8).is_some());
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
        assert_eq!(ids.begin_sweep(), BTreeSet::from([EndpointId(5), other]));
    }

    #[test]
    fn zero_is_nobodys_number() {
        let mut ids = EndpointIds::new(16, &[]);
        assert!((0..16).all(|ifindex| ids.assign(ifindex).unwrap() != EndpointId::NONE));
        assert_eq!(ids.assign(99), None);
    }
}
