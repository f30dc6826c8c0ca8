//! Opens connections between namespaces and says which came about.
//!
//! TCP and UDP are the kernel's own; SCTP, which many kernels leave out, is an INIT and its answer
//! through raw sockets. All connections of a step are opened at once. A connection that is to be
//! denied gets a short time to prove the opposite, one that is to be allowed a long one: a slow
//! machine cannot make a right verdict look wrong, and a wrong pass shows however late it is
//! within the short time, because nothing on the way waits for anything.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    net::{self, TcpSocket},
    task::JoinSet,
    time::timeout,
};

use super::sctp::{Associations, RawSocket};
use crate::{case::Protocol, packet::Ends};
use policy_harness::Netns;

/// How long a connection that is to be denied may take to come about all the same.
const PATIENCE_DENIED: Duration = Duration::from_millis(300);
/// How long a connection that is to be allowed may take: several retransmissions.
const PATIENCE_ALLOWED: Duration = Duration::from_secs(8);
/// When a datagram is sent again.
const RESEND: Duration = Duration::from_millis(500);

/// One connection to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    /// Where it begins.
    pub(crate) client: &'a Netns,
    /// Where it ends.
    pub(crate) server: &'a Netns,
    /// With which protocol.
    pub(crate) protocol: Protocol,
    /// From where to where; the source port is nobody else's.
    pub(crate) ends: Ends,
    /// Whether it may take its time.
    pub(crate) patient: bool,
}

enum Client {
    Tcp(TcpSocket, SocketAddr),
    Udp(UdpSocket),
    Sctp(Arc<RawSocket>, Ends),
}

enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Everything that one namespace has to open.
#[derive(Default)]
struct Share<'a> {
    netns: Option<&'a Netns>,
    clients: Vec<usize>,
    servers: Vec<(Protocol, SocketAddr)>,
    raw: Vec<IpAddr>,
}

/// Opens them all; in order, whether each came about.
pub(crate) fn open(connections: &[Connection<'_>]) -> Result<Vec<bool>> {
    let mut clients = HashMap::new();
    let mut servers = Vec::new();
    let mut raw = HashMap::new();
    let shares = shares(connections);
    for share in shares.values() {
        let Some(netns) = share.netns else { continue };
        netns.run(|| -> Result<()> {
            for address in &share.raw {
                raw.insert(*address, Arc::new(RawSocket::bind(*address)?));
            }
            for (protocol, address) in &share.servers {
                servers.extend(
                    listen(*protocol, *address).with_context(|| format!("server {address}"))?,
                );
            }
            for &index in &share.clients {
                let connection = &connections[index];
                let client = bind(connection, &raw);
                clients.insert(
                    index,
                    client.with_context(|| format!("client {}", connection.ends.source))?,
                );
            }
            Ok(())
        })??;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(exchange(connections, clients, servers, raw))
}

fn shares<'a>(connections: &[Connection<'a>]) -> HashMap<&'a str, Share<'a>> {
    let mut shares: HashMap<&str, Share<'a>> = HashMap::new();
    for (index, connection) in connections.iter().enumerate() {
        let is_sctp = connection.protocol == Protocol::Sctp;
        let ends = [
            (connection.client, connection.ends.source),
            (connection.server, connection.ends.destination),
        ];
        for (netns, address) in ends {
            let share = shares.entry(netns.name()).or_default();
            share.netns = Some(netns);
            if is_sctp && !share.raw.contains(&address.ip()) {
                share.raw.push(address.ip());
            }
        }
        let server = shares.entry(connection.server.name()).or_default();
        let wanted = (connection.protocol, connection.ends.destination);
        if !is_sctp && !server.servers.contains(&wanted) {
            server.servers.push(wanted);
        }
        shares
            .entry(connection.client.name())
            .or_default()
            .clients
            .push(index);
    }
    shares
}

fn listen(protocol: Protocol, address: SocketAddr) -> io::Result<Option<Server>> {
    Ok(match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Some(Server::Tcp(listener))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Some(Server::Udp(socket))
        }
        // The raw socket of the address answers.
        Protocol::Sctp => None,
    })
}

fn bind(connection: &Connection<'_>, raw: &HashMap<IpAddr, Arc<RawSocket>>) -> Result<Client> {
    let Ends {
        source,
        destination,
    } = connection.ends;
    Ok(match connection.protocol {
        Protocol::Tcp => {
            let socket = if source.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.bind(source)?;
            Client::Tcp(socket, destination)
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(source)?;
            socket.connect(destination)?;
            socket.set_nonblocking(true)?;
            Client::Udp(socket)
        }
        Protocol::Sctp => {
            let socket = raw
                .get(&source.ip())
                .context("no raw socket of the source")?;
            Client::Sctp(socket.clone(), connection.ends)
        }
    })
}

async fn exchange(
    connections: &[Connection<'_>],
    clients: HashMap<usize, Client>,
    servers: Vec<Server>,
    raw: HashMap<IpAddr, Arc<RawSocket>>,
) -> Result<Vec<bool>> {
    let associations = Associations::default();
    let mut background = JoinSet::new();
    for server in servers {
        match server {
            Server::Tcp(listener) => {
                background.spawn(accept(net::TcpListener::from_std(listener)?))
            }
            Server::Udp(socket) => background.spawn(echo(net::UdpSocket::from_std(socket)?)),
        };
    }
    for socket in raw.into_values() {
        background.spawn(socket.serve(associations.clone()));
    }
    let mut probes = JoinSet::new();
    for (index, client) in clients {
        let patience = if connections[index].patient {
            PATIENCE_ALLOWED
        } else {
            PATIENCE_DENIED
        };
        let associations = associations.clone();
        probes.spawn(async move {
            match timeout(patience, connect(client, associations)).await {
                Ok(Ok(())) => Ok((index, true)),
                Ok(Err(error)) => Err((index, error)),
                Err(_) => Ok((index, false)),
            }
        });
    }
    let mut connected = vec![false; connections.len()];
    while let Some(probe) = probes.join_next().await {
        match probe? {
            Ok((index, answered)) => connected[index] = answered,
            Err((index, error)) => {
                let Ends {
                    source,
                    destination,
                } = connections[index].ends;
                return Err(error).with_context(|| format!("{source} to {destination}"));
            }
        }
    }
    ensure!(
        background.try_join_next().is_none(),
        "a server ended while connections were open"
    );
    Ok(connected)
}

/// Waits for the connection; an error is the harness's own, never a verdict.
async fn connect(client: Client, associations: Associations) -> io::Result<()> {
    match client {
        Client::Tcp(socket, destination) => socket.connect(destination).await.map(drop),
        Client::Udp(socket) => {
            let socket = net::UdpSocket::from_std(socket)?;
            let mut answer = [0; 16];
            loop {
                socket.send(b"probe").await?;
                if let Ok(received) = timeout(RESEND, socket.recv(&mut answer)).await {
                    received?;
                    return Ok(());
                }
            }
        }
        Client::Sctp(socket, ends) => {
            let mut answered = associations.expect(ends.source);
            loop {
                socket.send_init(ends)?;
                if let Ok(answer) = timeout(RESEND, &mut answered).await {
                    return answer.map_err(io::Error::other);
                }
            }
        }
    }
}

async fn accept(listener: net::TcpListener) -> io::Result<()> {
    loop {
        drop(listener.accept().await?);
    }
}

async fn echo(socket: net::UdpSocket) -> io::Result<()> {
    let mut datagram = [0; 16];
    loop {
        let (length, client) = socket.recv_from(&mut datagram).await?;
        socket.send_to(&datagram[..length], client).await?;
    }
}
