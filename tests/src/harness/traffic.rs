//! Real connections between namespaces: servers that echo, and probes that say what happened.
//!
//! A probe that nothing answered within its time was denied; whatever else goes wrong (nobody
//! listens, no route) is an error of the test, not a verdict.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::{
    netns::Netns,
    wire::{icmp, sctp},
};

/// How often a waiting server looks whether it is to end, and how often a lost datagram is sent
/// again.
const TICK: Duration = Duration::from_millis(50);

/// What a client says; the server says the same.
const WORDS: &[u8] = b"may I pass?";

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

/// A server that echoes until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Listens inside a namespace before it returns.
    pub fn start(netns: &Netns, protocol: Protocol, address: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let opened = netns.run(|| open(protocol, address))?;
        let listener =
            opened.with_context(|| format!("cannot listen at {protocol:?} {address}"))?;
        let thread = netns.spawn(move || {
            if let Err(error) = listener.serve(&seen) {
                eprintln!("the server at {protocol:?} {address} ended: {error}");
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It said itself what went wrong.
            drop(thread.join());
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Sctp(Socket, SocketAddr),
}

fn open(protocol: Protocol, address: SocketAddr) -> io::Result<Listener> {
    Ok(match protocol {
        Protocol::Tcp => {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_read_timeout(Some(TICK))?;
            socket.bind(&address.into())?;
            socket.listen(128)?;
            Listener::Tcp(socket.into())
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(TICK))?;
            Listener::Udp(socket)
        }
        Protocol::Sctp => {
            let socket = raw(address.ip(), sctp::PROTOCOL)?;
            socket.set_read_timeout(Some(TICK))?;
            Listener::Sctp(socket, address)
        }
    })
}

impl Listener {
    fn serve(self, stop: &Arc<AtomicBool>) -> io::Result<()> {
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            match &self {
                Self::Tcp(listener) => {
                    if let Some((stream, _)) = waited(listener.accept())? {
                        let stop = Arc::clone(stop);
                        std::thread::spawn(move || echo(stream, &stop));
                    }
                }
                Self::Udp(socket) => {
                    if let Some((length, peer)) = waited(socket.recv_from(&mut buffer))? {
                        answered(socket.send_to(buffer.get(..length).unwrap_or_default(), peer))?;
                    }
                }
                Self::Sctp(socket, address) => {
                    let Some((packet, peer)) = waited(receive(socket, &mut buffer))? else {
                        continue;
                    };
                    if let Some(answer) = sctp::answer(packet, address.port()) {
                        answered(socket.send_to(&answer, &peer.into()))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// An answer that cannot leave now (denied by a neighbour's silence, say) is not the server's end.
fn answered(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match waited(stream.read(&mut buffer))? {
            Some(0) => return Ok(()),
            Some(length) => stream.write_all(buffer.get(..length).unwrap_or_default())?,
            None => {}
        }
    }
    Ok(())
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

/// A TCP connection that stays open.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    said: u64,
}

impl Connection {
    /// Connects, from `source` if given; `None` when no answer came in time.
    pub fn open(
        netns: &Netns,
        source: Option<SocketAddr>,
        to: SocketAddr,
        within: Duration,
    ) -> Result<Option<Self>> {
        let stream = netns.run(|| -> io::Result<_> {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            if let Some(source) = source {
                socket.set_reuse_address(true)?;
                socket.bind(&source.into())?;
            }
            socket.connect_timeout(&to.into(), within)?;
            Ok(TcpStream::from(socket))
        })?;
        match stream {
            Ok(stream) => Ok(Some(Self { stream, said: 0 })),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error).with_context(|| format!("connecting to {to}")),
        }
    }

    /// Says something new and waits for its echo. What an earlier exchange left unanswered is
    /// retransmitted by the kernel and may be answered first.
    pub fn exchange(&mut self, within: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + within;
        self.said += 1;
        let words = self.said.to_be_bytes();
        self.stream.write_all(&words)?;
        let mut heard = [0; 8];
        while heard != words {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Outcome::Denied);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.peek(&mut heard) {
                Ok(0) => bail!("the connection was closed"),
                Ok(8) => self.stream.read_exact(&mut heard)?,
                Ok(_) => heard = [0; 8],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Denied),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Outcome::Allowed)
    }

    /// The address and port on this side.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }
}

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
    let port = source.map_or(40_000, |source| source.port());
    let socket = raw(
        source.map_or(any(to).ip(), |source| source.ip()),
        sctp::PROTOCOL,
    )?;
    socket.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 2048];
    let mut again = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= again {
            let host = SocketAddr::new(to.ip(), 0);
            socket.send_to(&sctp::init(port, to.port()), &host.into())?;
            again = Instant::now() + TICK;
        }
        if let Some((packet, from)) = waited(receive(&socket, &mut buffer))? {
            if from.ip() == to.ip() && sctp::is_answer(packet, to.port(), port) {
                return Ok(Outcome::Allowed);
            }
        }
    }
    Ok(Outcome::Denied)
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
fn receive<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], SocketAddr)> {
    let mut reader = socket;
    let peer = {
        // The sender is asked for by peeking: `Read` alone has initialised memory, but no address.
        let mut empty = [std::mem::MaybeUninit::uninit(); 0];
        let flags = libc::MSG_PEEK;
        let (_, peer) = socket.recv_from_with_flags(&mut empty, flags)?;
        peer.as_socket().ok_or(ErrorKind::InvalidData)?
    };
    let length = reader.read(buffer)?;
    let packet = buffer.get(..length).unwrap_or_default();
    // IPv4 hands over its header too.
    let header = match (peer, packet.first()) {
        (SocketAddr::V4(_), Some(first)) => usize::from(first & 15) * 4,
        _ => 0,
    };
    Ok((
        packet.get(header..).unwrap_or_default(),
        SocketAddr::new(peer.ip(), 0),
    ))
}
