//! A world: a node with the two pods and one way to enforce policies, or none.
//!
//! Owns how each setting is built and how to see that it does what it says. Worlds stand side by
//! side, each in network namespaces of its own, so that rounds can go from one to the next.
//! Invariant: dropping a world removes everything that it made.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use aya::programs::TcAttachType;

use super::{
    cluster::{CLIENT, CLIENT_POD, Policies, SERVER, SERVER_POD},
    iptables, nftables,
};
use policy_harness::{
    Attach, Cluster, Foreign, Netns, Node, Pod, Wiring,
    foreign::{Attached, Place},
};

/// Prefix of every namespace.
const PREFIX: &str = "wirebench";
/// `TC_ACT_UNSPEC`: the packet goes on to the next program.
const UNSPEC: i32 = -1;

/// What stands between the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Nothing: what all others are compared with.
    Nothing,
    /// Nothing once more: what the comparison says of two equal worlds.
    Control,
    /// A program that does nothing, on the hooks of ours.
    Empty(Attach),
    /// The agent; the pods are free unless policies select them.
    Agent,
    /// kube-router's rules for nftables.
    Nftables,
    /// kube-router's rules and sets for iptables.
    Iptables,
}

/// One world.
#[derive(Debug)]
pub(super) struct World {
    /// What stands between the pods.
    pub(super) setting: Setting,
    /// What is enforced.
    pub(super) policies: Policies,
    /// Dropped before the interfaces on which they stand.
    _programs: Vec<Attached>,
    ground: Ground,
}

/// The node, and the agent where there is one.
#[derive(Debug)]
enum Ground {
    Plain(Box<Node>),
    Enforced(Box<Cluster>),
}

impl World {
    /// Builds it.
    pub(super) fn new(setting: Setting, policies: Policies) -> Result<Self> {
        let build = || match setting {
            Setting::Agent => enforced(policies),
            Setting::Nothing
            | Setting::Control
            | Setting::Empty(_)
            | Setting::Nftables
            | Setting::Iptables => plain(),
        };
        let mut world = Self {
            setting,
            policies,
            _programs: Vec::new(),
            ground: build().with_context(|| format!("building {setting:?}"))?,
        };
        match setting {
            Setting::Empty(attach) => world._programs = world.empty(attach)?,
            Setting::Nftables => world.load_nftables()?,
            Setting::Iptables => world.load_iptables()?,
            Setting::Nothing | Setting::Control | Setting::Agent => {}
        }
        Ok(world)
    }

    fn node(&self) -> &Node {
        match &self.ground {
            Ground::Plain(node) => node,
            Ground::Enforced(cluster) => &cluster.node,
        }
    }

    /// The server's pod.
    pub(super) fn server(&self) -> Result<&Pod> {
        self.node().pod(SERVER_POD)
    }

    /// The client's pod.
    pub(super) fn client(&self) -> Result<&Pod> {
        self.node().pod(CLIENT_POD)
    }

    /// The namespace that plays the host.
    pub(super) fn host(&self) -> &Netns {
        &self.node().host
    }

    /// The agent's cluster, where there is one.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match &self.ground {
            Ground::Plain(_) => None,
            Ground::Enforced(cluster) => Some(cluster),
        }
    }

    /// Whether the policies keep the client from ports that none of them opens.
    pub(super) fn is_closed(&self) -> bool {
        let enforces = matches!(
            self.setting,
            Setting::Agent | Setting::Nftables | Setting::Iptables
        );
        enforces && self.policies.count > 0
    }

    /// A program that does nothing on both hooks of both pods.
    fn empty(&self, attach: Attach) -> Result<Vec<Attached>> {
        let mut attached = Vec::new();
        let place = match attach {
            Attach::Tcx => Place::TcxFirst,
            Attach::Clsact => Place::Clsact(1),
        };
        for pod in [self.server()?, self.client()?] {
            for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
                let mut program = Foreign::returning("empty", UNSPEC)?;
                attached.push(program.attach(self.host(), &pod.interface, hook, place)?);
            }
        }
        Ok(attached)
    }

    fn load_nftables(&self) -> Result<()> {
        feed(
            self.host(),
            "nft",
            &["-f", "-"],
            &nftables::script(self.policies),
        )
    }

    fn load_iptables(&self) -> Result<()> {
        let host = self.host();
        feed(host, "ipset", &["restore"], &iptables::sets(self.policies))?;
        feed(
            host,
            "iptables-restore",
            &[],
            &iptables::rules(self.policies),
        )
    }
}

fn plain() -> Result<Ground> {
    let mut node = Node::new(PREFIX, Wiring::Routed)?;
    node.add_pod(SERVER_POD, &[IpAddr::V4(SERVER)])?;
    node.add_pod(CLIENT_POD, &[IpAddr::V4(CLIENT)])?;
    Ok(Ground::Plain(Box::new(node)))
}

fn enforced(policies: Policies) -> Result<Ground> {
    let mut cluster = Cluster::stopped(PREFIX, Wiring::Routed, Attach::Tcx)?;
    fs::write(
        cluster.manifests().join("policies.yaml"),
        policies.manifests(),
    )?;
    for (name, address, app) in [
        (SERVER_POD, SERVER, "server"),
        (CLIENT_POD, CLIENT, "client"),
    ] {
        cluster.add_pod(name, &policies.labels(app), &[&address.to_string()])?;
    }
    cluster.agent.start(&[])?;
    let status = cluster.agent.status()?;
    ensure!(
        status.failures.is_empty() && status.refused.is_empty(),
        "the agent could not enforce all policies: {:?} {:?}",
        status.failures,
        status.refused
    );
    for endpoint in &status.endpoints {
        let is_server = endpoint.pod.as_deref() == Some(SERVER_POD);
        let wanted = if is_server { policies.count } else { 0 };
        ensure!(
            !is_server || endpoint.ingress.policies.len() == wanted,
            "{wanted} policies were to select the server, {} do",
            endpoint.ingress.policies.len()
        );
    }
    ensure!(status.endpoints.len() == 2, "the agent found no two pods");
    Ok(Ground::Enforced(Box::new(cluster)))
}

/// Runs a program in a namespace with this standard input.
fn feed(netns: &Netns, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = netns.start(
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    )?;
    let written = child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let first: Vec<_> = errors.lines().take(5).collect();
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        first.join("\n")
    );
    written.with_context(|| format!("feeding {program}"))
}
