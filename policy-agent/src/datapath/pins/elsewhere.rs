//! Pins of a network namespace that is not the agent's any more: a node's may be made anew while its BPF file
//! system stays.
//!
//! Owns what becomes of them. Indexes of interfaces mean nothing in another namespace, and so do all tables by
//! them. Invariant: nothing that still is on an interface is taken off, and whoever is cut off in the middle
//! finds at the next start that it is not done.

use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use policy_common::names;

use super::{PinDirError, Pins, entries, remove, rename};
use crate::datapath::kernel::sys;

/// What says nothing of interfaces: the marker with its epoch, and what was counted.
const OF_THE_MACHINE: [&str; 2] = [names::NODE_STATE, names::METRICS];

impl Pins {
    /// Lets go of everything that is known of the interfaces of the namespace of this number. Links that
    /// still are on one of its interfaces stay there, with what their programs read. Returns how many.
    ///
    /// # Errors
    /// A pin cannot be moved or removed.
    pub(crate) fn leave(&self, namespace: u64) -> Result<usize, PinDirError> {
        let aside = |name: &str| self.elsewhere().join(format!("{namespace:016x}-{name}"));
        let mut left = 0;
        for link in entries(&self.links())? {
            if is_on_interface(&link) {
                rename(&link, &aside(&name(&link)))?;
                left += 1;
            } else {
                remove(&link)?;
            }
        }
        for filter in entries(&self.filters())? {
            remove(&filter)?;
        }
        let calls = self.path().join(names::CALLS);
        if left > 0 && calls.exists() {
            rename(&calls, &aside(names::CALLS))?;
        }
        let maps = entries(self.path())?.into_iter();
        for map in maps.filter(|path| !path.is_dir()) {
            let name = name(&map);
            if name != names::SANDBOXES && !OF_THE_MACHINE.contains(&&*name) {
                remove(&map)?;
            }
        }
        // Last: it says whose the others are.
        remove(&self.path().join(names::SANDBOXES))?;
        Ok(left)
    }

    /// Takes back what an earlier run left in the namespace of this number, and forgets links of others
    /// that are on no interface any more.
    ///
    /// # Errors
    /// A pin cannot be moved or removed.
    pub(crate) fn come_back(&self, namespace: u64) -> Result<(), PinDirError> {
        let own = format!("{namespace:016x}-");
        let is_calls = |pin: &PathBuf| name(pin).ends_with(names::CALLS);
        let (calls, links): (Vec<_>, Vec<_>) =
            entries(&self.elsewhere())?.into_iter().partition(is_calls);
        for link in links {
            if !is_on_interface(&link) {
                remove(&link)?;
            } else if let Some(record) = name(&link).strip_prefix(&own) {
                rename(&link, &self.links().join(record))?;
            }
        }
        let left = entries(&self.elsewhere())?;
        for pin in calls {
            let name = name(&pin);
            if name.starts_with(&own)
                && let Ok(info) = MapInfo::from_pin(&pin)
            {
                rename(&pin, &self.before().join(info.id().to_string()))?;
                continue;
            }
            let namespace = name.strip_suffix(names::CALLS).unwrap_or_default();
            let is_needed =
                |other: &PathBuf| *other != pin && self::name(other).starts_with(namespace);
            if !left.iter().any(is_needed) {
                remove(&pin)?;
            }
        }
        Ok(())
    }
}

fn name(pin: &Path) -> String {
    let name = pin.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether a pin is that of a link to an interface, which is in some namespace.
fn is_on_interface(pin: &Path) -> bool {
    let interface = sys::open_pin(pin).and_then(|link| sys::link_interface(&link));
    interface.is_ok_and(|ifindex| ifindex != 0)
}
