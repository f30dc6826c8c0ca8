//! Takes back the memory of rings of recent flows that are not so long any more.
//!
//! Must not know flows, nor how long a ring should be. Invariant: a block of a chunk that its ring still has,
//! and finds there, stays its own.

use std::collections::BTreeMap;

use aya::maps::{Array, Map, MapData, MapError};
use policy_common::{Block, Chunk, EndpointId};
use policy_ebpf::flows::blocks::{self, Blocks};

use super::{
    super::super::kernel::{abi::Abi, sys},
    SweepError,
};

/// Whose the blocks of RECENT were at one moment.
pub(super) struct Owners(Vec<Chunk>);

impl Owners {
    /// Reads them. What is given back must be read before the rings: they may grow meanwhile.
    pub(super) fn of(map: &Map) -> Result<Self, SweepError> {
        let _: Array<&MapData, Abi<Block>> = map.try_into()?;
        let Map::Array(data) = map else {
            return Err(MapError::InvalidMapType { map_type: 0 }.into());
        };
        let mut owners = Vec::new();
        sys::for_each(data, |_: u32, block: Block| owners.push(block.chunk))?;
        Ok(Self(owners))
    }

    /// Makes blocks behind the ends of rings, which have so many slots, nobody's again.
    pub(super) fn give_back(
        &self,
        map: &mut Map,
        rings: &BTreeMap<(EndpointId, u8), u32>,
    ) -> Result<(), MapError> {
        let mut blocks: Array<&mut MapData, Abi<Block>> = map.try_into()?;
        for number in self.unused(rings) {
            blocks.set(number, Abi(Block::default()), 0)?;
        }
        Ok(())
    }

    /// Those blocks, and those in which no ring looks for a chunk because it has another one before: two
    /// processors claimed one each at once.
    fn unused(&self, rings: &BTreeMap<(EndpointId, u8), u32>) -> Vec<u32> {
        let is_unused = |number: u32, chunk: Chunk| {
            let slots = rings.get(&(chunk.endpoint(), chunk.opener()));
            slots.is_none_or(|slots| chunk.number() > blocks::chunks(*slots))
                || blocks::find(self, chunk) != number
        };
        (0..)
            .zip(&self.0)
            .filter(|(number, chunk)| **chunk != Chunk::NONE && is_unused(*number, **chunk))
            .map(|(number, _)| number)
            .collect()
    }
}

impl Blocks for Owners {
    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn owner(&self, block: u32) -> Chunk {
        let owner = self.0.get(block as usize).copied();
        owner.unwrap_or(Chunk(u64::MAX))
    }

    fn claim(&self, _block: u32, _chunk: Chunk) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use policy_common::shares::{CHUNK_SLOTS, FIRST_SLOTS};

    use super::*;

    #[test]
    fn what_is_behind_the_end_of_a_ring_is_given_back_and_nothing_that_it_has() {
        let mut owners = Owners(vec![Chunk::NONE; 100]);
        for number in 1..=4 {
            for (endpoint, opener) in [(1, 0), (1, 1), (2, 0)] {
                let chunk = Chunk::new(EndpointId(endpoint), opener, number);
                let mut free = (0..100).filter(|block| owners.0[*block] == Chunk::NONE);
                let its = free.find(|block| {
                    let mut owners = Owners(owners.0.clone());
                    owners.0[*block] = chunk;
                    blocks::find(&owners, chunk) == *block as u32
                });
                owners.0[its.unwrap()] = chunk;
            }
        }
        let rings = |slots: [u32; 3]| {
            let sides =
                [(1, 0), (1, 1), (2, 0)].map(|(number, opener)| (EndpointId(number), opener));
            sides.into_iter().zip(slots).collect::<BTreeMap<_, _>>()
        };
        let whole = FIRST_SLOTS + 4 * CHUNK_SLOTS;
        assert!(owners.unused(&rings([whole; 3])).is_empty());
        let unused = owners.unused(&rings([whole, FIRST_SLOTS, FIRST_SLOTS + CHUNK_SLOTS + 1]));
        let names: Vec<Chunk> = unused
            .iter()
            .map(|block| owners.0[*block as usize])
            .collect();
        assert_eq!(names.len(), 4 + 2);
        assert!(
            names
                .iter()
                .all(|chunk| match (chunk.endpoint().0, chunk.opener()) {
                    (1, 1) => true,
                    (2, 0) => chunk.number() > 2,
                    _ => false,
                })
        );
        // Of an endpoint that is gone nothing stays.
        assert_eq!(owners.unused(&BTreeMap::new()).len(), 12);
    }

    #[test]
    fn of_two_blocks_of_one_chunk_the_second_is_given_back() {
        let chunk = Chunk::new(EndpointId(7), 1, 1);
        let mut owners = Owners(vec![chunk; 40]);
        let first = blocks::find(&owners, chunk) as usize;
        owners.0.fill(Chunk::NONE);
        [owners.0[first], owners.0[first + 1]] = [chunk; 2];
        let rings = BTreeMap::from([((EndpointId(7), 1), FIRST_SLOTS + 1)]);
        assert_eq!(owners.unused(&rings), [first as u32 + 1]);
    }
}
