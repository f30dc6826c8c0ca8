//! Connections that stay open.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

use super::Outcome;
use crate::netns::Netns;

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
