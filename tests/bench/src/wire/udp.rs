//! UDP from the client's pod to the server's: one way, as many packets as one processor can carry.
//!
//! One thread sends some and then takes them out of the server's socket: the kernel carries a packet
//! from the one to the other within the call that sends it. The times contain both calls, both stacks
//! and the node between them.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    panic, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    cluster::{CLIENT, CLOSED_PORT, OPEN_PORT, SERVER},
    processor::Processor,
    world::World,
};
use policy_harness::wire::ip::Ipv4;

/// Packets that are sent before they are taken out.
const BURST: usize = 32;
/// Bytes of payload.
const PAYLOAD: usize = 18;
/// How long a packet may take that is to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a packet would take that is not to arrive.
const SILENCE: Duration = Duration::from_millis(200);
/// Source ports of new flows, in turn; the ports of sockets lie below.
const FIRST_PORT: u16 = 2000;

/// Sockets at both ends.
#[derive(Debug)]
pub(super) struct Link {
    client: UdpSocket,
    server: UdpSocket,
    closed: UdpSocket,
    /// Sends whole packets, with source ports that no socket has.
    raw: Socket,
    /// The next source port.
    next: u16,
}

/// Whose packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Of one flow that has seen packets of both directions.
    Established,
    /// Each of a flow of its own, which it opens.
    New,
}

impl Traffic {
    /// What figures call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::New => "new",
        }
    }
}

impl Link {
    /// Opens sockets, and greets.
    pub(super) fn open(world: &World) -> Result<Self> {
        let bound = |port| move || UdpSocket::bind(SocketAddr::from((SERVER, port)));
        let netns = &world.server()?.netns;
        let server = netns.run(bound(OPEN_PORT))??;
        let closed = netns.run(bound(CLOSED_PORT))??;
        let netns = &world.client()?.netns;
        let client = netns.run(|| UdpSocket::bind(SocketAddr::from((CLIENT, 0))))??;
        let raw = netns.run(|| -> io::Result<_> {
            let protocol = Some(Protocol::from(libc::IPPROTO_RAW));
            Socket::new(Domain::IPV4, Type::RAW, protocol)
        })??;
        client.connect(SocketAddr::from((SERVER, OPEN_PORT)))?;
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(PATIENCE))?;
        }
        closed.set_read_timeout(Some(SILENCE))?;
        let link = Self {
            client,
            server,
            closed,
            raw,
            next: FIRST_PORT,
        };
        link.greet()
            .with_context(|| format!("no answer through {:?}", world.setting))?;
        Ok(link)
    }

    /// A datagram and its answer: whoever tracks connections takes the flow for established now.
    pub(super) fn greet(&self) -> io::Result<()> {
        let mut buffer = [0; 64];
        self.client.send(&[0; PAYLOAD])?;
        let (length, peer) = self.server.recv_from(&mut buffer)?;
        let greeting = buffer.get(..length).unwrap_or_default();
        self.server.send_to(greeting, peer)?;
        self.client.recv(&mut buffer).map(drop)
    }

    /// Whether a packet to a port that no policy opens arrives.
    pub(super) fn passes_closed(&self) -> Result<bool> {
        self.client
            .send_to(&[0; PAYLOAD], SocketAddr::from((SERVER, CLOSED_PORT)))
            .or_else(rejected)?;
        match self.closed.recv(&mut [0; 64]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Time for so many datagrams from a socket.
    pub(super) fn datagrams(&self, on: Processor, count: usize) -> Result<Duration> {
        let send = || self.client.send(&[0; PAYLOAD]).map(drop);
        self.timed(on, count, send)
    }

    /// Time for so many packets of one kind of traffic. Both kinds are sent in the same way.
    pub(super) fn packets(
        &mut self,
        on: Processor,
        traffic: Traffic,
        count: usize,
    ) -> Result<Duration> {
        let mut port = match traffic {
            Traffic::Established => self.client.local_addr()?.port(),
            Traffic::New => self.next,
        };
        let mut packet = packet();
        let to = SockAddr::from(SocketAddr::from((SERVER, 0)));
        let own = self.client.local_addr()?.port();
        let elapsed = self.timed(on, count, || {
            if traffic == Traffic::New {
                port = following(port, own);
            }
            packet[20..22].copy_from_slice(&port.to_be_bytes());
            self.raw.send_to(&packet, &to).map(drop)
        })?;
        if traffic == Traffic::New {
            self.next = port;
        }
        Ok(elapsed)
    }

    fn timed(
        &self,
        on: Processor,
        count: usize,
        mut send: impl FnMut() -> io::Result<()> + Send,
    ) -> Result<Duration> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| -> Result<Duration> {
                let _pinned = on.enter()?;
                let mut buffer = [0; 64];
                let start = Instant::now();
                let mut left = count;
                while left > 0 {
                    let burst = left.min(BURST);
                    for _ in 0..burst {
                        send()?;
                    }
                    for _ in 0..burst {
                        self.server.recv(&mut buffer).context("a packet was lost")?;
                    }
                    left -= burst;
                }
                Ok(start.elapsed())
            });
            worker
                .join()
                .unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }
}

/// A whole packet, but for its source port. Without a UDP checksum: the port changes.
fn packet() -> Vec<u8> {
    let mut datagram = vec![0, 0];
    datagram.extend(OPEN_PORT.to_be_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
    let length = 8 + PAYLOAD as u16;
    datagram.extend(length.to_be_bytes());
    datagram.resize(8 + PAYLOAD, 0);
    Ipv4::new(CLIENT, SERVER, 17).packet(&datagram)
}

/// The next source port that no socket of the client has.
fn following(port: u16, own: u16) -> u16 {
    let next = port.checked_add(1).unwrap_or(FIRST_PORT);
    if next == own {
        return following(next, own);
    }
    next
}

/// A ruleset may answer a denied packet, and the socket hears of it later.
fn rejected(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Ok(0),
        _ => Err(error),
    }
}
