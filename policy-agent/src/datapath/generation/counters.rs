//! What the programs counted.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use policy_common::{Counter, Direction, Reason, names};

use super::{
    super::kernel::{abi::Abi, part::PartError},
    Datapath,
};

impl Datapath {
    /// METRICS summed over the processors: what was counted at all.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counters(&self) -> Result<Vec<(Direction, Reason, Counter)>, PartError> {
        let mut counters = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for &reason in Reason::ALL {
                let counter = self.counter(direction, reason)?;
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
    pub fn counter(&self, direction: Direction, reason: Reason) -> Result<Counter, PartError> {
        let name = names::METRICS;
        let map = self.ebpf.map(name).ok_or(PartError::MissingMap { name })?;
        sum(map, direction as u32 * Reason::COUNT + reason as u32)
            .map_err(|source| PartError::Map { name, source })
    }
}

fn sum(map: &Map, slot: u32) -> Result<Counter, MapError> {
    let counters: PerCpuArray<&MapData, Abi<Counter>> = map.try_into()?;
    let mut sum = Counter::default();
    for Abi(counter) in counters.get(&slot, 0)?.iter() {
        sum.packets += counter.packets;
        sum.bytes += counter.bytes;
    }
    Ok(sum)
}
