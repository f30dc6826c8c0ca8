//! The rows of the kernel's tables that have numbers: identities, rulesets, port sets.
//!
//! Knows predicates and contents, and nothing of pods. Invariant: a number is used again only after
//! `collect`.

pub(crate) mod endpoint;
pub(crate) mod identity;
mod interner;
mod numbers;
pub(crate) mod port_set;
pub(crate) mod ruleset;

use std::collections::BTreeMap;

use self::{endpoint::Written, identity::Identities, port_set::PortSets, ruleset::Rulesets};

/// The tables as of the last commit. ADDRESSES and CIDRS stand where their keys do, in the address
/// book and in the tree of blocks.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) identities: Identities,
    pub(crate) rulesets: Rulesets,
    pub(crate) port_sets: PortSets,
    /// ENDPOINTS, by interface.
    pub(crate) endpoints: BTreeMap<u32, Written>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            identities: Identities::new(),
            rulesets: Rulesets::new(),
            port_sets: PortSets::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// How many rows wait for a collection.
    pub(crate) fn unused(&self) -> usize {
        self.rulesets.unused() + self.identities.unused() + self.port_sets.unused()
    }
}
