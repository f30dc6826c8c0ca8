//! The programs' time, without the programs: the object's smallest program, alone.

use std::os::fd::AsFd as _;

use aya::{Ebpf, EbpfLoader};
use policy_common::names;

use super::{
    super::{
        generation::{LoadError, LoadOptions, TableSizes, hz},
        kernel::{clock::Clock, part},
    },
    ProbeError,
};

/// Jiffies, and how many make a second.
pub(super) struct Ticks {
    clock: Clock,
    hz: u32,
    _ebpf: Ebpf,
}

impl Ticks {
    pub(super) fn load() -> Result<Self, ProbeError> {
        let options = LoadOptions::embedded()?;
        let hz = hz(&options)?;
        let mut loader = EbpfLoader::new();
        // The maps are not used: as small as the kernel makes them.
        for name in TableSizes::default().entries().into_keys() {
            loader.map_max_entries(name, 1);
        }
        loader.map_max_entries(names::FRAGMENTS, 1);
        let mut ebpf = loader.load(options.object).map_err(LoadError::Object)?;
        let name = names::JIFFIES;
        let failed = |source| super::super::PartError::Program { name, source };
        let program = part::classifier(&mut ebpf, name)?;
        program.load().map_err(failed)?;
        let handle = program.fd().map_err(failed)?.as_fd().try_clone_to_owned();
        Ok(Self {
            clock: Clock::new(handle.map_err(LoadError::Clock)?),
            hz,
            _ebpf: ebpf,
        })
    }

    pub(super) fn now(&self) -> Result<(u64, u32), ProbeError> {
        Ok((self.clock.now().map_err(LoadError::Clock)?, self.hz))
    }
}
