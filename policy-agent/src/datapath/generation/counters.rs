//! What the programs counted.

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, PerCpuArray},
};
use policy_common::{Counter, Direction, Reason, names};

use super::super::{
    kernel::{
        abi::Abi,
        part::{self, PartError},
    },
    pins::PinDir,
};

/// Reads METRICS.
pub struct Counters {
    metrics: PerCpuArray<MapData, Abi<Counter>>,
}

impl Counters {
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, PartError> {
        Ok(Self {
            metrics: part::open(ebpf, names::METRICS)?,
        })
    }

    /// Those of the generation whose pins are in place.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn pinned(pins: &PinDir) -> Result<Self, PartError> {
        let name = names::METRICS;
        let map = MapData::from_pin(pins.path().join(name)).and_then(Map::from_map_data);
        let metrics = map.and_then(PerCpuArray::try_from);
        Ok(Self {
            metrics: metrics.map_err(|source| PartError::Map { name, source })?,
        })
    }

    /// METRICS summed over the processors: what was counted at all.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn all(&self) -> Result<Vec<(Direction, Reason, Counter)>, PartError> {
        let mut counters = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for &reason in Reason::ALL {
                let counter = self.one(direction, reason)?;
                if counter.packets > 0 {
                    counters.push((direction, reason, counter));
                }
            }
        }
        Ok(counters)
    }

    /// One counter, summed over the processors.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn one(&self, direction: Direction, reason: Reason) -> Result<Counter, PartError> {
        let name = names::METRICS;
        self.sum(direction as u32 * Reason::COUNT + reason as u32)
            .map_err(|source| PartError::Map { name, source })
    }

    fn sum(&self, slot: u32) -> Result<Counter, MapError> {
        let mut sum = Counter::default();
        for Abi(counter) in self.metrics.get(&slot, 0)?.iter() {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
        }
        Ok(sum)
    }
}
