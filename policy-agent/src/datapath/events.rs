//! Reads what the programs tell about single packets.

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use policy_common::{Event, names};

use super::{load::LoadError, tables::take};

/// Reads EVENTS. The programs wake nobody for an event: the reader is asked at intervals.
pub(crate) struct EventReader {
    ring: RingBuf<MapData>,
}

impl EventReader {
    pub(crate) fn take_from(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            ring: take(ebpf, names::EVENTS)?,
        })
    }

    /// Reads what is there, `most` at a time. Records of another length are skipped: they come
    /// from another version of the programs.
    pub(crate) fn read(&mut self, most: usize) -> Vec<Event> {
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

/// Passes the programs' debug lines on to the `log` crate. They were chosen when the object was
/// loaded: nothing comes, and nothing is paid, when they are off.
pub(crate) struct DebugLines {
    flush: Box<dyn FnMut() + Send>,
}

impl DebugLines {
    /// `None`: the object has no debug lines.
    pub(crate) fn take_from(ebpf: &mut Ebpf) -> Option<Self> {
        let mut logger = EbpfLogger::init(ebpf).ok()?;
        Some(Self {
            flush: Box::new(move || logger.flush()),
        })
    }

    pub(crate) fn flush(&mut self) {
        (self.flush)();
    }
}
