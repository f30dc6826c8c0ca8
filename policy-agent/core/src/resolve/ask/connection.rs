//! Connections, judged at both ends: by the egress of who opens them and the ingress of who is called.

use std::net::IpAddr;

use policy_common::Direction;
use thiserror::Error;

use super::explain::{End, Explanation, PeerName};
use crate::{
    model::{ObjectName, PodFact, Traffic},
    resolve::Resolver,
};

/// Somebody at one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A pod.
    Pod(ObjectName),
    /// Whoever has the address: a pod, or somebody outside.
    Address(IpAddr),
    /// The node of the pod at the other end.
    Host,
}

/// Why a connection cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unanswerable {
    /// There is no such pod.
    #[error("no pod is called {0}")]
    NoSuchPod(ObjectName),
    /// Policies do not see it.
    #[error(
        "pod {0} is on its node's network: no policy selects it. Ask with `host` if the other end is on that node, else with the node's address"
    )]
    HostNetwork(ObjectName),
    /// It sends and receives nothing.
    #[error("pod {0} has finished")]
    Finished(ObjectName),
    /// Policies are about pods.
    #[error("neither end is a pod")]
    NoPod,
    /// The two cannot talk at all.
    #[error("one end has only an IPv4 address, the other only an IPv6 address")]
    NoFamily,
    /// Nobody sends to it.
    #[error("{0} is an address of pod {1}, which another pod has as well and wins")]
    LostAddress(IpAddr, ObjectName),
}

/// A connection over one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where it comes from; `None` of a pod without address, and of the host.
    pub source: Option<IpAddr>,
    /// Where it goes to, likewise.
    pub destination: Option<IpAddr>,
    /// What the egress of the opener's pod says; `None` where it is none.
    pub egress: Option<Judgement>,
    /// What the ingress of the called pod says; `None` where it is none.
    pub ingress: Option<Judgement>,
}

impl Connection {
    /// Whether both ends allow it.
    pub fn is_allowed(&self) -> bool {
        let ends = [&self.egress, &self.ingress];
        ends.into_iter()
            .flatten()
            .all(|end| end.explanation.allowed)
    }
}

/// What is said of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The pod.
    pub pod: ObjectName,
    /// Why.
    pub explanation: Explanation,
}

/// What two may exchange over one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where it comes from; `None` of a pod without address, and of the host.
    pub source: Option<IpAddr>,
    /// Where it goes to, likewise.
    pub destination: Option<IpAddr>,
    /// What passes at the opener's end; `None` where that is no pod.
    pub egress: Option<Passing>,
    /// What passes at the end that is called, likewise.
    pub ingress: Option<Passing>,
}

impl Reach {
    /// What both ends allow.
    pub fn traffic(&self) -> Traffic {
        let ends = [&self.egress, &self.ingress].into_iter().flatten();
        ends.fold(Traffic::Everything, |all, end| all.and(&end.traffic))
    }
}

/// What passes at one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The pod.
    pub pod: ObjectName,
    /// The policies that isolate it in the direction, by name.
    pub isolated_by: Vec<ObjectName>,
    /// What it may exchange with the other end.
    pub traffic: Traffic,
}

/// One end with what is known of it.
struct Known {
    pod: Option<PodFact>,
    is_host: bool,
    /// None, one, or one of each family.
    addresses: Vec<IpAddr>,
}

impl Resolver {
    /// Judges a packet that opens a connection, over each address family that both have: protocol
    /// (IANA number; 1 stands for ICMP of either family) and destination port. Pods without address
    /// are judged as if they had one that is in no block.
    ///
    /// # Errors
    /// When there is nothing to be judged.
    pub fn connections(
        &self,
        from: &Party,
        to: &Party,
        protocol: u8,
        port: Option<u16>,
    ) -> Result<Vec<Connection>, Unanswerable> {
        let (from, to) = self.both(from, to)?;
        let judge = |pod: &Known, direction, other: &Known, address: Option<IpAddr>| {
            let subject = pod.pod.as_ref()?;
            let end = self.end(subject, direction, other, address);
            let protocol = of_family(protocol, address);
            Some(Judgement {
                pod: subject.name.clone(),
                explanation: self.explain_end(&subject.name, direction, &end, protocol, port),
            })
        };
        let pairs = pairs(&from, &to)?.into_iter();
        let connections = pairs.map(|(source, destination)| Connection {
            source,
            destination,
            egress: judge(&from, Direction::Egress, &to, destination),
            ingress: judge(&to, Direction::Ingress, &from, source),
        });
        Ok(connections.collect())
    }

    /// Everything that two may exchange, over each address family that both have.
    ///
    /// # Errors
    /// When there is nothing to be judged.
    pub fn reach(&self, from: &Party, to: &Party) -> Result<Vec<Reach>, Unanswerable> {
        let (from, to) = self.both(from, to)?;
        let allowed = |pod: &Known, direction, other: &Known, address: Option<IpAddr>| {
            let subject = pod.pod.as_ref()?;
            let end = self.end(subject, direction, other, address);
            let isolating = self.isolating(subject, direction);
            Some(Passing {
                pod: subject.name.clone(),
                isolated_by: isolating.map(|policy| policy.name.clone()).collect(),
                traffic: self.traffic(subject, direction, &end),
            })
        };
        let pairs = pairs(&from, &to)?.into_iter();
        let reaches = pairs.map(|(source, destination)| Reach {
            source,
            destination,
            egress: allowed(&from, Direction::Egress, &to, destination),
            ingress: allowed(&to, Direction::Ingress, &from, source),
        });
        Ok(reaches.collect())
    }

    fn both(&self, from: &Party, to: &Party) -> Result<(Known, Known), Unanswerable> {
        let (from, to) = (self.known(from)?, self.known(to)?);
        if from.pod.is_none() && to.pod.is_none() {
            return Err(Unanswerable::NoPod);
        }
        Ok((from, to))
    }

    fn known(&self, party: &Party) -> Result<Known, Unanswerable> {
        let (pod, addresses) = match party {
            Party::Host => (None, Vec::new()),
            Party::Address(address) => {
                let owner = self.facts.owner(*address);
                (owner.map(|owner| self.facts.fact(owner)), vec![*address])
            }
            Party::Pod(name) => {
                let no_such = || Unanswerable::NoSuchPod(name.clone());
                let id = self.facts.pod_id(name).ok_or_else(no_such)?;
                let pod = self.facts.pod(name).ok_or_else(no_such)?;
                if pod.host_network {
                    return Err(Unanswerable::HostNetwork(name.clone()));
                }
                if pod.finished {
                    return Err(Unanswerable::Finished(name.clone()));
                }
                let fact = self.facts.fact(pod);
                let own: Vec<_> = self.facts.addresses_of(id).collect();
                if let (true, Some(lost)) = (own.is_empty(), fact.addresses.first()) {
                    return Err(Unanswerable::LostAddress(*lost, name.clone()));
                }
                (Some(fact), own)
            }
        };
        Ok(Known {
            pod,
            is_host: *party == Party::Host,
            addresses,
        })
    }

    fn end<'a>(
        &self,
        subject: &PodFact,
        direction: Direction,
        other: &'a Known,
        address: Option<IpAddr>,
    ) -> End<'a> {
        let is_hosts = || {
            let known = address.and_then(|address| self.facts.addresses.find(address));
            direction == Direction::Egress && known.is_some_and(|known| known.host)
        };
        let name = match &other.pod {
            _ if other.is_host || is_hosts() => PeerName::Host,
            Some(pod) if pod.name == subject.name => PeerName::Itself,
            Some(pod) => PeerName::Pod(pod.name.clone()),
            None => PeerName::Outside,
        };
        End {
            name,
            pod: other.pod.as_ref(),
            address,
        }
    }
}

/// Source and destination.
type Pair = (Option<IpAddr>, Option<IpAddr>);

/// The addresses that can talk to each other: those of one family. Who has none talks to each.
fn pairs(from: &Known, to: &Known) -> Result<Vec<Pair>, Unanswerable> {
    let all = |known: &Known| match known.addresses.is_empty() {
        true => vec![None],
        false => known.addresses.iter().copied().map(Some).collect(),
    };
    let (sources, destinations) = (all(from), all(to));
    let mut pairs = Vec::new();
    for source in sources {
        for &destination in &destinations {
            let is_apart =
                |(source, destination): (IpAddr, IpAddr)| source.is_ipv4() != destination.is_ipv4();
            if !source.zip(destination).is_some_and(is_apart) {
                pairs.push((source, destination));
            }
        }
    }
    match pairs.is_empty() {
        true => Err(Unanswerable::NoFamily),
        false => Ok(pairs),
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn of_family(protocol: u8, address: Option<IpAddr>) -> u8 {
    match address {
        Some(IpAddr::V6(_)) if protocol == ICMP => ICMPV6,
        _ => protocol,
    }
}
