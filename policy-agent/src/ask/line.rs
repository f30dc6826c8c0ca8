//! A line of the log about a drop, read back: the question that it raises.

use std::{collections::BTreeMap, net::IpAddr};

use policy_core::{model::Protocol, resolve::Party};
use serde_json::Value;
use thiserror::Error;

use super::{Packet, PartyArgument};

/// What the line says of the packet, as far as rules ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropQuestion {
    /// Who sent it.
    pub from: PartyArgument,
    /// To whom.
    pub to: PartyArgument,
    /// What it was.
    pub packet: Packet,
    /// Its source port, or nothing where it has none.
    pub source_port: Option<u16>,
    /// It belonged to a connection.
    pub is_within: bool,
    /// The source address that it said, where that was not the pod's.
    pub source: Option<IpAddr>,
    /// Why it was dropped.
    reason: String,
}

/// A line raises no question that rules answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is about something else.
    #[error("this is no line about a dropped packet")]
    NoDrop,
    /// A field is missing, or not as the agent writes it.
    #[error("the line has no {0} that can be read")]
    Field(&'static str),
    /// No policy decided.
    #[error(
        "it was dropped for {0:?}, and policies were not asked: docs/troubleshooting.md says what that means"
    )]
    Reason(String),
    /// The rules know no ports of it.
    #[error("packets of protocol {0:?} cannot be asked about")]
    Protocol(String),
}

/// The fields in which a line says it, in the order in which it has them.
const FIELDS: [&str; 12] = [
    "at",
    "direction",
    "pod",
    "interface",
    "peer",
    "protocol",
    "source",
    "source_port",
    "port",
    "reason",
    "policies",
    "suppressed",
];

impl DropQuestion {
    /// Reads a line, in text or JSON.
    ///
    /// # Errors
    /// It is not about a packet that policies dropped.
    pub fn read(line: &str) -> Result<Self, LineError> {
        let fields = json(line).or_else(|| text(line)).ok_or(LineError::NoDrop)?;
        let field = |name| {
            let value = fields.get(name).map(String::as_str);
            value.ok_or(LineError::Field(name))
        };
        let reason = field("reason")?;
        let pod = field("pod")?.parse();
        let pod: PartyArgument = pod.map_err(|_| LineError::Field("pod"))?;
        let peer = peer(field("peer")?).ok_or(LineError::Field("peer"))?;
        let (from, to) = match field("direction")? {
            "ingress" => (peer, pod),
            "egress" => (pod, peer),
            _ => return Err(LineError::Field("direction")),
        };
        let port = || {
            let port = field("port")?.parse();
            port.map_err(|_| LineError::Field("port"))
        };
        let packet = match field("protocol")? {
            "tcp" => Packet::To(Protocol::Tcp, port()?),
            "udp" => Packet::To(Protocol::Udp, port()?),
            "sctp" => Packet::To(Protocol::Sctp, port()?),
            icmp if icmp.starts_with("icmp") => Packet::Icmp,
            other => return Err(LineError::Protocol(other.to_owned())),
        };
        let source_port = fields.get("source_port").and_then(|port| port.parse().ok());
        let source = match (reason, fields.get("source")) {
            ("source-address", Some(_)) => {
                let source = field("source")?.parse();
                Some(source.map_err(|_| LineError::Field("source"))?)
            }
            _ => None,
        };
        Ok(Self {
            from,
            to,
            packet,
            source_port: source_port.filter(|port| *port != 0),
            is_within: reason == "flow-denied",
            source,
            reason: reason.to_owned(),
        })
    }

    /// Whether rules decided about it, which is all that objects know of.
    ///
    /// # Errors
    /// They were not asked.
    pub fn is_about_rules(&self) -> Result<(), LineError> {
        match self.reason.as_str() {
            "policy" | "flow-denied" => Ok(()),
            other => Err(LineError::Reason(other.to_owned())),
        }
    }
}

/// `namespace/name (address)`, `host (address)` or the address.
fn peer(text: &str) -> Option<PartyArgument> {
    let (name, address) = match text.split_once(" (") {
        Some((name, rest)) => (Some(name), rest.strip_suffix(')')?),
        None => (None, text),
    };
    let address: IpAddr = address.parse().ok()?;
    match name {
        // The packet had the node's address, and did not come from the node.
        Some("host") | None => Some(PartyArgument(Party::Address(address))),
        Some(name) => name.parse().ok(),
    }
}

fn json(line: &str) -> Option<BTreeMap<&'static str, String>> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "dropped").then(|| {
        let fields = FIELDS.iter().filter_map(|name| {
            let value = match &line[*name] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((*name, value))
        });
        fields.collect()
    })
}

/// Values may have spaces in them: each ends where the next field begins.
fn text(line: &str) -> Option<BTreeMap<&'static str, String>> {
    let (_, mut rest) = line.split_once(" dropped ").or_else(|| {
        let rest = line.strip_prefix("dropped ")?;
        Some(("", rest))
    })?;
    let mut fields = BTreeMap::new();
    let mut name = None;
    let mut names = FIELDS.iter();
    loop {
        let next = names
            .clone()
            .filter_map(|next| {
                let start = format!("{next}=");
                let at = match rest.starts_with(&start) {
                    true => 0,
                    false => rest.find(&format!(" {start}"))? + 1,
                };
                Some((at, *next, at + start.len()))
            })
            .min();
        let value = &rest[..next.map_or(rest.len(), |(at, ..)| at)];
        if let Some(name) = name {
            let value = value.trim().trim_matches('"');
            fields.insert(name, value.to_owned());
        }
        let Some((_, next, from)) = next else {
            return Some(fields);
        };
        name = Some(next);
        rest = &rest[from..];
        names.by_ref().find(|name| **name == next);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use policy_common::{Direction, Reason};
    use policy_core::model::ObjectName;

    use super::*;
    use crate::telemetry::drops::{DropLine, Peer, tests::written};

    fn line() -> DropLine {
        DropLine {
            direction: Direction::Ingress,
            interface: "veth-web".into(),
            pod: Some(ObjectName::new("shop", "web")),
            peer: Some(Peer {
                address: [10, 1, 0, 2].into(),
                pod: Some(ObjectName::new("shop", "client")),
                is_host: false,
            }),
            protocol: 6,
            family: 4,
            ethertype: 0x0800,
            at: Timestamp::UNIX_EPOCH,
            source: Some([10, 1, 0, 2].into()),
            source_port: 34_918,
            port: 80,
            icmp: (0, 0),
            reason: Reason::Policy,
            policies: Arc::from([
                ObjectName::new("shop", "deny"),
                ObjectName::new("shop", "web"),
            ]),
            suppressed: 7,
        }
    }

    fn whole(line: &DropLine) -> Result<DropQuestion, LineError> {
        let [text, json] = written(|| line.log());
        let read = DropQuestion::read(&text);
        assert_eq!(DropQuestion::read(&json), read, "{text} {json}");
        read
    }

    fn read(line: &DropLine) -> Result<[String; 3], LineError> {
        let question = whole(line)?;
        question.is_about_rules()?;
        let DropQuestion {
            from, to, packet, ..
        } = question;
        Ok([from.to_string(), to.to_string(), packet.to_string()])
    }

    fn question(from: &str, to: &str, packet: &str) -> Result<[String; 3], LineError> {
        Ok([from, to, packet].map(str::to_owned))
    }

    #[test]
    fn what_the_agent_writes_is_read_back_in_both_forms() {
        assert_eq!(read(&line()), question("shop/client", "shop/web", "80/TCP"));
        let egress = DropLine {
            direction: Direction::Egress,
            protocol: 17,
            port: 53,
            policies: Arc::default(),
            suppressed: 0,
            ..line()
        };
        assert_eq!(read(&egress), question("shop/web", "shop/client", "53/UDP"));
        let outside = DropLine {
            peer: Some(Peer {
                address: "fd00::9".parse().unwrap(),
                pod: None,
                is_host: false,
            }),
            protocol: 58,
            family: 6,
            icmp: (128, 0),
            source_port: 0,
            port: 0,
            ..line()
        };
        assert_eq!(read(&outside), question("fd00::9", "shop/web", "ICMP"));
        let host = DropLine {
            peer: Some(Peer {
                address: [10, 1, 0, 1].into(),
                pod: None,
                is_host: true,
            }),
            ..line()
        };
        assert_eq!(read(&host), question("10.1.0.1", "shop/web", "80/TCP"));
    }

    #[test]
    fn what_only_a_running_agent_knows_is_read_too() {
        let denied = DropLine {
            reason: Reason::FlowDenied,
            ..line()
        };
        let denied = whole(&denied).unwrap();
        assert_eq!((denied.source_port, denied.source), (Some(34_918), None));
        assert!(denied.is_within && !whole(&line()).unwrap().is_within);
        let forged = DropLine {
            direction: Direction::Egress,
            reason: Reason::SourceAddress,
            source: Some([10, 9, 9, 9].into()),
            ..line()
        };
        assert_eq!(whole(&forged).unwrap().source, Some([10, 9, 9, 9].into()));
    }

    #[test]
    fn what_rules_do_not_answer_is_said() {
        let forged = DropLine {
            reason: Reason::SourceAddress,
            ..line()
        };
        assert_eq!(
            read(&forged),
            Err(LineError::Reason("source-address".into()))
        );
        let unknown = DropLine {
            pod: None,
            ..line()
        };
        assert_eq!(read(&unknown), Err(LineError::Field("pod")));
        let other = DropLine {
            protocol: 47,
            ..line()
        };
        assert_eq!(read(&other), Err(LineError::Protocol("protocol 47".into())));
        for text in [
            "",
            "dropped",
            "INFO policy added",
            "{\"message\":\"x\"}",
            "[]",
        ] {
            assert_eq!(DropQuestion::read(text), Err(LineError::NoDrop), "{text}");
        }
    }
}
