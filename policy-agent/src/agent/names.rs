//! Which pod had an address when a packet came.
//!
//! Events are read later than their packets were judged: meanwhile an address may have another owner. Owns who
//! lost which address when. Invariant: an address counts as its former owner's until the tables that say so
//! are written.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use policy_core::model::ObjectName;

/// How long a former owner is remembered, in nanoseconds: an event is read within seconds.
const MEMORY: u64 = 60_000_000_000;
/// Former owners of one address that are remembered.
const MOST: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Former {
    pod: Option<ObjectName>,
    /// The turn that writes who came after it.
    turn: u64,
    /// When that was written, in nanoseconds since boot.
    until: Option<u64>,
}

/// Former owners of addresses, for each the earliest first.
#[derive(Debug, Default)]
pub(super) struct FormerNames(BTreeMap<IpAddr, VecDeque<Former>>);

impl FormerNames {
    /// The address was this pod's, or nobody's, until a turn is written.
    pub(super) fn was(&mut self, address: IpAddr, pod: Option<ObjectName>, turn: u64) {
        let former = self.0.entry(address).or_default();
        former.push_back(Former {
            pod,
            turn,
            until: None,
        });
        if former.len() > MOST {
            former.pop_front();
        }
    }

    /// A turn and all before it are written. `now`: nanoseconds since boot.
    pub(super) fn written(&mut self, turn: u64, now: u64) {
        self.0.retain(|_, former| {
            for one in former.iter_mut().filter(|one| one.turn <= turn) {
                one.until.get_or_insert(now);
            }
            let is_over = |one: &Former| one.until.is_some_and(|until| until + MEMORY < now);
            former.retain(|one| !is_over(one));
            !former.is_empty()
        });
    }

    /// Who had the address then, in nanoseconds since boot; `None`: who has it now.
    pub(super) fn at(&self, address: IpAddr, then: u64) -> Option<Option<&ObjectName>> {
        let former = self.0.get(&address)?;
        let mut later = former.iter();
        let one = later.find(|one| one.until.is_none_or(|until| until > then))?;
        Some(one.pod.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_named_by_who_had_the_address_when_it_came() {
        let mut names = FormerNames::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let pod = |name| ObjectName::new("shop", name);
        names.was(address, Some(pod("first")), 1);
        assert_eq!(
            names.at(address, 50),
            Some(Some(&pod("first"))),
            "not written yet"
        );
        names.written(1, 100);
        names.was(address, Some(pod("second")), 2);
        names.written(2, 200);
        names.was(address, None, 3);
        names.written(3, 300);
        let at = |then| names.at(address, then).map(Option::<&ObjectName>::cloned);
        assert_eq!(at(99), Some(Some(pod("first"))));
        assert_eq!(at(100), Some(Some(pod("second"))));
        assert_eq!(at(250), Some(None), "nobody had it");
        assert_eq!(at(300), None, "who has it now");
        names.written(3, 301 + MEMORY);
        assert_eq!(names.at(address, 99), None);
    }
}
