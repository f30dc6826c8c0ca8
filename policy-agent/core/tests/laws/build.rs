//! Facts in few words, and a resolver with its tables side by side, for tests with names.
#![expect(
    clippy::unwrap_used,
    reason = "literals that do not parse must stop the tests"
)]

use std::net::IpAddr;

use policy_common::{Direction, EndpointId};
use policy_core::{
    laws::{Facts, Oracle, Tables},
    model::{
        Change, ContainerPort, EndpointFact, IpBlock, NamespaceFact, ObjectName, Peer, PeerMatch,
        Peers, PodFact, PolicyFact, PortMatch, Ports, Protocol, Requirement, Rule, Selector,
    },
    plan::Op,
    resolve::Resolver,
};

/// `namespace/name`.
pub(crate) fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> policy_core::model::Labels {
    let pairs = pairs.iter();
    pairs.map(|&(k, v)| (k.into(), v.into())).collect()
}

/// A selector of `matchLabels`.
pub(crate) fn with(pairs: &[(&str, &str)]) -> Selector {
    let pairs = pairs.iter();
    Selector::new(pairs.map(|&(key, value)| Requirement::In(key.into(), vec![value.into()])))
}

pub(crate) fn namespace(name: &str, pairs: &[(&str, &str)]) -> Change {
    let mut labels = labels(pairs);
    labels.insert("kubernetes.io/metadata.name".into(), name.into());
    Change::Namespace(NamespaceFact {
        name: name.into(),
        labels,
    })
}

/// A running pod.
pub(crate) fn pod(text: &str, pairs: &[(&str, &str)], addresses: &[&str]) -> PodFact {
    PodFact {
        name: name(text),
        uid: "u".into(),
        labels: labels(pairs),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: Vec::new(),
        host_network: false,
        finished: false,
        running: true,
        started: 0,
        ..PodFact::default()
    }
}

pub(crate) fn container_port(name: &str, protocol: Protocol, number: u16) -> ContainerPort {
    ContainerPort {
        name: name.into(),
        protocol,
        number,
    }
}

pub(crate) fn endpoint(ifindex: u32, pod: &str) -> Change {
    Change::Endpoint(EndpointFact {
        ifindex,
        id: EndpointId(ifindex as u16),
        bridge: None,
        pod: Some(name(pod)),
        ..EndpointFact::default()
    })
}

/// A policy that selects every pod of its namespace.
pub(crate) fn policy(
    text: &str,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) -> PolicyFact {
    PolicyFact {
        name: name(text),
        subjects: Selector::everything(),
        ingress,
        egress,
    }
}

pub(crate) fn block(cidr: &str, except: &[&str]) -> PeerMatch {
    PeerMatch::Block(IpBlock {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|net| net.parse().unwrap()).collect(),
    })
}

/// Pods of the policy's namespace.
pub(crate) fn pods(selector: Selector) -> PeerMatch {
    PeerMatch::Pods {
        namespaces: None,
        pods: selector,
    }
}

pub(crate) fn allow(peers: Vec<PeerMatch>, ports: Ports) -> Rule {
    Rule {
        peers: Peers::AnyOf(peers),
        ports,
    }
}

pub(crate) fn tcp(first: u16, last: u16) -> Ports {
    Ports::AnyOf(vec![PortMatch::Range(Protocol::Tcp, first, last)])
}

/// A resolver and the tables that its plans make, checked against the specification throughout.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) facts: Facts,
    pub(crate) resolver: Resolver,
    pub(crate) tables: Tables,
}

impl Node {
    pub(crate) fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut node = Self::default();
        for change in changes {
            node.change(change);
        }
        node
    }

    /// Applies and commits one change; returns the operations.
    pub(crate) fn change(&mut self, change: Change) -> Vec<Op> {
        self.facts.apply(&change);
        self.resolver.apply(change);
        let ops = self.resolver.commit();
        ops.iter().for_each(|op| self.tables.execute(op));
        assert_eq!(self.tables.problems(), &[] as &[String]);
        ops
    }

    /// The verdict of the tables; must be the specification's.
    pub(crate) fn allows(
        &self,
        ifindex: u32,
        direction: Direction,
        peer: &str,
        protocol: u8,
        port: Option<u16>,
    ) -> bool {
        let peer = Peer::Address(peer.parse::<IpAddr>().unwrap());
        let got = self
            .tables
            .verdict(ifindex, direction, peer, protocol, port);
        let oracle = Oracle::new(&self.facts);
        let want = oracle.allows_interface(direction, ifindex, peer, protocol, port);
        assert_eq!(got, want, "{direction:?} {peer:?} {protocol} {port:?}");
        got
    }

    /// TCP to the endpoint of interface 1.
    pub(crate) fn accepts(&self, peer: &str, port: u16) -> bool {
        self.allows(1, Direction::Ingress, peer, 6, Some(port))
    }

    /// TCP from the endpoint of interface 1.
    pub(crate) fn connects(&self, peer: &str, port: u16) -> bool {
        self.allows(1, Direction::Egress, peer, 6, Some(port))
    }
}
