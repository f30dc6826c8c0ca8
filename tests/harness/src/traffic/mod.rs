//! Real connections between namespaces: servers that echo, and probes that say what happened.
//!
//! A probe that nothing answered within its time was denied; whatever else goes wrong (nobody
//! listens, no route) is an error of the test, not a verdict.

mod connection;
mod probe;
mod server;

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

pub use self::{
    connection::Connection,
    probe::{ping, probe},
    server::Server,
};

/// How often a waiting server looks whether it is to end, and how often a lost datagram is sent
/// again.
const TICK: Duration = Duration::from_millis(50);

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A connection and an echo over it.
    Tcp,
    /// A datagram and its echo.
    Udp,
    /// INIT and INIT ACK through raw sockets: works where the kernel has no SCTP.
    Sctp,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It went there and its answer came back.
    Allowed,
    /// No answer came.
    Denied,
}

/// `None` when the time was over, or when an earlier answer came back as an error.
fn waited<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable => Ok(None),
            _ => Err(error),
        },
    }
}

fn any(family_of: SocketAddr) -> SocketAddr {
    match family_of {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    }
}

fn raw(address: IpAddr, protocol: u8) -> io::Result<Socket> {
    let address = SocketAddr::new(address, 0);
    let kind = Some(IpProtocol::from(i32::from(protocol)));
    let socket = Socket::new(Domain::for_address(address), Type::RAW, kind)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The transport part of what a raw socket received, and from whom.
fn receive<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], IpAddr)> {
    let (length, peer) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), buffer)?;
    let packet = buffer.get(..length).unwrap_or_default();
    let peer = peer.ok_or(ErrorKind::InvalidData)?;
    if let Some(peer) = peer.as_sockaddr_in() {
        // IPv4 hands over its header too.
        let header = packet
            .first()
            .map_or(0, |first| usize::from(first & 15) * 4);
        return Ok((packet.get(header..).unwrap_or_default(), peer.ip().into()));
    }
    let peer = peer.as_sockaddr_in6().ok_or(ErrorKind::InvalidData)?;
    Ok((packet, peer.ip().into()))
}
