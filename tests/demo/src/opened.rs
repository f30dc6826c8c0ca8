//! Connections that were open before a policy changed: which live on, and which are cut.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use policy_harness::traffic::{Connection, Outcome};

use crate::{
    cluster::{Cluster, OPEN_PORT},
    interrupt::Interrupt,
    paint::Paint,
};

/// How long an answer that is allowed may take, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection that may be cut is waited for.
const GLANCE: Duration = Duration::from_millis(250);
/// How often words are exchanged: what a person can follow.
const PACE: Duration = Duration::from_millis(100);
/// Exchanges before the change, and after the cut.
const EXCHANGES: usize = 8;
/// How long the cut may take.
const CUT: Duration = Duration::from_secs(10);

/// One connection and what became of its exchanges.
pub(crate) struct Opened {
    name: String,
    connection: Connection,
    exchanges: Vec<Outcome>,
}

impl Opened {
    /// Connects from one party to another.
    pub(crate) fn open(cluster: &Cluster, from: &str, to: &str, v6: bool) -> Result<Self> {
        let family = if v6 { "IPv6" } else { "IPv4" };
        let (source, target) = (cluster.party(from)?, cluster.party(to)?);
        let own = source
            .address(v6)
            .map(|address| SocketAddr::new(address, 0));
        let address = target.address(v6).context("no address to connect to")?;
        let address = SocketAddr::new(address, OPEN_PORT);
        let connection = Connection::open(source.netns, own, address, PATIENCE)?
            .with_context(|| format!("{from} cannot connect to {to}"))?;
        Ok(Self {
            name: format!("{from} ({family})"),
            connection,
            exchanges: Vec::new(),
        })
    }

    fn exchange(&mut self, within: Duration) -> Result<Outcome> {
        let outcome = self
            .connection
            .exchange(within)
            .with_context(|| format!("over the connection of {}", self.name))?;
        self.exchanges.push(outcome);
        Ok(outcome)
    }
}

/// Two connections: one that stays permitted and one that the change forbids.
pub(crate) struct Pair {
    pub(crate) stays: Opened,
    pub(crate) ends: Opened,
}

impl Pair {
    /// Talks over both, makes the change, and talks on until the one is cut and the other proved to
    /// live. Returns how long the cut took.
    ///
    /// # Errors
    /// A connection that lives or ends against expectation.
    pub(crate) fn watch(
        &mut self,
        interrupt: &Interrupt,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        for _ in 0..EXCHANGES {
            ensure!(
                self.exchange(PATIENCE)? == [Outcome::Allowed; 2],
                "an open connection did not get through before the change"
            );
            interrupt.pause(PACE)?;
        }
        change()?;
        let changed = Instant::now();
        let cut = interrupt.until("the connection to be cut", CUT, || {
            let asked = changed.elapsed();
            let [stays, ends] = self.exchange(GLANCE)?;
            ensure!(
                stays == Outcome::Allowed,
                "the permitted connection was cut"
            );
            Ok((ends == Outcome::Denied).then_some(asked))
        })?;
        for _ in 0..EXCHANGES {
            ensure!(
                self.exchange(GLANCE)? == [Outcome::Allowed, Outcome::Denied],
                "a connection did not stay as the change left it"
            );
            interrupt.check()?;
        }
        Ok(cut)
    }

    /// One exchange over both at the same time; `within` is for the one that may be cut.
    fn exchange(&mut self, within: Duration) -> Result<[Outcome; 2]> {
        let Self { stays, ends } = self;
        thread::scope(|scope| {
            let stays = scope.spawn(|| stays.exchange(PATIENCE));
            let ends = ends.exchange(within);
            let stays = stays
                .join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload));
            Ok([stays?, ends?])
        })
    }

    /// A line for each.
    pub(crate) fn drawn(&self, paint: Paint) -> String {
        let lines = [&self.stays, &self.ends].map(|opened| {
            let marks = opened.exchanges.iter().enumerate().map(|(index, outcome)| {
                let bar = if index == EXCHANGES { " | " } else { "" };
                let mark = match outcome {
                    Outcome::Allowed => paint.good("o"),
                    Outcome::Denied => paint.bad("x"),
                };
                format!("{bar}{mark}")
            });
            format!("  {:24} {}\n", opened.name, marks.collect::<String>())
        });
        lines.concat()
    }
}
