//! An interface's raw end: frames go out and come in as they are.
#![expect(
    unsafe_code,
    reason = "a packet socket has an address that socket2 does not know"
)]

use std::{
    io::{self, ErrorKind, Read},
    mem,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::Netns;

/// `ETH_P_ALL` in network byte order.
const EVERYTHING: u16 = (libc::ETH_P_ALL as u16).to_be();

/// An AF_PACKET socket bound to one interface.
///
/// It sees what the interface receives (before TC ingress) and what leaves by it (after TC
/// egress), from the moment it is opened.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
}

impl Port {
    /// Binds to an interface inside a namespace.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let ifindex = netns.ifindex(interface)?;
        let socket = netns.run(|| bound(ifindex))?;
        Ok(Self {
            socket: socket.with_context(|| format!("cannot open {interface} raw"))?,
        })
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).context("cannot send a frame")?;
        Ok(())
    }

    /// The first frame that `wanted` accepts, `None` when none came in time.
    pub fn capture(
        &self,
        within: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + within;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match (&self.socket).read(&mut buffer) {
                Ok(length) => {
                    let frame = buffer.get(..length).unwrap_or_default();
                    if wanted(frame) {
                        return Ok(Some(frame.to_vec()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a frame that contains `bytes` came in time: give probes contents of their own.
    pub fn sees(&self, within: Duration, bytes: &[u8]) -> Result<bool> {
        let found = self.capture(within, |frame| contains(frame, bytes))?;
        Ok(found.is_some())
    }
}

/// Whether `bytes` stand somewhere in a frame.
#[must_use]
pub fn contains(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}

fn bound(ifindex: u32) -> io::Result<Socket> {
    // Protocol 0: nothing arrives before the socket is bound to its interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: all zeros is a valid `sockaddr_ll`.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = EVERYTHING;
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a `sockaddr_ll` of this length.
    let address = unsafe { SockAddr::new(storage, length) };
    socket.bind(&address)?;
    Ok(socket)
}
