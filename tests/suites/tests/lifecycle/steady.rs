//! Traffic that never pauses, and remembers every wrong answer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use policy_harness::{
    Netns,
    traffic::{Connection, Outcome},
};

use crate::scene::SOON;

/// A pause between two rounds, so that many senders share the machine.
const PACE: Duration = Duration::from_millis(2);
/// Rounds after which traffic is taken to flow.
const WARM: u64 = 5;

/// Waits until all have gone through a whole round that they began after this call, or until one
/// has gone wrong.
pub(crate) fn go_on<'a>(all: impl Iterator<Item = &'a Steady> + Clone) {
    let begun: Vec<_> = all.clone().map(Steady::begun).collect();
    for (steady, begun) in all.zip(begun) {
        while steady.begun() < begun + 2 && !steady.thread.is_finished() {
            thread::sleep(PACE / 4);
        }
    }
}

/// Traffic of one kind until [`Steady::end`].
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    unanswered: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Steady {
    /// How many packets a round of [`Self::forbidden`] sends.
    pub(crate) const FORBIDDEN_PACKETS: u64 = 3;

    /// Datagrams, from one socket and from a new one each time, each of which must be answered: one
    /// that is lost is never sent again. A stream goes on beside them, and a new one now and then.
    pub(crate) fn allowed(netns: &Netns, to: SocketAddr) -> Self {
        let handle = netns.handle();
        let mut stream = Connection::open(netns, None, to, SOON).unwrap().unwrap();
        let flow = handle.run(|| connected(to)).unwrap().unwrap();
        Self::begin(netns, move |round| {
            assert!(
                answers(&flow, round, SOON)?,
                "round {round}: the flow to {to} was cut"
            );
            if round.is_multiple_of(8) {
                let new = connected(to)?;
                assert!(
                    answers(&new, round, SOON)?,
                    "round {round}: a new flow to {to} was denied"
                );
            }
            if round.is_multiple_of(16) {
                let said = stream.exchange(SOON).map_err(io::Error::other)?;
                assert_eq!(
                    said,
                    Outcome::Allowed,
                    "round {round}: the stream to {to} was cut"
                );
                // The caller is in the namespace already.
                std::net::TcpStream::connect_timeout(&to, SOON)?;
            }
            Ok(())
        })
    }

    /// Datagrams to a pod whose rules may have to make room for others, and that is closed meanwhile:
    /// what is not answered is counted and sent again, for a while.
    pub(crate) fn interrupted(netns: &Netns, to: SocketAddr) -> Self {
        const AGAIN: Duration = Duration::from_millis(250);
        // Agents that end one after the other before they have finished what they found, or that have no
        // room.
        const LONGEST: Duration = Duration::from_secs(60);
        let flow = netns.handle().run(|| connected(to)).unwrap().unwrap();
        let unanswered = Arc::<AtomicU64>::default();
        let count = Arc::clone(&unanswered);
        let round = move |round: u64| {
            let began = Instant::now();
            loop {
                count.fetch_add(1, Ordering::SeqCst);
                if answers(&flow, round, AGAIN)? {
                    count.fetch_sub(1, Ordering::SeqCst);
                    return Ok(());
                }
                assert!(
                    began.elapsed() < LONGEST,
                    "round {round}: {to} stays closed"
                );
            }
        };
        Self {
            unanswered,
            ..Self::begin(netns, round)
        }
    }

    /// Each round a datagram of an old flow, one of a new flow, and a SYN that is not repeated: none
    /// may ever be answered.
    pub(crate) fn forbidden(netns: &Netns, to: SocketAddr) -> Self {
        let flow = netns.handle().run(|| connected(to)).unwrap().unwrap();
        Self::begin(netns, move |round| {
            let new = connected(to)?;
            new.send(&round.to_be_bytes())?;
            flow.send(&round.to_be_bytes())?;
            let patience = Duration::from_millis(if round.is_multiple_of(64) { 20 } else { 1 });
            let stream = std::net::TcpStream::connect_timeout(&to, patience);
            assert!(
                stream.is_err(),
                "round {round}: a connection to {to} was made"
            );
            for socket in [&new, &flow] {
                socket.set_nonblocking(true)?;
                let heard = socket.recv(&mut [0; 8]);
                assert!(heard.is_err(), "round {round}: {to} answered");
            }
            Ok(())
        })
    }

    fn begin(netns: &Netns, mut round: impl FnMut(u64) -> io::Result<()> + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = netns.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed);
                round(number).unwrap_or_else(|error| panic!("round {number}: {error}"));
                thread::sleep(PACE);
            }
            count.load(Ordering::Relaxed)
        });
        let steady = Self {
            stop,
            rounds,
            unanswered: Arc::default(),
            thread: thread.unwrap(),
        };
        while steady.begun() < WARM && !steady.thread.is_finished() {
            thread::sleep(PACE);
        }
        steady
    }

    /// How many rounds began.
    pub(crate) fn begun(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Datagrams that are not answered, or not yet.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::SeqCst)
    }

    /// Whether one went wrong, as [`Steady::end`] will say.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// How many rounds there were, and datagrams without an answer.
    pub(crate) fn end_interrupted(self) -> (u64, u64) {
        let unanswered = Arc::clone(&self.unanswered);
        (self.end(), unanswered.load(Ordering::SeqCst))
    }

    /// How many rounds there were; panics when one went wrong.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(rounds) => rounds.unwrap(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A socket that talks to one server.
fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

fn answers(socket: &UdpSocket, round: u64, within: Duration) -> io::Result<bool> {
    socket.set_read_timeout(Some(within))?;
    socket.send(&round.to_be_bytes())?;
    let mut heard = [0; 8];
    match socket.recv(&mut heard) {
        Ok(_) => Ok(heard == round.to_be_bytes()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
