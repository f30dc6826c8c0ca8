//! Netlink sockets: one kind asks, the other listens.
//!
//! A socket belongs to the network namespace of the thread that opens it, for good. The kernel
//! answers requests inside the system call, so asking blocks for no longer than the answer takes.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recv, recvmsg};
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR},
    sys::Socket,
};

use super::{
    error::NetlinkError,
    message::{self, Message},
};

/// The kernel writes dumps in pieces of at most 32 KiB.
const RECEIVE: usize = 64 * 1024;

/// Datagrams that one reading of a monitor takes, so that a flood does not keep it for ever.
const BATCH: usize = 256;

/// How often a dump that changed under the reader is read again.
const ATTEMPTS: usize = 8;

fn opening(step: &'static str) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError::Open { step, source }
}

/// A socket that asks.
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    /// A socket of one protocol (`NETLINK_ROUTE`, …) in this thread's network namespace.
    pub(crate) fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol).map_err(opening("socket"))?;
        socket.bind_auto().map_err(opening("bind"))?;
        // Without it the kernel ignores IFA_TARGET_NETNSID and answers for the wrong namespace.
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(opening("NETLINK_GET_STRICT_CHK"))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; RECEIVE],
        })
    }

    /// Asks for every object, reading again when the kernel says that they changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        kind: libc::c_int,
        body: &[u8],
        decode: impl Fn(&Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let (found, interrupted) = self.ask(kind, NLM_F_DUMP, body, &decode)?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Asks for one object.
    pub(crate) fn get<T>(
        &mut self,
        kind: libc::c_int,
        body: &[u8],
        decode: impl Fn(&Message<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        // With NLM_F_ACK every answer has an end.
        let (found, _) = self.ask(kind, NLM_F_ACK, body, &decode)?;
        Ok(found.into_iter().next())
    }

    fn ask<T>(
        &mut self,
        kind: libc::c_int,
        flags: u16,
        body: &[u8],
        decode: &impl Fn(&Message<'_>) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let kind = u16::try_from(kind).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.socket
            .send(&message::request(kind, flags, self.sequence, body), 0)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            for message in message::messages(self.buffer.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                if [NLMSG_DONE, NLMSG_ERROR].contains(&message.kind) {
                    return match message::u32_at(message.payload, 0).map(u32::cast_signed) {
                        Some(error) if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                        _ => Ok((found, interrupted)),
                    };
                }
                found.extend(decode(&message));
            }
        }
    }
}

/// How a reading of a monitor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing more for now.
    Drained,
    /// There is more.
    More,
    /// The kernel dropped messages: what is known must be read anew.
    Overrun,
}

/// A socket that listens to multicast groups.
pub(crate) struct Monitor(Socket);

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Monitor {
    /// Listens to `groups` of this thread's network namespace; with `all` also to those of every
    /// namespace that has a number here.
    pub(crate) fn open(
        groups: &[u32],
        all: bool,
        receive_buffer: Option<usize>,
    ) -> Result<Self, NetlinkError> {
        let mut socket =
            Socket::new(rtnetlink::sys::protocols::NETLINK_ROUTE).map_err(opening("socket"))?;
        socket.bind_auto().map_err(opening("bind"))?;
        socket
            .set_non_blocking(true)
            .map_err(opening("O_NONBLOCK"))?;
        if let Some(size) = receive_buffer {
            let size = i32::try_from(size).unwrap_or(i32::MAX);
            socket.set_rx_buf_sz(size).map_err(opening("SO_RCVBUF"))?;
        }
        if all {
            socket
                .set_listen_all_namespaces(true)
                .map_err(NetlinkError::ListenAll)?;
        }
        for group in groups {
            socket
                .add_membership(*group)
                .map_err(opening("NETLINK_ADD_MEMBERSHIP"))?;
        }
        Ok(Self(socket))
    }

    /// Hands over what has arrived, each message with the number of the namespace it is from:
    /// `None` is our own.
    pub(crate) fn read(
        &self,
        buffer: &mut [u8],
        mut each: impl FnMut(Option<i32>, &Message<'_>),
    ) -> io::Result<Reading> {
        for _ in 0..BATCH {
            let mut space = nix::cmsg_space!(libc::c_int);
            let mut slices = [IoSliceMut::new(buffer)];
            let (length, from) = match recvmsg::<NetlinkAddr>(
                self.0.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::empty(),
            ) {
                Ok(received) => {
                    let cut = received
                        .flags
                        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                    if cut {
                        return Ok(Reading::Overrun);
                    }
                    if received.address.is_none_or(|sender| sender.pid() != 0) {
                        continue;
                    }
                    (
                        received.bytes,
                        received.cmsgs()?.find_map(|part| namespace(&part)),
                    )
                }
                Err(nix::Error::EAGAIN) => return Ok(Reading::Drained),
                Err(nix::Error::EINTR) => continue,
                Err(nix::Error::ENOBUFS) => return Ok(Reading::Overrun),
                Err(error) => return Err(error.into()),
            };
            for message in message::messages(buffer.get(..length).unwrap_or_default()) {
                each(from, &message);
            }
        }
        Ok(Reading::More)
    }

    /// A buffer that holds every message.
    pub(crate) fn buffer() -> Vec<u8> {
        vec![0; RECEIVE]
    }
}

fn namespace(part: &ControlMessageOwned) -> Option<i32> {
    let ControlMessageOwned::Unknown(part) = part else {
        return None;
    };
    let header = &part.cmsg_header;
    if header.cmsg_level != libc::SOL_NETLINK || header.cmsg_type != libc::NETLINK_LISTEN_ALL_NSID {
        return None;
    }
    message::u32_at(&part.data_bytes, 0).map(u32::cast_signed)
}
