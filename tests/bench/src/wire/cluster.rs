//! The cluster that every ruleset enforces: two pods of this node and the policies that select them.
//!
//! Owns addresses, ports and policies, and their form as manifests; the other forms are written
//! from the same description ([`super::nftables`], [`super::iptables`]). Invariant: of all policies
//! one lets the client reach the server, the one in the middle; every other has peers and a port of
//! its own.

use std::{fmt::Write as _, net::Ipv4Addr};

/// Where the server listens.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// Where the client connects from.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The pods, as the manifests call them.
pub(super) const SERVER_POD: &str = "default/server";
/// The same of the client.
pub(super) const CLIENT_POD: &str = "default/client";
/// The port, TCP and UDP, on which the client may reach the server.
pub(super) const OPEN_PORT: u16 = 5201;
/// A port that no policy opens.
pub(super) const CLOSED_PORT: u16 = 5202;

/// Ports of the other policies, in turn.
const OTHER_PORTS: usize = 100;
const FIRST_OTHER_PORT: usize = 6000;
/// Pods that a policy names as peers.
const PEERS: usize = 2;

/// Which pods the policies select, and in which directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// The server's ingress.
    Server,
    /// Both pods, ingress and egress.
    Both,
}

/// A number of policies. None: the pods are free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policies {
    /// How many.
    pub(super) count: usize,
    /// Whom they select.
    pub(super) selected: Selected,
}

impl Policies {
    /// No policies.
    pub(super) const NONE: Self = Self {
        count: 0,
        selected: Selected::Server,
    };

    /// The policy that lets the client in.
    pub(super) const fn open(self) -> usize {
        self.count / 2
    }

    /// The port that a policy opens, TCP and UDP.
    pub(super) fn port(self, policy: usize) -> u16 {
        if policy == self.open() {
            return OPEN_PORT;
        }
        u16::try_from(FIRST_OTHER_PORT + policy % OTHER_PORTS).unwrap_or(u16::MAX)
    }

    /// The pods that a policy selects.
    pub(super) const fn targets(self) -> &'static [Ipv4Addr] {
        match self.selected {
            Selected::Server => &[SERVER],
            Selected::Both => &[SERVER, CLIENT],
        }
    }

    /// The pods that may talk to those that a policy selects, or with [`Selected::Both`] be talked
    /// to by them.
    pub(super) fn peers(self, policy: usize) -> Vec<Ipv4Addr> {
        if policy == self.open() {
            return vec![CLIENT, SERVER];
        }
        (0..PEERS).map(|peer| elsewhere(policy, peer)).collect()
    }

    /// Labels of the two pods of this node: both are peers of the policy in the middle.
    pub(super) fn labels(self, app: &str) -> String {
        format!("app: {app}, peer: \"{}\"", self.open())
    }

    /// The policies and the pods of other nodes. The pods of this node are not among them.
    pub(super) fn manifests(self) -> String {
        let mut text = String::new();
        for policy in 0..self.count {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}---", self.manifest(policy));
            if policy == self.open() {
                continue;
            }
            for peer in 0..PEERS {
                let _ = write!(
                    text,
                    "apiVersion: v1\n\
                     kind: Pod\n\
                     metadata: {{name: peer-{policy}-{peer}, namespace: default, labels: {{peer: \"{policy}\"}}}}\n\
                     spec: {{containers: [{{name: main, image: none}}]}}\n\
                     status: {{phase: Running, podIPs: [{{ip: {address}}}]}}\n\
                     ---\n",
                    address = elsewhere(policy, peer),
                );
            }
        }
        text
    }

    fn manifest(self, policy: usize) -> String {
        let port = self.port(policy);
        let ports = format!("[{{protocol: TCP, port: {port}}}, {{protocol: UDP, port: {port}}}]");
        let peers = format!("[{{podSelector: {{matchLabels: {{peer: \"{policy}\"}}}}}}]");
        let (selector, types, egress) = match self.selected {
            Selected::Server => ("matchLabels: {app: server}", "Ingress", String::new()),
            Selected::Both => (
                "matchExpressions: [{key: app, operator: Exists}]",
                "Ingress, Egress",
                format!("  egress: [{{to: {peers}, ports: {ports}}}]\n"),
            ),
        };
        format!(
            "apiVersion: networking.k8s.io/v1\n\
             kind: NetworkPolicy\n\
             metadata: {{name: policy-{policy}, namespace: default}}\n\
             spec:\n\
             \x20 podSelector: {{{selector}}}\n\
             \x20 policyTypes: [{types}]\n\
             \x20 ingress: [{{from: {peers}, ports: {ports}}}]\n\
             {egress}"
        )
    }
}

/// A pod of another node.
fn elsewhere(policy: usize, peer: usize) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    Ipv4Addr::from(first.wrapping_add(u32::try_from(policy * PEERS + peer).unwrap_or(u32::MAX)))
}
