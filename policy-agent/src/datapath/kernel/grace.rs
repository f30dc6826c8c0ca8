//! Waiting until every program run that began before has ended.
//!
//! Owns one private map of maps: the kernel waits for a grace period of RCU, under which TC
//! programs run, before an update of such a map returns (`maybe_wait_bpf_programs` in
//! kernel/bpf/syscall.c, since 4.20). Nothing reads the map.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

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
        let began = Instant::now();
        let result = outer.set(0, inner, 0);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        WAITS.fetch_add(1, Ordering::Relaxed);
        WAITED.fetch_add(took, Ordering::Relaxed);
        result
    }
}

/// How often this process waited for a grace period, and for how long in all, in microseconds.
static WAITS: AtomicU64 = AtomicU64::new(0);
static WAITED: AtomicU64 = AtomicU64::new(0);

/// How often this process waited for a grace period, and for how long in all.
pub fn grace_waits() -> (u64, Duration) {
    let waited = Duration::from_micros(WAITED.load(Ordering::Relaxed));
    (WAITS.load(Ordering::Relaxed), waited)
}
