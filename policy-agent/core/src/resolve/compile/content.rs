//! What a ruleset says: permissions in one canonical form.
//!
//! Invariant: policies that say the same give the same [`Content`], whatever their names.

use std::sync::Arc;

use policy_common::Direction;
use rustc_hash::FxHashSet;

use super::{
    ports::PortUnion,
    predicate::{Predicate, PredicateId, Predicates},
};
use crate::model::Protocol;

/// The ports of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ItemPorts {
    /// Every port and protocol.
    Everything,
    /// Every port of the protocol.
    Protocol(Protocol),
    /// First and last port.
    Range(Protocol, u16, u16),
    /// What the item's peers declare under a name, a [`Predicate::Name`].
    Named(PredicateId),
}

/// One permission. Items are sorted by peer, those for everybody first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Item {
    /// A term or a block, `None` for everybody.
    pub(crate) peer: Option<PredicateId>,
    pub(crate) ports: ItemPorts,
}

/// What a ruleset says, independent of the policies that said it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) direction: Direction,
    pub(crate) items: Box<[Item]>,
}

impl Content {
    /// The canonical content of these permissions.
    pub(crate) fn new(direction: Direction, mut items: Vec<Item>) -> Self {
        let everything = Item {
            peer: None,
            ports: ItemPorts::Everything,
        };
        if items.contains(&everything) {
            items = vec![everything];
        }
        items.sort_unstable();
        items.dedup();
        Self {
            direction,
            items: items.into(),
        }
    }

    fn of(&self, peer: Option<PredicateId>) -> &[Item] {
        let from = self.items.partition_point(|item| item.peer < peer);
        let to = self.items.partition_point(|item| item.peer <= peer);
        &self.items[from..to]
    }

    /// The predicates that it asks for.
    pub(crate) fn asks_for(&self) -> FxHashSet<PredicateId> {
        let mut asks_for: FxHashSet<_> = self.items.iter().filter_map(|item| item.peer).collect();
        asks_for.extend(self.items.iter().filter_map(|item| match item.ports {
            ItemPorts::Named(name) => Some(name),
            _ => None,
        }));
        asks_for
    }

    /// The ports that it allows to an address with these predicates.
    pub(crate) fn ports(&self, set: &[PredicateId], predicates: &Predicates) -> PortUnion {
        let mut union = PortUnion::default();
        let peers = std::iter::once(None).chain(set.iter().copied().map(Some));
        for item in peers.flat_map(|peer| self.of(peer)) {
            match item.ports {
                ItemPorts::Everything => union.add_everything(),
                ItemPorts::Protocol(protocol) => union.add_protocol(protocol),
                ItemPorts::Range(protocol, first, last) => union.add_range(protocol, first, last),
                ItemPorts::Named(name) => add_named(&mut union, name, set, predicates),
            }
        }
        union
    }
}

fn add_named(
    union: &mut PortUnion,
    name: PredicateId,
    set: &[PredicateId],
    predicates: &Predicates,
) {
    let Some(&Predicate::Name(_, protocol, _)) = predicates.get(name).map(Arc::as_ref) else {
        return;
    };
    for &id in set {
        if let Some(&Predicate::Number(of, port)) = predicates.get(id).map(Arc::as_ref)
            && of == name
        {
            union.add_range(protocol, port, port);
        }
    }
}
