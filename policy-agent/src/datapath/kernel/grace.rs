//! Waiting until every program run that began before has ended.
//!
//! Owns one private map of maps: the kernel waits for a grace period of RCU, under which TC
//! programs run, before an update of such a map returns (`maybe_wait_bpf_programs` in
//! kernel/bpf/syscall.c, since 4.20). Nothing reads the map.

use aya::maps::{ArrayOfMaps, Map, MapData, MapError};

use super::sys;

/// Makes grace periods.
#[derive(Debug)]
pub(crate) struct Grace {
    outer: ArrayOfMaps<MapData, MapData>,
    inner: MapData,
}

impl Grace {
    /// Makes the private maps.
    pub(crate) fn new() -> Result<Self, MapError> {
        let inner = sys::one_slot(sys::ARRAY, None)?;
        let outer = sys::one_slot(sys::ARRAY_OF_MAPS, Some(&inner))?;
        let outer = Map::from_map_data(outer)?.try_into()?;
        Ok(Self { outer, inner })
    }

    /// Returns when every program run that began before the call has ended.
    pub(crate) fn wait(&mut self) -> Result<(), MapError> {
        let Self { outer, inner } = self;
        outer.set(0, inner, 0)
    }
}
