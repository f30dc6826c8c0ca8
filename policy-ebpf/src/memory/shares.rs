//! What endpoints hold of the flow tables, and their rings of recent flows, in memory.

use policy_common::{Chunk, EndpointId, Recent};

use super::MemoryWorld;
use crate::{
    flows::{
        blocks::{self, Blocks, NOWHERE},
        limits,
        shares::{self, Bounds, Charge},
    },
    lookup::Shares,
};

impl MemoryWorld {
    fn grant(&self, change: i32) {
        self.shared
            .set(self.shared.get().wrapping_add_signed(change));
    }
}

impl Shares for MemoryWorld {
    fn charge(&self, endpoint: EndpointId, opener: u8) -> Charge {
        let bounds = Bounds::new(&self.config, opener, self.shared.get());
        let mut counts = self.counts.borrow_mut();
        let counts = counts.entry(endpoint).or_default();
        let (charge, granted) = shares::charge(counts, opener, &bounds);
        self.grant(granted);
        if !charge.is_taken() {
            return charge;
        }
        let slot = charge.place();
        let place = blocks::place_or_claim(self, endpoint, opener, slot);
        if place == NOWHERE {
            shares::cut(shares::side(counts, opener), slot);
        }
        Charge(place.into())
    }

    fn release(&self, endpoint: EndpointId, opener: u8) {
        let mut counts = self.counts.borrow_mut();
        let counts = counts.entry(endpoint).or_default();
        let (own, grant) = (self.config.own_flows, self.config.flow_grant);
        self.grant(shares::release(counts, opener, own, grant));
    }

    fn oldest_place(&self, endpoint: EndpointId, opener: u8) -> u32 {
        let mut counts = self.counts.borrow_mut();
        let counts = counts.entry(endpoint).or_default();
        let slot = shares::oldest_slot(shares::side(counts, opener));
        blocks::place(self, endpoint, opener, slot)
    }

    fn make_room(&self, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32 {
        limits::make_room(self, endpoint, opener, peer_hash)
    }

    fn gives_way(&self, endpoint: EndpointId, asks: u8, place: u32, peer_hash: u32) -> u32 {
        limits::gives_way(self, endpoint, asks, place, peer_hash)
    }

    fn with_recent<R>(&self, place: u32, then: impl FnOnce(&Recent) -> R) -> Option<R> {
        let recent = self
            .recent
            .borrow()
            .get(&place)
            .copied()
            .unwrap_or_default();
        (place != NOWHERE).then(|| then(&recent))
    }

    fn put_recent(&self, place: u32, write: impl FnOnce(&mut Recent)) {
        if place != NOWHERE {
            write(self.recent.borrow_mut().entry(place).or_default());
        }
    }
}

impl Blocks for MemoryWorld {
    fn count(&self) -> u32 {
        self.config.blocks
    }

    fn owner(&self, block: u32) -> Chunk {
        if block >= self.count() {
            return Chunk(u64::MAX);
        }
        self.blocks
            .borrow()
            .get(&block)
            .copied()
            .unwrap_or_default()
    }

    fn claim(&self, block: u32, chunk: Chunk) -> bool {
        let mut blocks = self.blocks.borrow_mut();
        let owner = blocks.entry(block).or_default();
        let is_nobodys = *owner == Chunk::NONE;
        if is_nobodys {
            *owner = chunk;
        }
        is_nobodys
    }
}
