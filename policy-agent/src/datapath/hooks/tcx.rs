//! Attachment by TCX links (Linux 6.6 and later), each kept by a pin.

use std::{os::fd::OwnedFd, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier,
    links::{FdLink, LinkError, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions, TcError},
};

use super::{
    super::{
        kernel::sys,
        pins::{self, PinDirError},
    },
    error::{AttachError, os_error, program_error, program_id},
    hook::{Hook, Interface},
};

/// Puts the program on the hook: in the place of an earlier generation's where the pin remembers a
/// link, else before all others.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    pin: &Path,
) -> Result<(), AttachError> {
    let failed = |source| program_error(interface, hook, source);
    if let Some(link) = pinned(pin) {
        match program.attach_to_link(link) {
            Ok(id) => {
                // The pin keeps the link; this process needs no handle of it.
                drop(program.take_link(id).map_err(failed)?);
                if programs(interface, hook)?.contains(&program_id(program, hook)?) {
                    return Ok(());
                }
                // The link is that of an interface in another network namespace.
            }
            Err(error) if is_dead(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    remove(pin)?;
    attach_first(program, interface, hook, pin)
}

/// Puts the program before all others on the hook and remembers the link; fails when the same
/// program is there already.
pub(crate) fn attach_first(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    pin: &Path,
) -> Result<(), AttachError> {
    let failed = |source| program_error(interface, hook, source);
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(&interface.name, hook.direction(), options)
        .map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    let link: FdLink = link
        .try_into()
        .map_err(|_: LinkError| failed(TcError::InvalidLinkOperation.into()))?;
    link.pin(pin).map_err(|source| PinDirError::Pin {
        path: pin.to_owned(),
        source,
    })?;
    Ok(())
}

/// Takes the link off its interface and forgets it; one that is gone is no error.
pub(crate) fn remove(pin: &Path) -> Result<(), PinDirError> {
    let link = sys::open_pin(pin).ok();
    pins::remove(pin)?;
    link.map_or(Ok(()), |link| detach(&link, pin))
}

/// Puts another link in the place of a remembered one, which is taken off its interface.
pub(crate) fn replace(fresh: &Path, pin: &Path) -> Result<(), PinDirError> {
    let old = sys::open_pin(pin).ok();
    pins::rename(fresh, pin)?;
    old.map_or(Ok(()), |link| detach(&link, pin))
}

fn detach(link: &OwnedFd, pin: &Path) -> Result<(), PinDirError> {
    match sys::detach_link(link) {
        // The interface is gone, or somebody detached the link.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
        other => other.map_err(|source| PinDirError::Io {
            action: "detaching the link",
            path: pin.to_owned(),
            source,
        }),
    }
}

/// The programs on a hook, in the order in which they run.
pub(crate) fn programs(interface: &Interface, hook: Hook) -> Result<Vec<u32>, AttachError> {
    sys::tcx_programs(interface.index, hook.direction())
        .map_err(|source| program_error(interface, hook, source.into()))
}

fn pinned(pin: &Path) -> Option<SchedClassifierLink> {
    let link = PinnedLink::from_pin(pin).ok()?;
    FdLink::from(link).try_into().ok()
}

/// The link's interface was removed, or somebody detached the link.
fn is_dead(error: &ProgramError) -> bool {
    matches!(os_error(error), Some(libc::ENOLINK | libc::ENODEV))
}
