//! Why a program could not be attached or taken off.

use aya::programs::{ProgramError, SchedClassifier, tc::TcError};

use super::{
    super::{kernel::part::PartError, pins::PinDirError},
    chain::ChainError,
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
    /// The qdisc on the handle that clsact needs is another: it has no egress, and filters for
    /// both directions would all run on ingress.
    #[error("interface {name} has an `{kind}` qdisc on handle ffff:, which has no egress hook")]
    OtherQdisc {
        /// The interface.
        name: String,
        /// The qdisc.
        kind: String,
    },
    /// Somebody's filter of another kind or protocol has the preference that ours needs.
    #[error("a filter `{filter}` on interface {name} has preference 1")]
    PreferenceTaken {
        /// The interface.
        name: String,
        /// The filter's name or kind.
        filter: String,
    },
    /// The programs of the interface could not be listed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A link could not be remembered.
    #[error(transparent)]
    Pins(#[from] PinDirError),
}

impl AttachError {
    /// What a person can do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::OtherQdisc { name, kind } => Some(format!(
                "replace it: `tc qdisc del dev {name} {kind}`, then `tc qdisc add dev {name} clsact`, \
                 whose ingress hook takes the same filters; or attach by TCX (Linux 6.6 and later)"
            )),
            Self::PreferenceTaken { name, .. } => Some(format!(
                "give it another preference (`tc filter show dev {name} ingress`, `… egress`)"
            )),
            Self::Program { source, .. }
                if matches!(
                    os_error(source),
                    Some(libc::ERANGE | libc::E2BIG | libc::ENOSPC)
                ) =>
            {
                Some(
                    "the chain is full: somebody's programs have to leave it (`bpftool net`)"
                        .into(),
                )
            }
            _ => None,
        }
    }
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
