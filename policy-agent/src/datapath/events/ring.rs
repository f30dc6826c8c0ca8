//! Reads what the programs tell about single packets.

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use policy_common::{Event, names};

use super::super::kernel::part::{PartError, open};

/// Reads EVENTS. The programs wake nobody for an event: the reader is asked at intervals.
pub struct EventReader {
    ring: RingBuf<MapData>,
}

impl EventReader {
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, PartError> {
        Ok(Self {
            ring: open(ebpf, names::EVENTS)?,
        })
    }

    /// Reads what is there, `most` at a time; to be called at intervals. Records of another length are skipped: they come
    /// from another version of the programs.
    pub fn read(&mut self, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < most {
            let Some(record) = self.ring.next() else {
                break;
            };
            events.extend(bytemuck::try_pod_read_unaligned::<Event>(&record).ok());
        }
        events
    }
}
