//! Attachment by filters of the clsact qdisc, which stay without any handle of ours.

use std::path::Path;

use aya::programs::{
    Link as _, ProgramError, SchedClassifier,
    tc::{
        NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
        qdisc_add_clsact,
    },
};

use super::{
    super::pins::{self, PinDirError},
    chain::{self, Attachment},
    error::{AttachError, os_error, program_error},
    hook::{Hook, Interface},
};

/// The filter's preference, so that it runs before every other preference.
const PREFERENCE: u16 = 1;
/// Handles that nobody else picks by chance ("pol"). The second takes over while the filter moves
/// ahead of others of its preference: the newest of them runs first.
const HANDLES: [TcHandle; 2] = [TcHandle::new(0x706f, 0x6c00), TcHandle::new(0x706f, 0x6c01)];

/// Puts the program on the hook, in the place of an earlier generation's where there is one.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    pin: &Path,
) -> Result<(), AttachError> {
    let failed = |source| program_error(interface, hook, source);
    match qdisc_add_clsact(&interface.name) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
            must_be_clsact(interface)?;
        }
        other => other.map_err(|error| failed(error.into()))?,
    }
    // The record comes first: a filter without one would be nobody's.
    pins::remove(pin)?;
    program.pin(pin).map_err(|source| PinDirError::Pin {
        path: pin.to_owned(),
        source,
    })?;
    for handle in HANDLES {
        match program.attach_to_link(filter(interface, hook, handle)?) {
            Err(error) if os_error(&error) == Some(libc::ENOENT) => {}
            replaced => return keep(program, replaced).map_err(failed),
        }
    }
    let added = add(program, interface, hook, HANDLES[0]);
    keep(program, added).map_err(|error| {
        // There is no filter: the record would be of nothing.
        let _: Result<(), PinDirError> = pins::remove(pin);
        refused(interface, hook, error)
    })
}

/// The handle of clsact is also that of the `ingress` qdisc, which takes filters for either
/// direction and runs them all on ingress.
fn must_be_clsact(interface: &Interface) -> Result<(), AttachError> {
    match chain::ingress_qdisc(interface.index)? {
        Some(kind) if kind != "clsact" => Err(AttachError::OtherQdisc {
            name: interface.name.clone(),
            kind,
        }),
        _ => Ok(()),
    }
}

/// Why the kernel refused to add the filter: one preference takes filters of one kind and one
/// protocol only.
fn refused(interface: &Interface, hook: Hook, error: ProgramError) -> AttachError {
    if os_error(&error) == Some(libc::EINVAL)
        && let Ok(chain) = chain::chain(interface.index, hook.direction())
        && let Some(filter) = chain.entries.iter().find(|entry| {
            matches!(entry.attachment, Attachment::Clsact { preference, .. } if preference == PREFERENCE)
        })
    {
        return AttachError::PreferenceTaken {
            name: interface.name.clone(),
            filter: filter.to_string(),
        };
    }
    program_error(interface, hook, error)
}

/// Whether this is the filter of ours, of whichever generation.
pub(crate) fn is_ours(attachment: Attachment) -> bool {
    HANDLES.iter().any(|own| {
        attachment
            == Attachment::Clsact {
                preference: PREFERENCE,
                handle: u32::from(*own),
            }
    })
}

/// Moves the filter ahead of others of its preference: the new one is there before the old one goes.
pub(crate) fn move_first(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
) -> Result<(), AttachError> {
    let failed = |source| program_error(interface, hook, source);
    let [first, second] = HANDLES;
    let (old, added) = match add(program, interface, hook, first) {
        Ok(id) => (second, Ok(id)),
        // The handle is in use: the filter stands there.
        Err(_) => (first, add(program, interface, hook, second)),
    };
    keep(program, added).map_err(failed)?;
    remove_one(interface, hook, old)
}

/// Removes the qdisc of an interface unless somebody's filter stands in it; whether it did.
pub(super) fn remove_unused(ifindex: u32) -> Result<bool, AttachError> {
    for hook in [Hook::FromPod, Hook::ToPod] {
        let chain = chain::chain(ifindex, hook.direction())?;
        let mut entries = chain.entries.iter();
        if entries.any(|entry| entry.attachment != Attachment::Tcx) {
            return Ok(false);
        }
    }
    chain::remove_clsact(ifindex)?;
    Ok(true)
}

/// Removes the filter; one that is gone is no error.
pub(crate) fn remove(interface: &Interface, hook: Hook) -> Result<(), AttachError> {
    HANDLES
        .into_iter()
        .try_for_each(|handle| remove_one(interface, hook, handle))
}

fn remove_one(interface: &Interface, hook: Hook, handle: TcHandle) -> Result<(), AttachError> {
    match filter(interface, hook, handle)?.detach() {
        Err(error) if is_missing(&error) => Ok(()),
        other => other.map_err(|source| program_error(interface, hook, source)),
    }
}

/// Our filter, whether it is there or not.
fn filter(
    interface: &Interface,
    hook: Hook,
    handle: TcHandle,
) -> Result<SchedClassifierLink, AttachError> {
    SchedClassifierLink::attached(&interface.name, hook.direction(), PREFERENCE, handle, None)
        .map_err(|error| program_error(interface, hook, TcError::IoError(error).into()))
}

/// Adds a filter ahead of those of its preference; fails when the handle is in use.
fn add(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    handle: TcHandle,
) -> Result<SchedClassifierLinkId, ProgramError> {
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PREFERENCE,
        handle,
        classid: None,
    });
    program.attach_with_options(&interface.name, hook.direction(), options)
}

/// Lets a filter stay when this process ends: its handle must not be dropped.
fn keep(
    program: &mut SchedClassifier,
    attached: Result<SchedClassifierLinkId, ProgramError>,
) -> Result<(), ProgramError> {
    let link = program.take_link(attached?)?;
    std::mem::forget(link);
    Ok(())
}

/// Somebody removed the filter, or the qdisc under it.
fn is_missing(error: &ProgramError) -> bool {
    matches!(
        os_error(error),
        Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
    )
}
