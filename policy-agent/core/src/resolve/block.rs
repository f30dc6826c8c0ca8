//! Which active blocks hold for an address: a prefix tree of their CIDRs and exceptions.
//!
//! Knows nothing of pods. Invariant (after [`Blocks::refresh`]): for every prefix of the tree,
//! `holds` are the blocks that hold for the addresses whose longest prefix it is.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use policy_common::IdentityId;

use super::predicate::{PredicateId, PredicateSet};
use crate::model::IpBlock;

#[derive(Debug)]
pub(super) struct Prefix {
    starts: Vec<PredicateId>,
    ends: Vec<PredicateId>,
    holds: PredicateSet,
    /// What CIDRS says.
    pub(super) identity: Option<IdentityId>,
}

/// The tree. Prefixes of one address family never cover the other's.
#[derive(Debug)]
pub(super) struct Blocks {
    prefixes: BTreeMap<IpNet, Prefix>,
    /// How many prefixes have each length, by family.
    lengths: [[u32; 129]; 2],
    /// Roots of the parts of the tree that must be computed again.
    stale: Vec<IpNet>,
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
    pub(super) fn new() -> Self {
        Self {
            prefixes: BTreeMap::new(),
            lengths: [[0; 129]; 2],
            stale: Vec::new(),
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
    pub(super) fn insert(&mut self, id: PredicateId, block: &IpBlock) {
        let Some(excepts) = edges(block) else { return };
        let cidr = block.cidr.trunc();
        self.prefix(cidr).starts.push(id);
        for except in excepts {
            self.prefix(except).ends.push(id);
        }
        self.stale.push(cidr);
    }

    /// Removes a block; [`Blocks::refresh`] must follow.
    pub(super) fn remove(&mut self, id: PredicateId, block: &IpBlock) {
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
    /// forgotten.
    pub(super) fn refresh(&mut self) -> (Vec<IpNet>, Vec<IpNet>) {
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
        // The order is by first address, then by length: everything inside `root` stands between
        // itself and its last address as a full-length prefix.
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
    pub(super) fn holds(&self, net: &IpNet) -> Option<&PredicateSet> {
        let prefix = self.prefixes.get(net)?;
        (!prefix.starts.is_empty() || !prefix.ends.is_empty()).then_some(&prefix.holds)
    }

    /// Sets what CIDRS says of a prefix; returns what it said before.
    pub(super) fn set_identity(&mut self, net: &IpNet, identity: IdentityId) -> Option<IdentityId> {
        self.prefixes.get_mut(net)?.identity.replace(identity)
    }

    /// Forgets a prefix; returns what CIDRS said of it.
    pub(super) fn forget(&mut self, net: &IpNet) -> Option<IdentityId> {
        let prefix = self.prefixes.remove(net)?;
        self.lengths[family(&net.addr())][usize::from(net.prefix_len())] -= 1;
        prefix.identity
    }

    /// The blocks that hold for an address.
    pub(super) fn of(&self, address: IpAddr) -> &[PredicateId] {
        self.at(address).map_or(&[], |prefix| &prefix.holds)
    }

    /// What CIDRS says of an address.
    pub(super) fn identity_of(&self, address: IpAddr) -> IdentityId {
        self.at(address)
            .and_then(|prefix| prefix.identity)
            .unwrap_or(IdentityId::WORLD)
    }

    fn at(&self, address: IpAddr) -> Option<&Prefix> {
        self.longest(address, if address.is_ipv4() { 32 } else { 128 })
    }

    /// All prefixes with what CIDRS says.
    pub(super) fn all(&self) -> impl Iterator<Item = (IpNet, IdentityId)> {
        self.prefixes
            .iter()
            .filter_map(|(&net, prefix)| Some((net, prefix.identity?)))
    }
}
