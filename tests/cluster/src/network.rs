//! The networks of a cluster: a namespace with a bridge, where the control plane is, and one of each
//! node on it. Nothing of it touches an address, a route or a rule of the machine's own namespace.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// The control plane's address on the bridge.
pub(crate) const GATEWAY: &str = "172.30.0.1";
/// The pods of all nodes.
pub(crate) const PODS: [&str; 2] = ["10.244.0.0/16", "fd10:244::/48"];

/// A node's addresses; nodes count from 1.
pub(crate) fn addresses(node: u8) -> [String; 2] {
    [
        format!("172.30.0.{}", 10 + u16::from(node)),
        format!("fd30::{}", 10 + u16::from(node)),
    ]
}

/// The networks of a node's pods.
pub(crate) fn pods(node: u8) -> [String; 2] {
    [
        format!("10.244.{node}.0/24"),
        format!("fd10:244:0:{node}::/64"),
    ]
}

/// The networks of one cluster, by the name with which theirs begin.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    name: String,
}

impl Network {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// The namespace of the control plane.
    pub(crate) fn centre(&self) -> String {
        format!("{}-centre", self.name)
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, node: u8) -> String {
        format!("{}-node{node}", self.name)
    }

    /// Makes the control plane's, unless it is there.
    pub(crate) fn make_centre(&self) -> Result<()> {
        let centre = self.centre();
        if exists(&centre) {
            return Ok(());
        }
        ip(None, &[format!("netns add {centre}")])?;
        ip(
            Some(&centre),
            &[
                "link set lo up".to_owned(),
                "link add br0 type bridge".to_owned(),
                "link set br0 up".to_owned(),
                format!("address add {GATEWAY}/24 dev br0"),
                "address add fd30::1/64 dev br0 nodad".to_owned(),
            ],
        )
    }

    /// Makes a node's anew, with a way to all others and to their pods.
    pub(crate) fn make_node(&self, node: u8, nodes: u8) -> Result<()> {
        let (centre, namespace) = (self.centre(), self.node(node));
        remove(&namespace)?;
        let port = format!("node{node}");
        ip(
            None,
            &[
                format!("netns add {namespace}"),
                format!(
                    "link add {port} netns {centre} type veth peer name eth0 netns {namespace}"
                ),
            ],
        )?;
        let [four, six] = addresses(node);
        let mut lines = vec![
            "link set lo up".to_owned(),
            format!("address add {four}/24 dev eth0"),
            format!("address add {six}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("route add default via {GATEWAY}"),
            "route add default via fd30::1".to_owned(),
        ];
        for other in (1..=nodes).filter(|other| *other != node) {
            for (pods, address) in pods(other).iter().zip(addresses(other)) {
                lines.push(format!("route add {pods} via {address}"));
            }
        }
        ip(Some(&namespace), &lines)?;
        let mut lines = vec![
            format!("link set {port} master br0"),
            format!("link set {port} up"),
        ];
        for (pods, address) in pods(node).iter().zip(addresses(node)) {
            lines.push(format!("route replace {pods} via {address}"));
        }
        ip(Some(&centre), &lines)
    }

    /// Removes what is there of them; nobody is in them any more.
    pub(crate) fn remove(&self, nodes: u8) -> Result<()> {
        let mut removed = Ok(());
        for node in 1..=nodes {
            removed = removed.and(remove(&self.node(node)));
        }
        removed.and(remove(&self.centre()))
    }
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

fn remove(namespace: &str) -> Result<()> {
    if exists(namespace) {
        ip(None, &[format!("netns delete {namespace}")])?;
    }
    Ok(())
}

/// Lets `ip` do some things, in a namespace.
fn ip(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip")?;
    let mut input = child.stdin.take().context("ip has no input")?;
    input.write_all((lines.join("\n") + "\n").as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip: {}", errors.trim());
    Ok(())
}
