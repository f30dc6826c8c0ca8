//! Three ways to one answer: the model of the loop, the maps, the programs.
//!
//! Invariant: they count as disagreeing only if the tables were at rest from before the first way to after the
//! last one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use policy_common::Reason;
use policy_core::model::Protocol;

use super::Desk;
use crate::{
    agent::questions::{Ask, Outline, Question},
    ask::{Answer, Compared, Packet, PartyArgument, Place},
    control::Explain,
    datapath::{At, BothWays, Came, Echo, Probe, ProbeError, Probed, Transport},
};

/// How long tables may change under a question.
const UNREST: Duration = Duration::from_secs(2);
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(25);
/// The first of the source ports of which one that no connection has is taken, and how many are tried.
const FIRST_PORT: u16 = 61_001;
const MOST_PORTS: u16 = 64;
/// Why nothing is said of a packet to a Service.
const OWED: &str = "this is a Service's address: who stands behind it is known, and judged, where the node has \
    translated it; ask about a backend";

/// What is asked, read.
struct Asked {
    from: PartyArgument,
    to: PartyArgument,
    packet: Option<Packet>,
}

impl Desk {
    /// Answers, or says why there is no answer.
    pub(super) fn explain(&self, question: &Explain) -> Result<Answer, String> {
        let asked = Asked::read(question)?;
        let deadline = Instant::now() + UNREST;
        loop {
            let outline = self.ask_loop(&asked, question)?;
            let Some(packet) = asked.packet else {
                return Ok(outline.answer);
            };
            let (turn, is_settled) = (outline.turn, outline.is_settled);
            let (answer, compared) = self.compare(outline, packet, question)?;
            if compared == Compared::Agree {
                return Ok(answer);
            }
            let after = self.ask_loop(&asked, question)?;
            if is_settled && after.is_settled && after.turn == turn {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err("the tables are being written: ask again".into());
            }
            thread::sleep(PAUSE);
        }
    }

    fn ask_loop(&self, asked: &Asked, question: &Explain) -> Result<Outline, String> {
        let question = Question {
            from: asked.from.clone(),
            to: asked.to.clone(),
            packet: asked.packet,
            source: question.source,
        };
        self.ask(|reply| Ask::Packet(question, reply))
    }

    fn compare(
        &self,
        outline: Outline,
        packet: Packet,
        question: &Explain,
    ) -> Result<(Answer, Compared), String> {
        let mut seen = Vec::new();
        {
            let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
            let mut hooks = Hooks {
                desk: self,
                probe: &mut probe,
                outline: &outline,
                packet,
                question,
                sent: None,
            };
            for end in outline.answer.ends() {
                let both = hooks.at(end.pod, end.is_egress, end.source, end.destination);
                let both = both.map_err(|error| causes(&error))?;
                // To this host everything passes, and what it translates is judged at the pod that it reaches.
                if end.is_egress && !end.is_to_host && both.is_some_and(|both| both.is_owed()) {
                    return Err(OWED.into());
                }
                seen.extend(both.map(|both| (end.place, both)));
            }
        }
        if seen.is_empty() {
            return Err("no end of it is a pod of this node with an address".into());
        }
        let seen: Vec<(Place, BothWays)> = seen;
        let mut answer = outline.answer;
        let compared = answer.compare(seen);
        Ok((answer, compared))
    }
}

impl Asked {
    fn read(question: &Explain) -> Result<Self, String> {
        let party = |text: &str| {
            let party = text.parse::<PartyArgument>();
            party.map_err(|error| format!("{text:?}: {error}"))
        };
        let packet = question.packet.as_ref();
        let packet = packet.map(|text| text.parse::<Packet>());
        Ok(Self {
            from: party(&question.from)?,
            to: party(&question.to)?,
            packet: packet.transpose().map_err(|error| error.to_string())?,
        })
    }
}

/// The hooks at which a packet is looked at.
struct Hooks<'a> {
    desk: &'a Desk,
    probe: &'a mut Probe,
    outline: &'a Outline,
    packet: Packet,
    question: &'a Explain,
    /// The egress of the same family: the sender's interface, and the stamp that it wrote.
    sent: Option<(u32, u16)>,
}

impl Hooks<'_> {
    /// What is said at one end, unless its pod is not on this node or one side has no address.
    fn at(
        &mut self,
        pod: &str,
        is_egress: bool,
        source: Option<IpAddr>,
        destination: Option<IpAddr>,
    ) -> Result<Option<BothWays>, ProbeError> {
        let sent = self.sent.take();
        let Some(&ifindex) = self.outline.interfaces.get(pod) else {
            return Ok(None);
        };
        let host = |other: IpAddr| {
            let mut hosts = self.outline.hosts.iter();
            hosts
                .find(|host| host.is_ipv4() == other.is_ipv4())
                .copied()
        };
        let (source, destination) = match (source, destination) {
            (Some(source), Some(destination)) => (source, destination),
            (Some(source), None) if is_egress => match host(source) {
                Some(host) => (source, host),
                None => return Ok(None),
            },
            (None, Some(destination)) if !is_egress => (
                host(destination).unwrap_or(nobody(destination)),
                destination,
            ),
            _ => return Ok(None),
        };
        let at = match (is_egress, sent) {
            (true, _) => At::FromPod { ifindex },
            (false, Some((sender, stamp))) => At::ToPod {
                ifindex,
                came: Came::Pod {
                    ifindex: sender,
                    stamp,
                },
            },
            (false, None) if self.question.from == "host" => At::ToPod {
                ifindex,
                came: Came::Host,
            },
            (false, None) => At::ToPod {
                ifindex,
                came: Came::Elsewhere,
            },
        };
        let both = self.run(at, source, destination)?;
        if is_egress {
            self.sent = Some((ifindex, both.stamp));
        }
        Ok(Some(both))
    }

    fn run(&mut self, at: At, source: IpAddr, destination: IpAddr) -> Result<BothWays, ProbeError> {
        let is_within = self.question.is_within;
        let transport = match self.packet {
            Packet::To(Protocol::Tcp, port) => Transport::Tcp { port, is_within },
            Packet::To(Protocol::Udp, port) => Transport::Udp { port },
            Packet::To(Protocol::Sctp, port) => Transport::Sctp { port, is_within },
            Packet::Icmp => Transport::Icmp(Echo::Request),
        };
        let given = self.question.source_port;
        let mut ports = given.into_iter().chain(FIRST_PORT..FIRST_PORT + MOST_PORTS);
        loop {
            let probed = Probed {
                source,
                destination,
                transport,
                source_port: ports.next().unwrap_or(FIRST_PORT),
            };
            let (pins, config, sizes) = (&self.desk.pins, self.desk.config, self.outline.sizes);
            let both = self.probe.ask(pins, config, sizes, &probed, at)?;
            let is_known = matches!(both.maps.reason, Reason::Flow | Reason::FlowDenied);
            let is_last = probed.source_port == FIRST_PORT + MOST_PORTS - 1;
            if given.is_some() || !is_known || is_last {
                return Ok(both);
            }
        }
    }
}

/// An address of the other's family that nobody has (RFC 5737, RFC 3849).
fn nobody(other: IpAddr) -> IpAddr {
    match other {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn causes(error: &ProbeError) -> String {
    crate::agent::causes(error)
}
