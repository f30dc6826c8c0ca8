//! Probes: one question each.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Connection, Outcome, Protocol, TICK, any, raw, receive, waited};
use crate::{
    netns::Netns,
    wire::{icmp, sctp},
};

/// What a client says; the server says the same.
const WORDS: &[u8] = b"may I pass?";

/// Tries to reach a server of `protocol` at `to`, from `source` if given.
///
/// # Errors
/// What is no verdict: nobody listens, no route, no such source address.
pub fn probe(
    netns: &Netns,
    protocol: Protocol,
    source: Option<SocketAddr>,
    to: SocketAddr,
    within: Duration,
) -> Result<Outcome> {
    match protocol {
        Protocol::Tcp => match Connection::open(netns, source, to, within)? {
            Some(mut connection) => connection.exchange(within),
            None => Ok(Outcome::Denied),
        },
        Protocol::Udp => netns
            .run(|| udp(source, to, within))?
            .with_context(|| format!("asking {to} by UDP")),
        Protocol::Sctp => netns
            .run(|| init(source, to, within))?
            .with_context(|| format!("asking {to} by SCTP")),
    }
}

/// Sends echo requests to an address until one is answered.
pub fn ping(netns: &Netns, to: IpAddr, within: Duration) -> Result<Outcome> {
    netns
        .run(|| echo_request(to, within))?
        .with_context(|| format!("pinging {to}"))
}

fn echo_request(to: IpAddr, within: Duration) -> io::Result<Outcome> {
    let deadline = Instant::now() + within;
    let to = SocketAddr::new(to, 0);
    // The kernel knows which source it will use; ICMPv6's checksum is its affair.
    let route = UdpSocket::bind(any(to))?;
    route.connect(SocketAddr::new(to.ip(), 9))?;
    let source = route.local_addr()?.ip();
    let id = route.local_addr()?.port();
    let socket = raw(source, icmp::protocol(to.ip()))?;
    socket.set_read_timeout(Some(TICK))?;
    let request = icmp::echo_request(source, to.ip(), id, 1);
    let reply = icmp::echo_reply(to.ip(), source, id, 1);
    let mut buffer = [0; 2048];
    let mut again = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= again {
            socket.send_to(&request, &to.into())?;
            again = Instant::now() + TICK;
        }
        if let Some((message, _)) = waited(receive(&socket, &mut buffer))?
            && message == reply
        {
            return Ok(Outcome::Allowed);
        }
    }
    Ok(Outcome::Denied)
}

fn udp(source: Option<SocketAddr>, to: SocketAddr, within: Duration) -> io::Result<Outcome> {
    let deadline = Instant::now() + within;
    let socket = UdpSocket::bind(source.unwrap_or_else(|| any(to)))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 64];
    while Instant::now() < deadline {
        socket.send(WORDS)?;
        match socket.recv(&mut buffer) {
            Ok(length) if buffer.get(..length) == Some(WORDS) => return Ok(Outcome::Allowed),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(Outcome::Denied)
}

fn init(source: Option<SocketAddr>, to: SocketAddr, within: Duration) -> io::Result<Outcome> {
    let deadline = Instant::now() + within;
    // A UDP socket's port, so that no two probes at a time have the same.
    let reserved = UdpSocket::bind(any(to))?;
    let source = match source {
        Some(source) => source,
        None => SocketAddr::new(any(to).ip(), reserved.local_addr()?.port()),
    };
    let socket = raw(source.ip(), sctp::PROTOCOL)?;
    socket.set_read_timeout(Some(TICK))?;
    let request = sctp::init(source.port(), to.port());
    let host = SocketAddr::new(to.ip(), 0);
    let mut buffer = [0; 2048];
    let mut again = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= again {
            socket.send_to(&request, &host.into())?;
            again = Instant::now() + TICK;
        }
        if let Some((packet, from)) = waited(receive(&socket, &mut buffer))?
            && from == to.ip()
            && sctp::is_answer(packet, to.port(), source.port())
        {
            return Ok(Outcome::Allowed);
        }
    }
    Ok(Outcome::Denied)
}
