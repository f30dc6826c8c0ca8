//! Port sets: what some rules allow together, in one canonical form, each stored once.
//!
//! Knows nothing of peers or rulesets. Invariant: two unions that allow the same packets have the
//! same [`PortUnion`], and so the same number; the entries of a set are a disjoint and minimal
//! cover, so their order does not matter.

use std::{collections::BTreeSet, sync::Arc};

use policy_common::{PortSetId, Verdict};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::numbers::Numbers;
use crate::{
    model::Protocol,
    plan::{PortRange, PortSetEntry},
};

/// The ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ProtocolPorts {
    /// Every port, and packets whose ports are unknown.
    every: bool,
    /// First and last ports.
    ranges: SmallVec<[(u16, u16); 2]>,
}

/// A union of allowed ports. Canonical after [`PortUnion::normalised`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PortUnion {
    every: bool,
    protocols: [ProtocolPorts; 3],
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

const fn slot(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Sctp => 2,
    }
}

impl PortUnion {
    /// Adds every protocol, with or without ports.
    pub(super) fn add_everything(&mut self) {
        self.every = true;
    }

    /// Adds every port of a protocol.
    pub(super) fn add_protocol(&mut self, protocol: Protocol) {
        self.protocols[slot(protocol)].every = true;
    }

    /// Adds the ports from `first` to `last`.
    pub(super) fn add_range(&mut self, protocol: Protocol, first: u16, last: u16) {
        if first <= last {
            self.protocols[slot(protocol)].ranges.push((first, last));
        }
    }

    /// The canonical form: ranges sorted, apart, and only where no wider entry covers them.
    fn normalised(mut self) -> Self {
        if self.every {
            return Self {
                every: true,
                ..Self::default()
            };
        }
        for ports in &mut self.protocols {
            if ports.every {
                ports.ranges.clear();
            }
            ports.ranges.sort_unstable();
            ports.ranges.dedup_by(|next, merged| {
                let touches = u32::from(next.0) <= u32::from(merged.1) + 1;
                if touches {
                    merged.1 = merged.1.max(next.1);
                }
                touches
            });
        }
        self
    }

    fn is_empty(&self) -> bool {
        !self.every
            && self
                .protocols
                .iter()
                .all(|ports| !ports.every && ports.ranges.is_empty())
    }

    fn entries(&self) -> Arc<[PortSetEntry]> {
        let mut ranges = Vec::new();
        if self.every {
            ranges.push(PortRange::AnyProtocol);
        }
        for (protocol, ports) in PROTOCOLS.iter().zip(&self.protocols) {
            let protocol = protocol.number();
            if ports.every {
                ranges.push(PortRange::Protocol(protocol));
            }
            for &(first, last) in &ports.ranges {
                prefixes(first, last, |port, bits| {
                    ranges.push(PortRange::Prefix {
                        protocol,
                        port,
                        bits,
                    });
                });
            }
        }
        ranges
            .into_iter()
            .map(|range| PortSetEntry {
                range,
                verdict: Verdict::ALLOW,
            })
            .collect()
    }
}

/// The fewest prefixes (of at least one bit) that cover the ports from `first` to `last`.
fn prefixes(first: u16, last: u16, mut each: impl FnMut(u16, u8)) {
    let (mut port, last) = (u32::from(first), u32::from(last));
    while port <= last {
        let aligned = if port == 0 { 15 } else { port.trailing_zeros() };
        let fits = (last - port + 1).ilog2();
        let free = aligned.min(fits).min(15);
        // Both casts are exact: `port` is at most `last`, and `free` at most 15.
        each(port as u16, 16 - free as u8);
        port += 1 << free;
    }
}

#[derive(Debug)]
struct PortSet {
    ports: PortUnion,
    entries: Arc<[PortSetEntry]>,
    uses: usize,
}

/// All port sets in use.
#[derive(Debug)]
pub(super) struct PortSets {
    ids: FxHashMap<PortUnion, PortSetId>,
    sets: FxHashMap<PortSetId, PortSet>,
    numbers: Numbers,
    /// Made since [`PortSets::take_fresh`].
    fresh: Vec<PortSetId>,
    /// Without use, until the next collection.
    idle: BTreeSet<PortSetId>,
}

impl PortSets {
    pub(super) fn new() -> Self {
        Self {
            ids: FxHashMap::default(),
            sets: FxHashMap::default(),
            numbers: Numbers::from(PortSetId::FIRST.0),
            fresh: Vec::new(),
            idle: BTreeSet::new(),
        }
    }

    /// The number of a union, with one use more.
    pub(super) fn acquire(&mut self, ports: PortUnion) -> PortSetId {
        let ports = ports.normalised();
        if ports.every {
            return PortSetId::ALLOW_ALL;
        }
        if ports.is_empty() {
            return PortSetId::DENY_ALL;
        }
        let id = match self.ids.get(&ports) {
            Some(&id) => id,
            None => {
                let id = PortSetId(self.numbers.take());
                self.ids.insert(ports.clone(), id);
                let entries = ports.entries();
                self.sets.insert(
                    id,
                    PortSet {
                        ports,
                        entries,
                        uses: 0,
                    },
                );
                self.fresh.push(id);
                id
            }
        };
        if let Some(set) = self.sets.get_mut(&id) {
            set.uses += 1;
            self.idle.remove(&id);
        }
        id
    }

    /// One use less. The set stays until [`PortSets::remove_unused`].
    pub(super) fn release(&mut self, id: PortSetId) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.uses -= 1;
            if set.uses == 0 {
                self.idle.insert(id);
            }
        }
    }

    /// The sets that the kernel does not have yet.
    pub(super) fn take_fresh(&mut self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh
            .into_iter()
            .filter_map(|id| Some((id, self.sets.get(&id)?.entries.clone())))
            .collect()
    }

    /// Forgets the sets without use and frees their numbers.
    pub(super) fn remove_unused(&mut self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        std::mem::take(&mut self.idle)
            .into_iter()
            .filter_map(|id| {
                let set = self.sets.remove(&id)?;
                self.ids.remove(&set.ports);
                self.numbers.give_back(id.0);
                Some((id, set.entries))
            })
            .collect()
    }

    /// How many sets [`PortSets::remove_unused`] would remove.
    pub(super) fn unused(&self) -> usize {
        self.idle.len()
    }

    /// Every set that is not built in, by number.
    pub(super) fn all(&self) -> Vec<(PortSetId, Arc<[PortSetEntry]>)> {
        let mut all: Vec<_> = self
            .sets
            .iter()
            .map(|(&id, set)| (id, set.entries.clone()))
            .collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(first: u16, last: u16) -> Vec<(u16, u8)> {
        let mut cover = Vec::new();
        prefixes(first, last, |port, bits| cover.push((port, bits)));
        cover
    }

    #[test]
    fn a_range_with_odd_ends_is_covered_by_the_fewest_prefixes() {
        assert_eq!(
            cover(1, 6),
            [(1, 16), (2, 15), (4, 15), (6, 16)],
            "1, 2-3, 4-5, 6"
        );
        assert_eq!(cover(80, 80), [(80, 16)]);
        assert_eq!(cover(0, 65535), [(0, 1), (32768, 1)]);
        assert_eq!(cover(65535, 65535), [(65535, 16)]);
        assert_eq!(cover(1, 65535).len(), 16);
    }

    #[test]
    fn unions_that_allow_the_same_share_a_number() {
        let mut sets = PortSets::new();
        let mut split = PortUnion::default();
        split.add_range(Protocol::Tcp, 80, 90);
        split.add_range(Protocol::Tcp, 91, 100);
        split.add_range(Protocol::Tcp, 85, 95);
        let mut whole = PortUnion::default();
        whole.add_range(Protocol::Tcp, 80, 100);
        let id = sets.acquire(split);
        assert_eq!(id, sets.acquire(whole));
        assert_eq!(sets.take_fresh().len(), 1);
        sets.release(id);
        assert!(sets.remove_unused().is_empty());
        sets.release(id);
        assert_eq!(sets.remove_unused().len(), 1);
    }
}
