//! Reads what the programs tell about single packets, and how many they did not tell of.
//!
//! Owns how much of each endpoint's count was told. Invariant: every drop is an event, or in exactly one of
//! the numbers that are told, however the processors' events are mixed.

use std::{collections::BTreeMap, io};

use aya::{
    Ebpf,
    maps::{Map, MapData, RingBuf},
};
use policy_common::{EndpointId, Event, EventBudget, names};

use super::super::kernel::{
    abi::Slots,
    part::{self, PartError, open},
    sys,
};

/// Reads EVENTS. The programs wake nobody for an event: the reader is asked at intervals.
pub struct EventReader {
    ring: RingBuf<MapData>,
    budgets: Map,
    told: Told,
}

impl EventReader {
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, PartError> {
        // A typed handle has the sizes checked with which the untyped one is read.
        open::<Slots<EventBudget>>(ebpf, names::EVENT_BUDGETS)?;
        Ok(Self {
            ring: open(ebpf, names::EVENTS)?,
            budgets: part::open_untyped(ebpf, names::EVENT_BUDGETS)?,
            told: Told::default(),
        })
    }

    /// Reads what is there, `most` at a time; to be called at intervals. Of each, [`Event::suppressed`] says
    /// how many drops of the endpoint were told in no other way before. Records of another length are skipped:
    /// they come from another version of the programs.
    pub fn read(&mut self, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < most {
            let Some(record) = self.ring.next() else {
                break;
            };
            events.extend(bytemuck::try_pod_read_unaligned::<Event>(&record).ok());
        }
        for event in &mut events {
            event.suppressed = self.told.news(event.endpoint, event.suppressed);
        }
        events
    }

    /// How many drops of each endpoint nobody was told of yet: afterwards they count as told, also to
    /// events that are still to be read. Zeros are left out.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn untold(&mut self) -> io::Result<BTreeMap<EndpointId, u32>> {
        let Map::Array(budgets) = &self.budgets else {
            return Ok(BTreeMap::new());
        };
        let mut untold = BTreeMap::new();
        let told = &mut self.told;
        sys::for_each(budgets, |slot: u32, budget: EventBudget| {
            if let Ok(number) = u16::try_from(slot) {
                let endpoint = EndpointId(number);
                let count = told.news(endpoint, budget.suppressed);
                if count > 0 {
                    untold.insert(endpoint, count);
                }
            }
        })?;
        Ok(untold)
    }
}

/// How far the counts of endpoints were told.
#[derive(Debug, Default)]
struct Told(BTreeMap<EndpointId, u32>);

impl Told {
    /// How much of a count is news. A processor may have read it before another and written it afterwards.
    fn news(&mut self, endpoint: EndpointId, count: u32) -> u32 {
        let told = self.0.get(&endpoint).copied().unwrap_or_default();
        let news = count.wrapping_sub(told);
        if news == 0 || news > u32::MAX / 2 {
            return 0;
        }
        self.0.insert(endpoint, count);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suppressed_drop_is_told_once_whatever_the_order() {
        let mut told = Told::default();
        let (one, other) = (EndpointId(1), EndpointId(2));
        let news = [3, 3, 7, 5, 9].map(|count| told.news(one, count));
        assert_eq!(news, [3, 0, 4, 0, 2]);
        assert_eq!(told.news(other, 4), 4);
    }

    #[test]
    fn a_count_that_goes_round_is_told_on() {
        let mut told = Told::default();
        told.0.insert(EndpointId(1), u32::MAX - 1);
        assert_eq!(told.news(EndpointId(1), 2), 4);
    }
}
