//! Who stands in an interface's chain of TC programs: TCX programs first, then clsact filters.

use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, TcAttachType, TcError};

use super::{super::kernel::sys, hook::interface_name};
use crate::netlink::{
    NetlinkError,
    message::{Message, attributes, text, u32_at},
    socket::Requests,
};

/// The programs of an interface could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The kernel refused to list the filters.
    #[error(transparent)]
    Filters(#[from] NetlinkError),
    /// The kernel refused to list the TCX programs.
    #[error("cannot list the TCX programs of interface {ifindex}")]
    Tcx {
        /// The interface.
        ifindex: u32,
        /// The cause.
        #[source]
        source: Box<ProgramError>,
    },
    /// The TCX programs changed each time while they were listed.
    #[error("the TCX programs of interface {ifindex} change all the time")]
    Unsteady {
        /// The interface.
        ifindex: u32,
    },
}

/// `struct tcmsg`; attributes of filters (linux/rtnetlink.h, linux/pkt_cls.h).
const TCMSG: usize = 20;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// How often a list that changed while it was read is read again.
const ATTEMPTS: usize = 8;

/// The handle of clsact (linux/pkt_sched.h).
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// The parent of clsact, and of the `ingress` qdisc.
const CLSACT: u32 = 0xffff_fff1;
/// Parents of clsact's two blocks.
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A TCX link or program (6.6 and later).
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact {
        /// Its preference: the lowest runs first.
        preference: u16,
        /// Its handle within the preference.
        handle: u32,
    },
}

/// One program or filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How it is attached.
    pub attachment: Attachment,
    /// The kernel's id of the program; `None` for a filter that is no BPF program.
    pub prog_id: Option<u32>,
    /// The program's name, or the filter's kind; empty where it cannot be known.
    pub name: String,
}

/// What runs on one hook of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// In the order in which the kernel runs them.
    pub entries: Vec<Entry>,
}

impl Chain {
    /// What runs before the program of this id; everything when it is not there.
    #[must_use]
    pub fn before(&self, prog_id: u32) -> &[Entry] {
        let ours = |entry: &Entry| entry.prog_id == Some(prog_id);
        let place = self.entries.iter().position(ours);
        self.entries
            .get(..place.unwrap_or(self.entries.len()))
            .unwrap_or_default()
    }

    /// Whether the program of this id is there.
    #[must_use]
    pub fn contains(&self, prog_id: u32) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.prog_id == Some(prog_id))
    }
}

/// Lists what runs on the TC ingress or egress (the *interface's*) of an interface of this thread's
/// network namespace. An interface that does not exist has an empty chain.
///
/// # Errors
/// What the kernel refused: `CAP_NET_ADMIN` is needed. Without `CAP_SYS_ADMIN` TCX programs have no names.
pub fn chain(ifindex: u32, hook: TcAttachType) -> Result<Chain, ChainError> {
    let parent = match hook {
        TcAttachType::Ingress => CLSACT_INGRESS,
        TcAttachType::Egress => CLSACT_EGRESS,
        TcAttachType::Custom(parent) => parent,
    };
    let mut entries = tcx(ifindex, hook)?;
    entries.extend(clsact(ifindex, parent)?);
    Ok(Chain { entries })
}

fn tcx(ifindex: u32, hook: TcAttachType) -> Result<Vec<Entry>, ChainError> {
    if matches!(hook, TcAttachType::Custom(_)) {
        return Ok(Vec::new());
    }
    for _ in 0..ATTEMPTS {
        let Some(name) = interface_name(ifindex) else {
            return Ok(Vec::new());
        };
        match SchedClassifier::query_tcx(&name, hook) {
            Ok((_, found)) => return Ok(found.iter().map(tcx_entry).collect()),
            Err(error) => match errno(&error) {
                // A kernel without TCX, or no interface of this name any more.
                Some(libc::EINVAL | libc::ENODEV) => return Ok(Vec::new()),
                // A program went away between the list and the question about it.
                Some(libc::ENOENT) => {}
                // Only `CAP_SYS_ADMIN` may ask for a name; where each stands is known without.
                Some(libc::EPERM) => return unnamed(ifindex, hook),
                _ => return Err(tcx_error(ifindex, error)),
            },
        }
    }
    Err(ChainError::Unsteady { ifindex })
}

fn unnamed(ifindex: u32, hook: TcAttachType) -> Result<Vec<Entry>, ChainError> {
    let entry = |prog_id| Entry {
        attachment: Attachment::Tcx,
        prog_id: Some(prog_id),
        name: String::new(),
    };
    match sys::tcx_programs(ifindex, hook) {
        Ok(ids) => Ok(ids.into_iter().map(entry).collect()),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        Err(error) => Err(tcx_error(ifindex, error.into())),
    }
}

fn tcx_error(ifindex: u32, source: ProgramError) -> ChainError {
    ChainError::Tcx {
        ifindex,
        source: Box::new(source),
    }
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        _ => None,
    }
}

fn tcx_entry(program: &ProgramInfo) -> Entry {
    Entry {
        attachment: Attachment::Tcx,
        prog_id: Some(program.id()),
        name: program.name_as_str().unwrap_or_default().to_owned(),
    }
}

fn clsact(ifindex: u32, parent: u32) -> Result<Vec<Entry>, ChainError> {
    let mut body = vec![0; TCMSG];
    body.splice(4..8, ifindex.to_ne_bytes());
    body.splice(12..16, parent.to_ne_bytes());
    let mut requests = Requests::open(rtnetlink::sys::protocols::NETLINK_ROUTE)?;
    match requests.dump(libc::RTM_GETTFILTER.into(), &body, decode) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        result => result.map_err(|source| {
            NetlinkError::Request {
                what: "filters",
                source,
            }
            .into()
        }),
    }
}

/// The kind of the qdisc that has the place of clsact, if there is one. Lists all qdiscs: the
/// kernel answers a question about one to everybody who listens, but not to who asked.
pub(super) fn ingress_qdisc(ifindex: u32) -> Result<Option<String>, ChainError> {
    let mut requests = Requests::open(rtnetlink::sys::protocols::NETLINK_ROUTE)?;
    let kind = |message: &Message<'_>| {
        let is_it =
            u32_at(message.payload, 4)? == ifindex && u32_at(message.payload, 12)? == CLSACT;
        attributes(message.payload, TCMSG)
            .find(|(kind, _)| is_it && *kind == libc::TCA_KIND)
            .map(|(_, value)| text(value))
    };
    let found = requests.dump(libc::RTM_GETQDISC.into(), &[0; TCMSG], kind);
    let found = found.map_err(|source| NetlinkError::Request {
        what: "qdiscs",
        source,
    })?;
    Ok(found.into_iter().next())
}

/// Removes the clsact qdisc of an interface; one that is gone, like its interface, is no error.
pub(super) fn remove_clsact(ifindex: u32) -> Result<(), ChainError> {
    let mut body = vec![0; TCMSG];
    body.splice(4..8, ifindex.to_ne_bytes());
    body.splice(8..12, CLSACT_HANDLE.to_ne_bytes());
    body.splice(12..16, CLSACT.to_ne_bytes());
    let mut requests = Requests::open(rtnetlink::sys::protocols::NETLINK_ROUTE)?;
    match requests.get(libc::RTM_DELQDISC.into(), &body, |_| None::<()>) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        result => result.map(drop).map_err(|source| {
            NetlinkError::Request {
                what: "the removal of clsact",
                source,
            }
            .into()
        }),
    }
}

fn decode(message: &Message<'_>) -> Option<Entry> {
    if message.kind != libc::RTM_NEWTFILTER {
        return None;
    }
    let handle = u32_at(message.payload, 8)?;
    let preference = u16::try_from(u32_at(message.payload, 16)? >> 16).ok()?;
    let mut name = String::new();
    let mut options = None;
    for (kind, value) in attributes(message.payload, TCMSG) {
        match kind {
            libc::TCA_KIND => name = text(value),
            libc::TCA_OPTIONS => options = Some(value),
            _ => {}
        }
    }
    // The head of a preference is listed too; only what has options classifies.
    let options = options?;
    let mut prog_id = None;
    if name == "bpf" {
        for (kind, value) in attributes(options, 0) {
            match kind {
                TCA_BPF_NAME => name = text(value),
                TCA_BPF_ID => prog_id = u32_at(value, 0),
                _ => {}
            }
        }
    }
    Some(Entry {
        attachment: Attachment::Clsact { preference, handle },
        prog_id,
        name,
    })
}
