//! Servers that echo.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::{Protocol, TICK, raw, receive, waited};
use crate::{netns::Netns, wire::sctp};

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
                        answered(socket.send_to(&answer, &SocketAddr::new(peer, 0).into()))?;
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
