//! The steps of the demo, in order, and what is said about each.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use policy_harness::traffic::{Outcome, Protocol, probe};

use crate::{
    agent::Agent,
    cluster::{Cluster, OPEN_PORT},
    expectation::{Expectation, GUEST_JOINED, OPEN, WITH_POLICY, WITHOUT_BLOCK},
    interrupt::Interrupt,
    manifests::{self, BLOCK_REMOVED, Edit, GUEST_JOINS, Manifests},
    matrix::Matrix,
    opened::{Opened, Pair},
    paint::Paint,
};

/// The pod that the policy selects.
const SUBJECT: &str = "default/frontend";
/// The policy.
const POLICY: &str = "default/allow-frontend";
/// The pod whose namespace gets the label.
const GUEST: &str = "guest/frontend";
/// How long a change may take to be seen by connections.
const CHANGE: Duration = Duration::from_secs(10);
/// Lines of the agent's log that are shown of each direction.
const DROPS_SHOWN: usize = 2;

/// Tells all of it.
///
/// # Errors
/// A step that fails, a cell that is not as expected, a signal. Everything that was made is removed.
pub(crate) fn tell(agent: &Path, paint: Paint, interrupt: &Interrupt) -> Result<()> {
    let began = Instant::now();
    let mut story = Story {
        paint,
        interrupt,
        step: 0,
        attempts: 0,
        last: None,
    };
    story.step("A cluster made of network namespaces")?;
    let manifests = Manifests::new()?;
    let cluster = Cluster::new()?;
    let servers = cluster.serve()?;
    interrupt.check()?;
    story.introduce()?;

    story.step("The agent runs, there is no policy yet")?;
    let agent = Agent::start(agent, cluster.host(), manifests.path(), interrupt)?;
    let scene = Scene {
        manifests: &manifests,
        cluster: &cluster,
        agent: &agent,
    };
    story.without_policy(&scene)?;
    story.step("A NetworkPolicy is saved into the directory")?;
    story.with_policy(&scene)?;
    story.step("A label changes: namespace guest joins the project")?;
    story.with_label(&scene)?;
    story.step("The policy changes while connections are open")?;
    story.without_block(&scene)?;

    story.step("Clean-up")?;
    let pins = agent.pins();
    agent.stop()?;
    let matrix = Matrix::probe(&cluster)?;
    story.check(&matrix, OPEN)?;
    drop((servers, cluster));
    ensure!(!pins.exists(), "{} is left behind", pins.display());
    story.say(&format!(
        "`policy-agent cleanup` took the programs and maps out of the kernel. Everybody reached everybody\n\
         again; then the namespaces were removed.\n\n\
         {} {} connections were tried in {:.0} s; each was allowed or denied as the policy says.",
        paint.good("Done:"),
        story.attempts + matrix.attempts(),
        began.elapsed().as_secs_f64()
    ))
}

/// What the steps happen to.
struct Scene<'a> {
    manifests: &'a Manifests,
    cluster: &'a Cluster,
    agent: &'a Agent<'a>,
}

struct Story<'a> {
    paint: Paint,
    interrupt: &'a Interrupt,
    step: u32,
    attempts: usize,
    last: Option<Matrix>,
}

impl Story<'_> {
    fn introduce(&self) -> Result<()> {
        self.say(&format!(
            "Four pods in three Kubernetes namespaces, a node between them, and a machine outside with\n\
             the addresses 192.168.5.10 and 192.0.2.2. Each is a network namespace of its own, wired\n\
             with veth pairs; your machine's own network is not touched. Servers listen on ports 80 and\n\
             8080 of everyone. The tables below show who gets an answer over a real TCP connection:\n\
             {} over IPv4 and IPv6, {} over IPv4 only, {} over neither.\n",
            self.paint.good("4 6"),
            self.paint.partly("4 -"),
            self.paint.bad("- -"),
        ))
    }

    fn without_policy(&mut self, scene: &Scene<'_>) -> Result<()> {
        let typed = scene.agent.typed(scene.manifests.path());
        self.say(&format!(
            "{}\n\n\
             The directory has the namespaces and pods, as YAML. The agent found the pods' interfaces and\n\
             put its eBPF programs on them. No policy selects any pod, so everybody reaches everybody:\n",
            self.paint.quiet(&format!("  $ {typed}"))
        ))?;
        self.table(scene.cluster, OPEN)
    }

    fn with_policy(&mut self, scene: &Scene<'_>) -> Result<()> {
        self.say(&format!("{}\n", self.paint.quiet(&manifests::policy())))?;
        scene.manifests.add_policy()?;
        scene
            .agent
            .wait_until_isolated(SUBJECT, POLICY, self.interrupt)?;
        self.say(&format!(
            "It selects the pods app=frontend of its own namespace: {SUBJECT}. That pod now talks only\n\
             with frontends of labelled namespaces on port 80 (partner has the label, guest does not),\n\
             and 192.168.5.10 may connect to it. The block is an IPv4 block: IPv6 stays closed. The\n\
             node always reaches its pods, so that health probes work. Changed cells have a star:\n"
        ))?;
        self.table(scene.cluster, WITH_POLICY)?;
        self.say("Why was something dropped? The agent's log names pod, peer, port and policy:\n")?;
        self.drops(scene.agent)
    }

    fn with_label(&mut self, scene: &Scene<'_>) -> Result<()> {
        self.show(GUEST_JOINS)?;
        scene.manifests.apply(GUEST_JOINS)?;
        let took = self.wait_until_joined(scene.cluster)?;
        self.say(&format!(
            "No pod and no policy was touched. {GUEST} got through after {:.1} s, in both directions:\n",
            took.as_secs_f64()
        ))?;
        self.table(scene.cluster, GUEST_JOINED)
    }

    fn without_block(&mut self, scene: &Scene<'_>) -> Result<()> {
        let mut pair = Pair {
            stays: Opened::open(scene.cluster, "partner/frontend", SUBJECT, true)?,
            ends: Opened::open(scene.cluster, "192.168.5.10", SUBJECT, false)?,
        };
        self.say(&format!(
            "Two connections to {SUBJECT}:80 are open and talk. Then the block is removed:\n"
        ))?;
        self.show(BLOCK_REMOVED)?;
        let cut = pair.watch(self.interrupt, || scene.manifests.apply(BLOCK_REMOVED))?;
        self.say(&format!(
            "Each mark is a question and its answer; at the bar the file was saved:\n\n{}\n\
             The connection that no rule allows any more was cut within {:.1} s, the other lives on.\n",
            pair.drawn(self.paint),
            cut.as_secs_f64()
        ))?;
        // The agent answers between two changes: after this none is half done.
        scene.agent.status()?;
        self.table(scene.cluster, WITHOUT_BLOCK)
    }

    fn step(&mut self, title: &str) -> Result<()> {
        self.step += 1;
        let heading = format!("{}. {title}", self.step);
        self.say(&format!("{}\n", self.paint.heading(&heading)))
    }

    fn say(&self, text: &str) -> Result<()> {
        // A reader that went away ends the run like any other error: with clean-up.
        writeln!(io::stdout(), "{text}").context("writing what happens")
    }

    fn show(&self, edit: Edit) -> Result<()> {
        self.say(&format!("  {}\n{}\n", edit.file, edit.shown(self.paint)))
    }

    /// Tries every connection, shows the table and compares it.
    fn table(&mut self, cluster: &Cluster, expected: Expectation) -> Result<()> {
        let matrix = Matrix::probe(cluster)?;
        self.interrupt.check()?;
        self.attempts += matrix.attempts();
        self.say(&matrix.drawn(self.paint, self.last.as_ref()))?;
        self.check(&matrix, expected)?;
        self.last = Some(matrix);
        Ok(())
    }

    fn check(&self, matrix: &Matrix, expected: Expectation) -> Result<()> {
        let surprises = matrix.surprises(expected);
        ensure!(
            surprises.is_empty(),
            "not as the policy says:\n  {}",
            surprises.join("\n  ")
        );
        Ok(())
    }

    /// Shows the agent's lines about drops: of both directions, and of different peers.
    fn drops(&self, agent: &Agent<'_>) -> Result<()> {
        let shown = self
            .interrupt
            .until("the log to name the policy", CHANGE, || {
                let log = agent.log();
                let of = |direction| {
                    let mut peers = BTreeSet::new();
                    let lines = log.iter().filter(|line| is_drop(line, direction));
                    let lines = lines.filter(|line| peers.insert(peer(line)));
                    lines.take(DROPS_SHOWN).cloned().collect::<Vec<_>>()
                };
                let shown = ["ingress", "egress"].map(of);
                Ok(shown.iter().all(|lines| !lines.is_empty()).then_some(shown))
            })?;
        for line in shown.iter().flatten() {
            self.say(&format!("  {}", self.paint.quiet(line)))?;
        }
        self.say("")
    }

    /// How long it takes until the guest gets through.
    fn wait_until_joined(&self, cluster: &Cluster) -> Result<Duration> {
        let changed = Instant::now();
        let guest = cluster.party(GUEST)?;
        let subject = cluster.party(SUBJECT)?;
        let addresses = subject.addresses.into_iter().flatten();
        for address in addresses {
            let target = (address, OPEN_PORT).into();
            self.interrupt
                .until("the label to take effect", CHANGE, || {
                    let glance = Duration::from_millis(100);
                    let outcome = probe(guest.netns, Protocol::Tcp, None, target, glance)?;
                    Ok((outcome == Outcome::Allowed).then_some(()))
                })?;
        }
        Ok(changed.elapsed())
    }
}

/// Whether a line is about a packet that the policy dropped.
fn is_drop(line: &str, direction: &str) -> bool {
    let wanted = [
        "dropped",
        &format!("direction=\"{direction}\""),
        &format!("policies=\"{POLICY}\""),
    ];
    wanted.iter().all(|word| line.contains(word))
}

/// The other side's name in a line about a drop.
fn peer(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("peer=")?;
    rest.split_whitespace().next()
}
