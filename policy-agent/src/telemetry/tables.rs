//! Flows and policies in the words that people read.

use std::{fmt, net::IpAddr};

use policy_common::FlowState;
use serde::{Deserialize, Serialize};

use crate::{ask::Verdict, datapath::FlowEntry};

/// A connection of a pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowShown {
    /// Whose; absent while its pod is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its address.
    pub pod_ip: IpAddr,
    /// Its port, or the identifier of an echo request; 0 where there is none.
    pub pod_port: u16,
    /// The other side's address.
    pub peer_ip: IpAddr,
    /// The pod that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_pod: Option<String>,
    /// The other side's port.
    pub peer_port: u16,
    /// `tcp`, `udp`, `sctp`, `icmp`, or the number.
    pub protocol: String,
    /// `pod` or `peer`.
    pub opened_by: String,
    /// `new`, `answered`, `established`, `doubtful` or `closing`.
    pub state: String,
    /// What was said of it; a denied one is a tombstone.
    pub verdict: Verdict,
    /// It was judged by the rules that the pod has now; else its next packet is judged again.
    pub is_current: bool,
    /// Since its last packet, in milliseconds; up to a second more than it is.
    pub idle_ms: u64,
    /// The policies that isolate the pod in the direction in which it was opened.
    pub policies: Vec<String>,
}

/// The name of an IP protocol, or its number.
pub fn protocol_name(number: u8) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        132 => "sctp".into(),
        1 => "icmp".into(),
        58 => "icmpv6".into(),
        other => other.to_string(),
    }
}

impl FlowShown {
    /// An entry, without names. `now`: jiffies; `epoch`: of the pod's rules.
    pub fn new(entry: &FlowEntry, now: u64, hz: u32, epoch: Option<u32>) -> Self {
        let state = match entry.state.phase {
            FlowState::PHASE_NEW => "new",
            FlowState::PHASE_ANSWERED => "answered",
            FlowState::PHASE_ESTABLISHED => "established",
            FlowState::PHASE_DOUBTFUL => "doubtful",
            _ => "closing",
        };
        let opened_by = match entry.state.opener {
            FlowState::OPENED_BY_POD => "pod",
            _ => "peer",
        };
        let idle = now.saturating_sub(entry.last_seen);
        Self {
            pod: None,
            pod_ip: entry.pod,
            pod_port: entry.pod_port,
            peer_ip: entry.peer,
            peer_pod: None,
            peer_port: entry.peer_port,
            protocol: protocol_name(entry.protocol),
            opened_by: opened_by.into(),
            state: state.into(),
            verdict: match entry.state.verdict.allows() {
                true => Verdict::Allowed,
                false => Verdict::Denied,
            },
            is_current: epoch == Some(entry.state.epoch),
            idle_ms: idle.saturating_mul(1_000) / u64::from(hz.max(1)),
            policies: Vec::new(),
        }
    }
}

/// A line for people.
impl fmt::Display for FlowShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |pod: &Option<String>, address: IpAddr, port: u16| match pod {
            Some(pod) => format!("{pod} ({address}) port {port}"),
            None => format!("{address} port {port}"),
        };
        let pod = named(&self.pod, self.pod_ip, self.pod_port);
        let peer = named(&self.peer_pod, self.peer_ip, self.peer_port);
        let (from, to) = match self.opened_by.as_str() {
            "pod" => (pod, peer),
            _ => (peer, pod),
        };
        let Self {
            protocol,
            state,
            verdict,
            ..
        } = self;
        write!(f, "{protocol} {from} -> {to}: {state}, {verdict}")?;
        if !self.is_current {
            f.write_str(", to be judged again")?;
        }
        write!(f, ", idle {} s", self.idle_ms / 1_000)?;
        match self.policies.is_empty() {
            true => Ok(()),
            false => write!(f, ", by {}", self.policies.join(", ")),
        }
    }
}

/// A policy, and whom of this node it isolates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyShown {
    /// Namespace and name.
    pub policy: String,
    /// Pods of this node to which connections are isolated by it.
    pub ingress: Vec<String>,
    /// Pods of this node from which connections are isolated by it.
    pub egress: Vec<String>,
}

/// Lines for people.
impl fmt::Display for PolicyShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.policy)?;
        if self.ingress.is_empty() && self.egress.is_empty() {
            return f.write_str(": no pod of this node");
        }
        for (direction, pods) in [("ingress", &self.ingress), ("egress", &self.egress)] {
            if !pods.is_empty() {
                write!(f, "\n  {direction} of {}", pods.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use policy_common::{EndpointId, Verdict as Word};

    use super::*;

    pub(crate) fn flow() -> FlowShown {
        let entry = FlowEntry {
            endpoint: EndpointId(3),
            protocol: 6,
            pod: [10, 0, 0, 1].into(),
            pod_port: 80,
            peer: [10, 0, 0, 2].into(),
            peer_port: 4_000,
            state: FlowState {
                epoch: 7,
                verdict: Word::ALLOW,
                phase: FlowState::PHASE_ESTABLISHED,
                opener: FlowState::OPENED_BY_PEER,
                seen: 0,
            },
            last_seen: 1_000,
        };
        FlowShown {
            pod: Some("shop/web".into()),
            peer_pod: Some("shop/client".into()),
            policies: vec!["shop/deny".into()],
            ..FlowShown::new(&entry, 1_500, 250, Some(7))
        }
    }

    #[test]
    fn people_read_who_opened_what_and_where_it_stands() {
        assert_eq!(
            flow().to_string(),
            "tcp shop/client (10.0.0.2) port 4000 -> shop/web (10.0.0.1) port 80: established, \
             allowed, idle 2 s, by shop/deny"
        );
        let other = FlowShown {
            is_current: false,
            verdict: Verdict::Denied,
            ..flow()
        };
        assert!(other.to_string().contains("denied, to be judged again"));
    }
}
