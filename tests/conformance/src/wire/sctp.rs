//! SCTP over raw sockets: INIT, and INIT ACK as the answer.
//!
//! Owns one raw socket per address, which is client and server at once. Knows nothing of what is
//! expected.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net, sync::oneshot};

use crate::packet::Ends;
use policy_harness::wire::sctp;

type Waiting = HashMap<SocketAddr, oneshot::Sender<()>>;

/// Clients that wait for their answer, by their address and port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Associations(Arc<Mutex<Waiting>>);

impl Associations {
    /// Resolves once an answer for the client has arrived.
    pub(crate) fn expect(&self, client: SocketAddr) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(client, sender);
        receiver
    }

    fn answered(&self, client: SocketAddr) {
        if let Some(sender) = self.waiting().remove(&client) {
            // One that gave up no longer listens.
            let _ = sender.send(());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every SCTP packet to and from one address.
#[derive(Debug)]
pub(crate) struct RawSocket {
    // Reads and writes whole packets as a UDP socket does datagrams.
    socket: UdpSocket,
    address: IpAddr,
}

impl RawSocket {
    /// Opens one in the namespace of the thread.
    pub(crate) fn bind(address: IpAddr) -> io::Result<Self> {
        let own = SocketAddr::new(address, 0);
        let protocol = Protocol::from(i32::from(sctp::PROTOCOL));
        let socket = Socket::new(Domain::for_address(own), Type::RAW, Some(protocol))?;
        socket.bind(&own.into())?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from(OwnedFd::from(socket));
        Ok(Self { socket, address })
    }

    /// Sends the first packet.
    pub(crate) fn send_init(&self, ends: Ends) -> io::Result<()> {
        let Ends {
            source,
            destination,
        } = ends;
        self.send(
            &sctp::init(source.port(), destination.port()),
            destination.ip(),
        )
    }

    /// The kernel writes the IP header; a port in the address of an IPv6 raw socket would be taken
    /// for a protocol.
    fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        self.socket
            .send_to(packet, SocketAddr::new(to, 0))
            .map(drop)
    }

    /// Answers every INIT and reports every INIT ACK, until dropped.
    pub(crate) async fn serve(self: Arc<Self>, associations: Associations) -> io::Result<()> {
        let readable = net::UdpSocket::from_std(self.socket.try_clone()?)?;
        let mut buffer = [0; 256];
        loop {
            let (length, sender) = readable.recv_from(&mut buffer).await?;
            let received = buffer.get(..length).unwrap_or_default();
            // IPv4 raw sockets see the IP header, IPv6 ones do not.
            let header = match (self.address, received.first()) {
                (IpAddr::V4(_), Some(first)) => usize::from(first & 0xf) * 4,
                _ => 0,
            };
            let packet = received.get(header..).unwrap_or_default();
            self.receive(packet, sender.ip(), &associations)?;
        }
    }

    fn receive(
        &self,
        packet: &[u8],
        sender: IpAddr,
        associations: &Associations,
    ) -> io::Result<()> {
        let Some(&[s0, s1, d0, d1]) = packet.first_chunk() else {
            return Ok(());
        };
        let (source, destination) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        if let Some(answer) = sctp::answer(packet, destination) {
            self.send(&answer, sender)?;
        } else if sctp::is_answer(packet, source, destination) {
            associations.answered(SocketAddr::new(self.address, destination));
        }
        Ok(())
    }
}
