//! TCP between the two pods: transactions and bulk.
//!
//! Client and server are two threads on the same processor, as in netperf's TCP_RR, TCP_CRR and
//! TCP_STREAM. The times contain everything that a transaction takes on that processor: both
//! programs, both stacks, the node between them and the switches between the threads.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use socket2::SockRef;

use super::{
    cluster::{OPEN_PORT, SERVER},
    processor::Processor,
    world::World,
};

/// How long anything may take that ought to take microseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// What bulk writes and reads at once.
const CHUNK: usize = 64 * 1024;

/// A connection between the pods, both ends, and the server's socket for more.
#[derive(Debug)]
pub(super) struct Pair {
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

impl Pair {
    /// Listens in the server's pod and connects from the client's.
    pub(super) fn connect(world: &World) -> Result<Self> {
        let address = SocketAddr::from((SERVER, OPEN_PORT));
        let netns = &world.server()?.netns;
        let listener = netns.run(|| TcpListener::bind(address))??;
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        let netns = &world.client()?.netns;
        let client = netns
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
            .with_context(|| format!("connecting through {:?}", world.setting))?;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            prepare(stream)?;
        }
        Ok(Self {
            client,
            server,
            listener,
        })
    }

    /// Time for so many requests of one byte, each answered by one byte, over one connection.
    pub(super) fn request_response(&self, on: Processor, count: usize) -> Result<Duration> {
        together(
            on,
            || {
                let mut byte = [0];
                for _ in 0..count {
                    (&self.server).read_exact(&mut byte)?;
                    (&self.server).write_all(&byte)?;
                }
                Ok(())
            },
            || {
                let mut byte = [0];
                let start = Instant::now();
                for _ in 0..count {
                    (&self.client).write_all(&byte)?;
                    (&self.client).read_exact(&mut byte)?;
                }
                Ok(start.elapsed())
            },
        )
    }

    /// Time for as many connections, each with one request and one response of one byte, closed by
    /// the client first.
    pub(super) fn connect_request_response(
        &self,
        world: &World,
        on: Processor,
        count: usize,
    ) -> Result<Duration> {
        let address = SocketAddr::from((SERVER, OPEN_PORT));
        let netns = &world.client()?.netns;
        let serve = || {
            let mut byte = [0];
            for _ in 0..count {
                let (mut stream, _) = self.listener.accept()?;
                prepare(&stream)?;
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
                // Until the client has closed.
                let _ = stream.read(&mut byte)?;
            }
            Ok(())
        };
        let ask = || {
            let mut byte = [0];
            let start = Instant::now();
            for _ in 0..count {
                let mut stream = TcpStream::connect(address)?;
                prepare(&stream)?;
                stream.write_all(&byte)?;
                stream.read_exact(&mut byte)?;
            }
            Ok(start.elapsed())
        };
        together(on, serve, || {
            netns.run(|| {
                let _pinned = on.enter()?;
                ask()
            })?
        })
    }

    /// Time for so many bytes from the client to the server.
    pub(super) fn bulk(&self, on: Processor, bytes: usize) -> Result<Duration> {
        let chunks = bytes.div_ceil(CHUNK);
        together(
            on,
            || {
                let chunk = vec![0; CHUNK];
                for _ in 0..chunks {
                    (&self.client).write_all(&chunk)?;
                }
                Ok(())
            },
            || {
                let mut chunk = vec![0; CHUNK];
                let start = Instant::now();
                for _ in 0..chunks {
                    (&self.server).read_exact(&mut chunk)?;
                }
                Ok(start.elapsed())
            },
        )
    }
}

/// Runs both at once on one processor; the result is the second one's.
fn together<T: Send>(
    on: Processor,
    one: impl FnOnce() -> Result<()> + Send,
    other: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            let _pinned = on.enter()?;
            one()
        });
        let other = scope.spawn(|| {
            let _pinned = on.enter()?;
            other()
        });
        let other = other.join();
        let one = one.join();
        let failed = |_| anyhow!("a thread panicked");
        let result = other.map_err(failed)?;
        one.map_err(failed)??;
        result
    })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}
