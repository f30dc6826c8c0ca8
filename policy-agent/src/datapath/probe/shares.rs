//! What the endpoint holds of the flow tables, as decisions ask for it: by a copy of the counts, which a
//! decision changes, and by the rings as they are.

use policy_common::{Chunk, EndpointId, FlowCounts, FlowState, Recent, names};
use policy_ebpf::{
    flows::{
        blocks::{self, Blocks, NOWHERE},
        limits,
        shares::{self, Bounds, Charge},
    },
    lookup::Shares,
};

use super::{super::kernel::element::found, maps::Maps};

/// What the programs are to find counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accounts {
    pub(super) endpoint: EndpointId,
    pub(super) counts: FlowCounts,
    pub(super) shared: u64,
}

impl Maps {
    /// The counts with which the programs come to the decision that was just taken. If something gave way to
    /// the new flow, it has: what gives way is found in the rings, of which the programs' twin has none.
    pub(super) fn accounts(&self, opener: u8) -> Accounts {
        let (mut counts, shared) = self.before;
        if self.has_made_room.get() {
            let side = shares::side(&mut counts, opener);
            side.live = side.live.saturating_sub(1);
        }
        Accounts {
            endpoint: self.here().map_or(EndpointId::NONE, |here| here.id),
            counts,
            shared,
        }
    }

    fn grant(&self, change: i32) {
        let shared = self.shared.get().wrapping_add_signed(change);
        self.shared.set(shared);
    }
}

impl Shares for Maps {
    fn charge(&self, _: EndpointId, opener: u8) -> Charge {
        let bounds = Bounds::new(&self.config, opener, self.shared.get());
        let mut counts = self.counts.borrow_mut();
        let (charge, granted) = shares::charge(&mut counts, opener, &bounds);
        self.grant(granted);
        match charge.is_taken() {
            // Where it would be remembered nobody asks.
            true => Charge(NOWHERE.into()),
            false => charge,
        }
    }

    fn release(&self, _: EndpointId, opener: u8) {
        let (own, unit) = (self.config.own_flows, self.config.flow_grant);
        let mut counts = self.counts.borrow_mut();
        let change = shares::release(&mut counts, opener, own, unit);
        self.grant(change);
    }

    fn oldest_place(&self, endpoint: EndpointId, opener: u8) -> u32 {
        let slot = {
            let mut counts = self.counts.borrow_mut();
            shares::oldest_slot(shares::side(&mut counts, opener))
        };
        blocks::place(self, endpoint, opener, slot)
    }

    fn make_room(&self, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
        let place = limits::make_room(self, endpoint, opener, peer_hash);
        self.has_made_room.set(place != NOWHERE);
        place
    }

    fn gives_way(&self, endpoint: EndpointId, asks: u8, place: u32, peer_hash: u32) -> u32 {
        limits::gives_way(self, endpoint, asks, place, peer_hash)
    }

    fn with_recent<R>(&self, place: u32, then: impl FnOnce(&Recent) -> R) -> Option<R> {
        if place == NOWHERE {
            return None;
        }
        let recent = self.noted(names::RECENT, found(self.recent.get(&place, 0)))?;
        Some(then(&recent))
    }

    fn put_recent(&self, _: u32, _: impl FnOnce(&mut Recent)) {}
}

impl Blocks for Maps {
    fn count(&self) -> u32 {
        self.config.blocks
    }

    fn owner(&self, block: u32) -> Chunk {
        let element = (block < self.config.blocks).then(|| self.blocks.get(&block, 0));
        let element = element.and_then(|element| self.noted(names::RECENT_BLOCKS, found(element)));
        element.map_or(Chunk(u64::MAX), |block| block.chunk)
    }

    fn claim(&self, _: u32, _: Chunk) -> bool {
        false
    }
}

const _: () = assert!(FlowState::OPENED_BY_POD == 0 && FlowState::OPENED_BY_PEER == 1);
