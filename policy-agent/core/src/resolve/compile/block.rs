//! Which active blocks hold for an address: a prefix tree of their CIDRs and exceptions.
//!
//! Knows nothing of pods. What lies inside a prefix is one range of the tree's order. Prefixes are
//! ordered by family, then by their first address (they are stored truncated), then by length. Let
//! `root` go from address `a` to address `b`. A prefix inside it begins at some `f` with
//! `a <= f <= b`, and where `f = a` it is no shorter than `root`: it does not stand before `root`. It
//! ends at or before `b`, and where `f = b` it has the full length: it does not stand behind `b` as a
//! full-length prefix, `last`. Conversely, what stands in `root..=last` is of `root`'s family and
//! begins at some `f` with `a <= f <= b`; of two prefixes one contains the other or they are apart, so
//! it is inside `root` or contains it. To contain it, it would have to begin at or before `a`, so at
//! `a`, and be shorter than `root`; then it would stand before `root`. So `inside` is
//! `range(root..=last)`, neither more nor less.
//!
//! Invariant (after [`Blocks::refresh`]): for every prefix of the tree,
//! `holds` are the blocks that hold for the addresses whose longest prefix it is.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use policy_common::IdentityId;

use super::predicate::{PredicateId, PredicateSet};
use crate::model::IpBlock;

#[derive(Debug)]
pub(crate) struct Prefix {
    starts: Vec<PredicateId>,
    ends: Vec<PredicateId>,
    holds: PredicateSet,
    /// What CIDRS says.
    pub(crate) identity: Option<IdentityId>,
}

/// The tree. Prefixes of one address family never cover the other's.
#[derive(Debug)]
pub(crate) struct Blocks {
    prefixes: BTreeMap<IpNet, Prefix>,
    /// How many prefixes have each length, by family.
    lengths: [[u32; 129]; 2],
    /// Roots of the parts of the tree that must be computed again.
    stale: Vec<IpNet>,
    /// The same tree for look-ups: where in the order of addresses another prefix begins to be the
    /// longest.
    segments: Vec<Segment>,
}

/// The addresses from `first` to the next segment.
#[derive(Debug)]
struct Segment {
    first: IpAddr,
    holds: PredicateSet,
    identity: IdentityId,
}

const fn family(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => 1,
    }
}

/// The prefixes at which a block starts or stops to hold. Exceptions outside of the block change
/// nothing; one that covers the block leaves nothing of it.
fn edges(block: &IpBlock) -> Option<impl Iterator<Item = IpNet>> {
    let cidr = block.cidr.trunc();
    let covered = block.except.iter().any(|except| except.contains(&cidr));
    (!covered).then(|| {
        let inside = block.except.iter().map(IpNet::trunc);
        inside.filter(move |except| cidr.contains(except))
    })
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self {
            prefixes: BTreeMap::new(),
            lengths: [[0; 129]; 2],
            stale: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn prefix(&mut self, net: IpNet) -> &mut Prefix {
        let lengths = &mut self.lengths;
        self.prefixes.entry(net).or_insert_with(|| {
            lengths[family(&net.addr())][usize::from(net.prefix_len())] += 1;
            Prefix {
                starts: Vec::new(),
                ends: Vec::new(),
                holds: [].into(),
                identity: None,
            }
        })
    }

    /// Adds a block; [`Blocks::refresh`] must follow.
    pub(crate) fn insert(&mut self, id: PredicateId, block: &IpBlock) {
        let Some(excepts) = edges(block) else { return };
        let cidr = block.cidr.trunc();
        self.prefix(cidr).starts.push(id);
        for except in excepts {
            self.prefix(except).ends.push(id);
        }
        self.stale.push(cidr);
    }

    /// Removes a block; [`Blocks::refresh`] must follow.
    pub(crate) fn remove(&mut self, id: PredicateId, block: &IpBlock) {
        let Some(excepts) = edges(block) else { return };
        let cidr = block.cidr.trunc();
        self.prefix(cidr).starts.retain(|&other| other != id);
        for except in excepts {
            self.prefix(except).ends.retain(|&other| other != id);
        }
        self.stale.push(cidr);
    }

    /// Computes again what changed. Returns the disjoint prefixes inside which something did, and
    /// every prefix whose identity must be set anew or, where [`Blocks::holds`] gives `None`,
    /// removed.
    pub(crate) fn refresh(&mut self) -> (Vec<IpNet>, Vec<IpNet>) {
        let mut roots: Vec<IpNet> = Vec::new();
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        for net in stale {
            if roots.last().is_none_or(|root| !root.contains(&net)) {
                roots.push(net);
            }
        }
        let mut changed = Vec::new();
        for root in &roots {
            let inside: Vec<IpNet> = self.inside(root).collect();
            for net in inside {
                if self.recompute(net) {
                    changed.push(net);
                }
            }
        }
        (roots, changed)
    }

    fn inside(&self, root: &IpNet) -> impl Iterator<Item = IpNet> {
        // Exactly these: see the proof above.
        let last = IpNet::from(root.broadcast());
        self.prefixes.range(*root..=last).map(|(&net, _)| net)
    }

    /// Returns whether the identity of the prefix must change.
    fn recompute(&mut self, net: IpNet) -> bool {
        let Some(prefix) = self.prefixes.get(&net) else {
            return false;
        };
        if prefix.starts.is_empty() && prefix.ends.is_empty() {
            return true;
        }
        let inherited = self.parent(&net).map_or(&[][..], |parent| &parent.holds);
        let mut holds: Vec<_> = inherited
            .iter()
            .chain(&prefix.starts)
            .copied()
            .filter(|id| !prefix.ends.contains(id))
            .collect();
        holds.sort_unstable();
        holds.dedup();
        let same = *prefix.holds == *holds && prefix.identity.is_some();
        if !same && let Some(prefix) = self.prefixes.get_mut(&net) {
            prefix.holds = holds.into();
        }
        !same
    }

    /// The longest live prefix around `net`, without itself.
    fn parent(&self, net: &IpNet) -> Option<&Prefix> {
        self.longest(net.addr(), net.prefix_len().checked_sub(1)?)
    }

    fn longest(&self, address: IpAddr, bits: u8) -> Option<&Prefix> {
        let lengths = &self.lengths[family(&address)];
        (0..=bits).rev().find_map(|bits| {
            if lengths[usize::from(bits)] == 0 {
                return None;
            }
            let net = IpNet::new(address, bits).ok()?.trunc();
            let prefix = self.prefixes.get(&net)?;
            (!prefix.starts.is_empty() || !prefix.ends.is_empty()).then_some(prefix)
        })
    }

    /// The blocks of a prefix; `None` when it has no edges any more and must go.
    pub(crate) fn holds(&self, net: &IpNet) -> Option<&PredicateSet> {
        let prefix = self.prefixes.get(net)?;
        (!prefix.starts.is_empty() || !prefix.ends.is_empty()).then_some(&prefix.holds)
    }

    /// Sets what CIDRS says of a prefix; returns what it said before.
    pub(crate) fn set_identity(&mut self, net: &IpNet, identity: IdentityId) -> Option<IdentityId> {
        self.prefixes.get_mut(net)?.identity.replace(identity)
    }

    /// Removes a prefix; returns what CIDRS said of it.
    pub(crate) fn remove_prefix(&mut self, net: &IpNet) -> Option<IdentityId> {
        let prefix = self.prefixes.remove(net)?;
        self.lengths[family(&net.addr())][usize::from(net.prefix_len())] -= 1;
        prefix.identity
    }

    /// Makes the changes since the last call visible to [`Blocks::of`] and
    /// [`Blocks::identity_of`].
    pub(crate) fn index(&mut self) {
        self.segments.clear();
        let mut around: Vec<(&IpNet, &Prefix)> = Vec::new();
        for (net, prefix) in &self.prefixes {
            close(&mut around, Some(net), &mut self.segments);
            begin(&mut self.segments, net.network(), Some(prefix));
            around.push((net, prefix));
        }
        close(&mut around, None, &mut self.segments);
    }

    /// The blocks that hold for an address.
    pub(crate) fn of(&self, address: IpAddr) -> &[PredicateId] {
        self.at(address).map_or(&[], |segment| &segment.holds)
    }

    /// What CIDRS says of an address.
    pub(crate) fn identity_of(&self, address: IpAddr) -> IdentityId {
        self.at(address)
            .map_or(IdentityId::WORLD, |segment| segment.identity)
    }

    fn at(&self, address: IpAddr) -> Option<&Segment> {
        let next = self
            .segments
            .partition_point(|segment| segment.first <= address);
        self.segments.get(next.checked_sub(1)?)
    }

    /// All prefixes with what CIDRS says.
    pub(crate) fn all(&self) -> impl Iterator<Item = (IpNet, IdentityId)> {
        self.prefixes
            .iter()
            .filter_map(|(&net, prefix)| Some((net, prefix.identity?)))
    }
}

/// Begins a segment; one that began at the same address was empty.
fn begin(segments: &mut Vec<Segment>, first: IpAddr, prefix: Option<&Prefix>) {
    segments.pop_if(|segment| segment.first == first);
    segments.push(Segment {
        first,
        holds: prefix.map_or_else(|| [].into(), |prefix| prefix.holds.clone()),
        identity: prefix
            .and_then(|prefix| prefix.identity)
            .unwrap_or(IdentityId::WORLD),
    });
}

/// Ends the prefixes that are not around `next`: after each, the one around it goes on.
fn close(around: &mut Vec<(&IpNet, &Prefix)>, next: Option<&IpNet>, segments: &mut Vec<Segment>) {
    while let Some((net, _)) = around.pop_if(|(net, _)| next.is_none_or(|next| !net.contains(next)))
    {
        if let Some(after) = successor(net.broadcast()) {
            begin(segments, after, around.last().map(|(_, prefix)| *prefix));
        }
    }
}

/// The next address; after the last one of IPv4 the first one of IPv6.
fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(match u32::from(address).checked_add(1) {
            Some(next) => IpAddr::V4(next.into()),
            None => IpAddr::V6(0.into()),
        }),
        IpAddr::V6(address) => Some(IpAddr::V6(u128::from(address).checked_add(1)?.into())),
    }
}

#[cfg(test)]
mod tests;
