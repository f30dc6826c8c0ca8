//! Why a program could not be attached or taken off.

use aya::programs::{ProgramError, SchedClassifier, tc::TcError};

use super::{
    super::{kernel::part::PartError, pins::PinDirError},
    hook::{Hook, Interface},
};

/// A program could not be attached or taken off.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The interface is gone, or another one has its name.
    #[error("interface {name} ({index}) is gone")]
    Gone {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// The kernel refused.
    #[error("program {program} on interface {name}")]
    Program {
        /// The program.
        program: &'static str,
        /// The interface.
        name: String,
        /// The reason.
        #[source]
        source: ProgramError,
    },
    /// The object has no such program.
    #[error(transparent)]
    Part(#[from] PartError),
    /// A link could not be remembered.
    #[error(transparent)]
    Pins(#[from] PinDirError),
}

pub(crate) fn program_id(program: &SchedClassifier, hook: Hook) -> Result<u32, AttachError> {
    program
        .info()
        .map(|info| info.id())
        .map_err(|source| PartError::Program {
            name: hook.program(),
            source,
        })
        .map_err(Into::into)
}

pub(crate) fn gone(interface: &Interface) -> AttachError {
    AttachError::Gone {
        index: interface.index,
        name: interface.name.clone(),
    }
}

pub(crate) fn program_error(
    interface: &Interface,
    hook: Hook,
    source: ProgramError,
) -> AttachError {
    match os_error(&source) {
        Some(libc::ENODEV | libc::ENXIO) => gone(interface),
        _ => AttachError::Program {
            program: hook.program(),
            name: interface.name.clone(),
            source,
        },
    }
}

pub(crate) fn os_error(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::NetlinkError(error) | ProgramError::TcError(TcError::NetlinkError(error)) => {
            error.raw_os_error()
        }
        ProgramError::TcError(TcError::IoError(error)) | ProgramError::IOError(error) => {
            error.raw_os_error()
        }
        _ => None,
    }
}

/// The interface of this index, which must be there.
pub(crate) fn interface(index: u32) -> Result<Interface, AttachError> {
    Interface::current(index).ok_or_else(|| AttachError::Gone {
        index,
        name: "unknown".into(),
    })
}
