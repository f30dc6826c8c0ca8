//! The agent's datapath on one node: loaded as in production, attached to the pods' interfaces.
//!
//! Owns a pin directory of its own, which goes with it.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use policy_agent::datapath::{AttachMode, Attacher, Datapath, Hook, PinDir, Pins};
use policy_core::plan::Op;

use crate::drops::{self, Drop as Dropped};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One node's datapath.
pub(crate) struct Enforcer {
    datapath: Datapath,
    attacher: Attacher,
    _directory: Directory,
}

/// A pin directory that goes with its value, and its links with it.
struct Directory(Pins);

impl Enforcer {
    /// Of a loaded generation; nothing is attached yet.
    pub(crate) fn new(datapath: Datapath) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conformance-{}-{number}", std::process::id());
        let pins = PinDir::new(std::path::Path::new("/sys/fs/bpf").join(name));
        let pins = pins.lock()?;
        Ok(Self {
            datapath,
            attacher: Attacher::new(pins.clone(), AttachMode::Auto.mechanism()),
            _directory: Directory(pins),
        })
    }

    /// Puts the programs on the interface; call it inside the node's namespace.
    pub(crate) fn attach(&mut self, ifindex: u32) -> Result<()> {
        for hook in Hook::ENDPOINT {
            self.attacher
                .attach(&mut self.datapath.programs, ifindex, hook)?;
        }
        Ok(())
    }

    /// Forgets an interface that is gone.
    pub(crate) fn forget(&self, ifindex: u32) -> Result<()> {
        Ok(self.attacher.forget(ifindex)?)
    }

    /// What it dropped since the last call.
    pub(crate) fn drops(&mut self) -> Vec<Dropped> {
        drops::read(&mut self.datapath)
    }

    /// The generation, attached nowhere any more.
    pub(crate) fn retire(self) -> Datapath {
        self.datapath
    }

    /// Executes operations in its tables.
    pub(crate) fn execute(&mut self, ops: &[Op]) -> Result<()> {
        let failures: Vec<String> = self
            .datapath
            .apply(ops)
            .iter()
            .map(ToString::to_string)
            .collect();
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        self.datapath.settle()?;
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove_all() {
            eprintln!("{} is left behind: {error}", self.0.path().display());
        }
    }
}
