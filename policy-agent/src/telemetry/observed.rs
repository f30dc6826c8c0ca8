//! A packet of which observers are told, in the words of the log.
//!
//! Owns the form and what a filter asks. Invariant: everything in it was found out when the event was read,
//! and is what it was when the packet came.

use std::{fmt, net::IpAddr};

use policy_common::Direction;
use policy_core::{model::ObjectName, resolve::Party};
use serde::{Deserialize, Serialize};

use super::drops::DropLine;
use crate::ask::{PartyArgument, Verdict};

/// One packet. What does not apply is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// When the packet was judged, UTC.
    pub at: String,
    /// What became of it.
    pub verdict: Verdict,
    /// From the pod's side: `ingress` or `egress`.
    pub direction: String,
    /// The pod that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its interface on the host.
    pub interface: String,
    /// The other side's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_ip: Option<IpAddr>,
    /// The pod that had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_pod: Option<String>,
    /// It was this host's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_is_host: bool,
    /// As in the log.
    pub protocol: String,
    /// The source address, where it is forged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// The destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Why.
    pub reason: String,
    /// The policies that isolated the pod in the direction.
    pub policies: Vec<String>,
    /// Drops of the pod before that nobody was told of one by one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<&DropLine> for Observed {
    fn from(line: &DropLine) -> Self {
        let some = |port: u16| (port != 0).then_some(port);
        let peer = line.peer.as_ref();
        Self {
            at: line.at.to_string(),
            verdict: Verdict::Denied,
            direction: line.direction.name().to_owned(),
            pod: line.pod.as_ref().map(ToString::to_string),
            interface: line.interface.clone(),
            peer_ip: peer.map(|peer| peer.address),
            peer_pod: peer.and_then(|peer| Some(peer.pod.as_ref()?.to_string())),
            peer_is_host: peer.is_some_and(|peer| peer.is_host),
            protocol: line.protocol_name().into_owned(),
            source: line.forged_source(),
            source_port: some(line.source_port),
            port: some(line.port),
            reason: line.reason.name().to_owned(),
            policies: line.policies.iter().map(ToString::to_string).collect(),
            suppressed: line.suppressed,
        }
    }
}

impl Observed {
    fn is_egress(&self) -> bool {
        self.direction == Direction::Egress.name()
    }

    /// Whether the judged pod, or else the other side, is who is meant.
    fn is(&self, side: Side, party: &Party) -> bool {
        match (side, party) {
            (Side::Pod, Party::Pod(name)) => is_name(self.pod.as_deref(), name),
            (Side::Pod, _) => false,
            (Side::Peer, Party::Pod(name)) => is_name(self.peer_pod.as_deref(), name),
            (Side::Peer, Party::Address(address)) => self.peer_ip == Some(*address),
            (Side::Peer, Party::Host) => self.peer_is_host,
        }
    }
}

fn is_name(text: Option<&str>, name: &ObjectName) -> bool {
    text.is_some_and(|text| text.split_once('/') == Some((&*name.namespace, &*name.name)))
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Pod,
    Peer,
}

/// Which packets somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who sent it.
    pub from: Option<PartyArgument>,
    /// To whom.
    pub to: Option<PartyArgument>,
    /// What became of it.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: Option<String>,
}

impl Filter {
    /// Whether a packet is wanted.
    pub fn wants(&self, packet: &Observed) -> bool {
        let (sender, receiver) = match packet.is_egress() {
            true => (Side::Pod, Side::Peer),
            false => (Side::Peer, Side::Pod),
        };
        let is = |side, party: &Option<PartyArgument>| {
            let party = party.as_ref();
            party.is_none_or(|PartyArgument(party)| packet.is(side, party))
        };
        is(sender, &self.from)
            && is(receiver, &self.to)
            && self.verdict.is_none_or(|verdict| verdict == packet.verdict)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| *reason == packet.reason)
    }
}

/// A line for people.
impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pod = self.pod.as_deref().unwrap_or(&self.interface);
        let peer = match (&self.peer_pod, self.peer_ip) {
            (Some(pod), Some(address)) => format!("{pod} ({address})"),
            (None, Some(address)) if self.peer_is_host => format!("host ({address})"),
            (None, Some(address)) => address.to_string(),
            _ => "?".to_owned(),
        };
        let (from, to) = match self.is_egress() {
            true => (pod, peer.as_str()),
            false => (peer.as_str(), pod),
        };
        write!(f, "{} {} {} {from}", self.at, self.verdict, self.direction)?;
        if let Some(port) = self.source_port {
            write!(f, " port {port}")?;
        }
        write!(f, " -> {to} ")?;
        match self.port {
            Some(port) => write!(f, "{port}/{}", self.protocol)?,
            None => f.write_str(&self.protocol)?,
        }
        write!(f, ": {}", self.reason)?;
        if let Some(source) = self.source {
            write!(f, ", source {source}")?;
        }
        if !self.policies.is_empty() {
            write!(f, ", by {}", self.policies.join(", "))?;
        }
        if self.suppressed > 0 {
            write!(f, ", {} before it", self.suppressed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn packet(direction: &str, pod: &str, peer: &str) -> Observed {
        Observed {
            at: "2026-01-01T00:00:00Z".into(),
            verdict: Verdict::Denied,
            direction: direction.into(),
            pod: Some(pod.into()),
            interface: "veth".into(),
            peer_ip: Some([10, 0, 0, 9].into()),
            peer_pod: Some(peer.into()),
            peer_is_host: false,
            protocol: "tcp".into(),
            source: Some([10, 0, 0, 66].into()),
            source_port: Some(4_000),
            port: Some(80),
            reason: "policy".into(),
            policies: vec!["shop/deny".into()],
            suppressed: 2,
        }
    }

    #[test]
    fn a_filter_knows_who_sent_a_packet_in_either_direction() {
        let filter = |from: &str, to: &str| Filter {
            from: (!from.is_empty()).then(|| from.parse().unwrap()),
            to: (!to.is_empty()).then(|| to.parse().unwrap()),
            ..Filter::default()
        };
        let ingress = packet("ingress", "shop/web", "shop/client");
        let egress = packet("egress", "shop/web", "shop/client");
        assert!(Filter::default().wants(&ingress));
        assert!(filter("shop/client", "shop/web").wants(&ingress));
        assert!(!filter("shop/client", "shop/web").wants(&egress));
        assert!(filter("shop/web", "10.0.0.9").wants(&egress));
        assert!(!filter("host", "").wants(&ingress));
        let reason = Filter {
            reason: Some("flow-denied".into()),
            ..Filter::default()
        };
        assert!(!reason.wants(&ingress));
    }

    #[test]
    fn people_read_who_sent_what_to_whom() {
        let line = packet("egress", "shop/web", "shop/client").to_string();
        let wanted = "2026-01-01T00:00:00Z denied egress shop/web port 4000 -> shop/client (10.0.0.9) \
                      80/tcp: policy, source 10.0.0.66, by shop/deny, 2 before it";
        assert_eq!(line, wanted);
    }
}
