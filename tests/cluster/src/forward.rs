//! Ports of this machine's loopback that lead to the same ports of the loopback of a network namespace.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

/// Listens here, enters the namespace, and leads on from there for ever: a socket stays in the namespace
/// in which it was made.
///
/// # Errors
/// A port is taken, or there is no such namespace.
pub fn forward(namespace: &str, ports: &[u16]) -> Result<()> {
    let mut listeners = Vec::new();
    for port in ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
            .with_context(|| format!("listening on port {port}"))?;
        listeners.push((listener, *port));
    }
    let file = File::open(format!("/run/netns/{namespace}"))
        .with_context(|| format!("opening the network namespace {namespace}"))?;
    setns(file, CloneFlags::CLONE_NEWNET)?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|(listener, port)| thread::spawn(move || serve(&listener, port)))
        .collect();
    for thread in threads {
        // They do not end.
        let _ = thread.join();
    }
    Ok(())
}

fn serve(listener: &TcpListener, port: u16) {
    for client in listener.incoming().flatten() {
        thread::spawn(move || {
            // Who cannot be led on sees it by the end of his connection.
            let _ = lead(client, port);
        });
    }
}

fn lead(client: TcpStream, port: u16) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Write);
    let _ = up.join();
    Ok(())
}
