//! One agent per network namespace.
//!
//! Two agents with different pin directories would both judge every packet and fight for the first
//! place on every interface. Owns the socket by whose name an agent finds another one: the names of
//! abstract sockets are the network namespace's, whatever is mounted where, and the kernel gives them
//! back when the process ends. Invariant: only a process of root's that could enforce, or one that holds
//! the lock of the directory that it names, counts as another agent, so that nobody else keeps one from
//! starting.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};

use super::AgentError;
use crate::{capabilities::Effective, datapath::PinDir};

/// The name of every agent's socket.
const NAME: &[u8] = b"policy-agent";
/// How long another agent may take to say which directory it has.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the name is asked for while its owner is coming or going, and how often.
const CHANGING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// The path of an agent that does not say it: it is stopped, or ends at this moment.
pub(super) const UNKNOWN: &str = "unknown";
/// A path is not longer.
const LONGEST: u64 = libc::PATH_MAX as u64;

/// Says to others that an agent with this pin directory runs in this network namespace, until the
/// process ends.
///
/// # Errors
/// [`AgentError::SecondAgent`]: another one does already, and `allowed` is not set.
pub(super) fn claim(pin_path: &Path, allowed: bool) -> Result<(), AgentError> {
    match listen(NAME, pin_path, ask)? {
        None => Ok(()),
        Some(Other::Agent { pin_path, pid }) if allowed => {
            tracing::warn!(
                pid,
                pin_path = %pin_path.display(),
                "another agent enforces in this network namespace: packets must pass both"
            );
            Ok(())
        }
        Some(Other::Agent { pin_path, pid }) => Err(AgentError::SecondAgent {
            pin_path,
            process: match pid {
                0 => "in another process namespace".into(),
                pid => format!("process {pid}"),
            },
        }),
        Some(Other::Unknown) => {
            tracing::warn!(
                "somebody who is no agent has the name by which agents find each other: whether \
                 another one enforces in this network namespace is not known"
            );
            Ok(())
        }
    }
}

/// Who has the name.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    /// An agent, with its process (0: in another process namespace).
    Agent { pin_path: PathBuf, pid: i32 },
    /// Somebody else, or nobody who answers.
    Unknown,
}

/// Takes the name and answers under it; `Some`: another has it.
fn listen(
    name: &[u8],
    pin_path: &Path,
    ask: impl Fn(&SocketAddr) -> io::Result<Other>,
) -> Result<Option<Other>, AgentError> {
    let address = SocketAddr::from_abstract_name(name).map_err(AgentError::Claim)?;
    let deadline = Instant::now() + CHANGING;
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(listener) => {
                let pin_path = pin_path.as_os_str().as_bytes().to_vec();
                thread::Builder::new()
                    .name("alone".into())
                    .spawn(move || answer(&listener, &pin_path))
                    .map_err(AgentError::Thread)?;
                return Ok(None);
            }
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                return Err(AgentError::Claim(error));
            }
            Err(_) => {}
        }
        match ask(&address) {
            Ok(other @ Other::Agent { .. }) => return Ok(Some(other)),
            // An agent that ends at this moment may have no process and no word for its path any more.
            Ok(Other::Unknown) => {}
            // It ends at this moment, or does not listen yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return Ok(Some(Other::Unknown)),
        }
        if Instant::now() >= deadline {
            return Ok(Some(Other::Unknown));
        }
        thread::sleep(PAUSE);
    }
}

/// What the kernel keeps of whoever does not read is bounded by its backlog, and a path always fits
/// into a socket's buffer.
fn answer(listener: &UnixListener, pin_path: &[u8]) {
    for client in listener.incoming() {
        match client {
            Ok(mut client) => drop(client.write_all(pin_path)),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn ask(address: &SocketAddr) -> io::Result<Other> {
    let stream = UnixStream::connect_addr(address)?;
    let owner: UnixCredentials = getsockopt(&stream, PeerCredentials)?;
    if owner.uid() != 0 {
        return Ok(Other::Unknown);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut path = Vec::new();
    // One that is stopped does not answer, and enforces all the same.
    let read = stream.take(LONGEST).read_to_end(&mut path);
    let pin_path = match read {
        Ok(_) if !path.is_empty() => PathBuf::from(std::ffi::OsString::from_vec(path)),
        _ => UNKNOWN.into(),
    };
    let pid = owner.pid();
    Ok(if may_enforce(pid) || PinDir::new(&pin_path).is_held() {
        Other::Agent { pin_path, pid }
    } else {
        Other::Unknown
    })
}

/// Whether a process, 0 in another process namespace, could attach a program. Root in a pod with the node's
/// network usually cannot.
fn may_enforce(pid: i32) -> bool {
    pid != 0 && Effective::of(pid).is_some_and(|effective| effective.has(Effective::NET_ADMIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_who_was_first() {
        let name = format!("policy-agent-test-{}", std::process::id());
        let pins = Path::new("/sys/fs/bpf/first");
        assert_eq!(listen(name.as_bytes(), pins, ask).unwrap(), None);
        let second = listen(name.as_bytes(), Path::new("/sys/fs/bpf/second"), ask).unwrap();
        assert_eq!(
            second,
            Some(Other::Agent {
                pin_path: pins.into(),
                pid: std::process::id().cast_signed(),
            })
        );
    }

    #[test]
    fn the_name_of_an_agent_that_ends_is_taken_though_it_cannot_be_told_any_more() {
        let name = format!("policy-agent-test-ends-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let ending = std::cell::Cell::new(Some(UnixListener::bind_addr(&address).unwrap()));
        let pins = Path::new("/sys/fs/bpf/next");
        // Its process is gone when it is asked who it is, and its socket a moment later.
        let gone = |_: &SocketAddr| {
            ending.take();
            Ok(Other::Unknown)
        };
        assert_eq!(listen(name.as_bytes(), pins, gone).unwrap(), None);
        let stays = |_: &SocketAddr| Ok(Other::Unknown);
        let other = listen(name.as_bytes(), pins, stays).unwrap();
        assert_eq!(other, Some(Other::Unknown));
    }

    #[test]
    fn root_without_the_capability_to_attach_programs_is_no_agent() {
        let ours = Effective::own().unwrap().has(Effective::NET_ADMIN);
        assert_eq!(may_enforce(std::process::id().cast_signed()), ours);
        let in_another_namespace = 0;
        assert!(!may_enforce(in_another_namespace));
    }
}
