//! Puts programs on interfaces, first in their chains.
//!
//! Owns the choice between TCX (Linux 6.6 and later) and clsact filters and the records of what is
//! attached; must not know policy. Invariant: an interface that has the programs keeps them through
//! restarts and upgrades – links and filters are replaced in place, never taken off first.

use std::collections::{BTreeMap, BTreeSet};

use aya::{programs::ProgramInfo, util::KernelVersion};

use super::{
    super::{
        generation::Programs,
        kernel::sys,
        pins::{self, Pins},
    },
    chain::chain,
    clsact,
    error::{AttachError, gone, interface},
    hook::{Hook, Interface, current_index},
    tcx,
};

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX where the kernel has it, else clsact
    #[default]
    Auto,
    /// TCX links (Linux 6.6 and later): before every clsact filter
    Tcx,
    /// Filters of preference 1 in the clsact qdisc
    Clsact,
}

/// How this process attaches, chosen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// TCX links.
    Tcx,
    /// clsact filters.
    Clsact,
}

impl AttachMode {
    /// The mechanism on the running kernel.
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::Tcx => Mechanism::Tcx,
            Self::Clsact => Mechanism::Clsact,
            Self::Auto if has_tcx() => Mechanism::Tcx,
            Self::Auto => Mechanism::Clsact,
        }
    }
}

/// Whether the kernel has TCX.
pub fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Attaches programs of one generation and remembers where.
#[derive(Clone, Debug)]
pub struct Attacher {
    pub(super) pins: Pins,
    pub(super) mechanism: Mechanism,
}

impl Attacher {
    /// Attaches by this mechanism and keeps records in the pin directory.
    pub fn new(pins: Pins, mechanism: Mechanism) -> Self {
        Self { pins, mechanism }
    }

    /// How programs are attached.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Puts the program on the interface, first in its chain; what an earlier generation put there
    /// is replaced in place.
    ///
    /// # Errors
    /// [`AttachError::Gone`] when the interface vanished meanwhile, else the kernel's reason.
    pub fn attach(
        &self,
        programs: &mut Programs,
        index: u32,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let interface = interface(index)?;
        if self.mechanism == Mechanism::Tcx {
            self.relieve(programs, &interface, hook)?;
        }
        let program = programs.classifier(hook.program())?;
        match self.mechanism {
            Mechanism::Tcx => {
                tcx::attach(program, &interface, hook, &self.link_pin(index, hook))?;
                self.remove_filter(&interface, hook)?;
            }
            Mechanism::Clsact => {
                clsact::attach(program, &interface, hook, &self.filter_pin(index, hook))?;
                tcx::remove(&self.link_pin(index, hook))?;
            }
        }
        // aya takes names, and a name may have changed hands meanwhile: the new holder is announced
        // like any other interface, and this one is looked at again.
        if current_index(&interface.name) == Some(index) {
            Ok(())
        } else {
            Err(gone(&interface))
        }
    }

    /// Takes the program off the interface.
    ///
    /// # Errors
    /// The kernel's reason; what is not there is no error.
    pub fn detach(&self, index: u32, hook: Hook) -> Result<(), AttachError> {
        tcx::remove(&self.link_pin(index, hook))?;
        match Interface::current(index) {
            Some(interface) => match self.remove_filter(&interface, hook) {
                Err(AttachError::Gone { .. }) => {
                    pins::remove(&self.filter_pin(index, hook)).map_err(Into::into)
                }
                other => other,
            },
            None => pins::remove(&self.filter_pin(index, hook)).map_err(Into::into),
        }
    }

    /// What earlier runs attached, as far as it is remembered.
    ///
    /// # Errors
    /// The pin directory cannot be read.
    pub fn records(&self) -> Result<BTreeSet<(u32, Hook)>, AttachError> {
        let mut records = BTreeSet::new();
        for directory in [self.pins.links(), self.pins.filters()] {
            records.extend(
                pins::entries(&directory)?
                    .iter()
                    .filter_map(|path| parse_record(path.file_name()?.to_str()?)),
            );
        }
        Ok(records)
    }

    /// The indexes under which an earlier run attached programs to interfaces that are gone: what has such
    /// an index now is another one, or somebody took all of them off.
    ///
    /// # Errors
    /// The pin directory cannot be read.
    pub fn gone(&self) -> Result<BTreeSet<u32>, AttachError> {
        let mut indexes = BTreeMap::<u32, bool>::new();
        for (index, hook) in self.records()? {
            let is_there = indexes.entry(index).or_default();
            *is_there = *is_there || self.is_there(index, hook);
        }
        indexes.retain(|_, is_there| !*is_there);
        Ok(indexes.into_keys().collect())
    }

    /// Whether what is recorded of a hook is on the interface that has the index now.
    fn is_there(&self, index: u32, hook: Hook) -> bool {
        let link = sys::open_pin(&self.link_pin(index, hook));
        if link.is_ok_and(|link| sys::link_interface(&link).is_ok_and(|one| one == index)) {
            return true;
        }
        let Ok(filter) = ProgramInfo::from_pin(self.filter_pin(index, hook)) else {
            return false;
        };
        chain(index, hook.direction()).is_ok_and(|chain| {
            let mut ids = chain.entries.iter().filter_map(|entry| entry.prog_id);
            ids.any(|id| id == filter.id())
        })
    }

    /// Interfaces that have clsact filters of ours, as far as it is remembered.
    ///
    /// # Errors
    /// The pin directory cannot be read.
    pub fn filters(&self) -> Result<BTreeSet<u32>, AttachError> {
        let records = pins::entries(&self.pins.filters())?;
        Ok(records
            .iter()
            .filter_map(|path| parse_record(path.file_name()?.to_str()?))
            .map(|(index, _)| index)
            .collect())
    }

    /// Removes the clsact qdisc of an interface unless somebody's filter stands in it; whether it did.
    ///
    /// # Errors
    /// The kernel's reason; a qdisc or an interface that is gone is no error.
    pub fn remove_unused_qdisc(&self, index: u32) -> Result<bool, AttachError> {
        clsact::remove_unused(index)
    }

    /// Forgets an interface that the kernel removed, with its links and filters.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn forget(&self, index: u32) -> Result<(), AttachError> {
        for hook in Hook::ALL {
            tcx::remove(&self.link_pin(index, hook))?;
            pins::remove(&self.filter_pin(index, hook))?;
        }
        Ok(())
    }

    /// Removes the clsact filter when the records say that there is one.
    pub(super) fn remove_filter(
        &self,
        interface: &Interface,
        hook: Hook,
    ) -> Result<(), AttachError> {
        let pin = self.filter_pin(interface.index, hook);
        if pin.exists() {
            clsact::remove(interface, hook)?;
        }
        pins::remove(&pin).map_err(Into::into)
    }

    pub(super) fn link_pin(&self, index: u32, hook: Hook) -> std::path::PathBuf {
        self.pins.links().join(record(index, hook))
    }

    pub(super) fn filter_pin(&self, index: u32, hook: Hook) -> std::path::PathBuf {
        self.pins.filters().join(record(index, hook))
    }
}

/// The name under which a link or filter is remembered.
pub(crate) fn record(index: u32, hook: Hook) -> String {
    format!("{index}-{}", hook.program())
}

/// Reads a name that [`record`] wrote.
pub(crate) fn parse_record(name: &str) -> Option<(u32, Hook)> {
    let (index, program) = name.split_once('-')?;
    let hook = Hook::ALL
        .into_iter()
        .find(|hook| hook.program() == program)?;
    Some((index.parse().ok()?, hook))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for hook in Hook::ALL {
            assert_eq!(parse_record(&record(42, hook)), Some((42, hook)));
        }
        assert_eq!(parse_record("42-other"), None);
        assert_eq!(parse_record("from_pod"), None);
    }
}
