//! Interfaces of this node that are no pods' and about which something is to be done.
//!
//! Owns what is known of them; must not know policy.

use std::collections::BTreeSet;

use super::{Agent, tables::Request};

/// What is known of interfaces beside those of pods.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What leaves by an interface may be sent round by these, and is the node's own still.
    ifbs: BTreeSet<u32>,
}

impl Agent {
    /// Something about interfaces, or whose they are, changed.
    pub(super) fn links_changed(&mut self) {
        self.ways.changed();
        self.memory.changed();
    }

    /// An interface is an IFB, or is none.
    pub(super) fn ifb(&mut self, ifindex: u32, is: bool) {
        let ifbs = &mut self.links.ifbs;
        let changed = if is {
            ifbs.insert(ifindex)
        } else {
            ifbs.remove(&ifindex)
        };
        if changed {
            self.ports.has_ifb = !ifbs.is_empty();
            let ifbs = ifbs.clone();
            self.tables.ask(Request::Ifbs(ifbs));
        }
    }
}
