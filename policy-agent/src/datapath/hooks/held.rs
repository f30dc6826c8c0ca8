//! Links that this process holds beside their pins.
//!
//! A link lives as long as somebody refers to it. Invariant: while the agent runs, removing a pin takes
//! no program off an interface; the pin is made again when the hook is looked at next.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{super::kernel::sys, attach::Attacher, hook::Hook};

/// Descriptors that are wanted: two links for as many interfaces as there may be, and the rest.
const DESCRIPTORS: u64 = 16_384;

/// Links by interface and hook.
#[derive(Debug)]
pub struct HeldLinks {
    links: BTreeMap<(u32, Hook), OwnedFd>,
    most: usize,
}

impl HeldLinks {
    /// None yet. Has the process take more descriptors, as far as it may; half of them are for links.
    pub fn new() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
        let wanted = soft.max(hard.min(DESCRIPTORS));
        let now = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
            Ok(()) => wanted,
            Err(_) => soft,
        };
        Self {
            links: BTreeMap::new(),
            most: usize::try_from(now / 2).unwrap_or_default(),
        }
    }

    /// Holds the link that was just pinned for a hook, in the place of an earlier one.
    pub fn hold(&mut self, attacher: &Attacher, index: u32, hook: Hook) {
        self.release(index, hook);
        if self.links.len() < self.most
            && let Ok(link) = sys::open_pin(&attacher.link_pin(index, hook))
        {
            self.links.insert((index, hook), link);
        }
    }

    /// Whether somebody had removed the pin of a link that is held: it is there again.
    ///
    /// # Errors
    /// The kernel refuses to pin it.
    pub fn pin_again(&self, attacher: &Attacher, index: u32, hook: Hook) -> io::Result<bool> {
        let pin = attacher.link_pin(index, hook);
        match self.links.get(&(index, hook)) {
            Some(link) if !pin.exists() => sys::pin(link, &pin).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Lets go of the link of a hook.
    pub fn release(&mut self, index: u32, hook: Hook) {
        self.links.remove(&(index, hook));
    }
}

impl Default for HeldLinks {
    fn default() -> Self {
        Self::new()
    }
}
