//! Loaded generations with empty tables, to be used by one case after the other: the verifier
//! takes longer than a case.
//!
//! Invariant: what is in the pool has no endpoint and no flow of an earlier case.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Result, ensure};
use policy_agent::datapath::{Datapath, HostSockets, LoadOptions, Swept, TableSizes};
use policy_common::Config;

use super::drops;

/// Enough for a case, and quick to allocate.
const SIZES: TableSizes = TableSizes {
    max_endpoints: 1_024,
    max_addresses: 4_096,
    max_cidrs: 4_096,
    max_rules: 16_384,
    max_port_sets: 4_096,
    max_ports: 16_384,
    max_flows: 65_536,
};

/// Loaded generations of one configuration.
#[derive(Default)]
pub(crate) struct Pool {
    test_seam: bool,
    free: Mutex<Vec<Datapath>>,
}

impl Pool {
    /// Of generations for single packets.
    pub(crate) fn with_test_seam() -> Self {
        Self {
            test_seam: true,
            ..Self::default()
        }
    }

    /// Takes a generation out, or loads one.
    pub(crate) fn take(&self) -> Result<Datapath> {
        if let Some(datapath) = self.free().pop() {
            return Ok(datapath);
        }
        let mut options = LoadOptions::embedded()?;
        options.config = Config {
            test_seam: self.test_seam.into(),
            ..drops::CONFIG
        };
        options.sizes = SIZES;
        // One generation serves the hosts of many cases.
        options.host_sockets = HostSockets::Anywhere;
        Ok(Datapath::load(&options, &[])?)
    }

    /// Puts one back whose tables were emptied; forgets its flows.
    ///
    /// # Errors
    /// The kernel still has endpoints.
    pub(crate) fn put(&self, mut datapath: Datapath) -> Result<()> {
        let left = datapath.endpoints()?;
        ensure!(left.is_empty(), "endpoints stay in the kernel: {left:?}");
        let _: Swept = datapath.sweep(&BTreeSet::new())?;
        self.free().push(datapath);
        Ok(())
    }

    fn free(&self) -> MutexGuard<'_, Vec<Datapath>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
