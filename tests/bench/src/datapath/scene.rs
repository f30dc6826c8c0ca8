//! Tables that come about as in production: facts of a generated cluster through the resolver into
//! a loaded generation.
//!
//! Owns the names and addresses of the cluster. Nothing is attached or pinned; interfaces are
//! numbers that the test seam believes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Result, ensure};
use ipnet::IpNet;
use policy_agent::datapath::{Datapath, LoadOptions, TableSizes, TestOrigin};
use policy_common::{Config, Direction, EndpointId};
use policy_core::{
    model::{
        Change, EndpointFact, IpBlock, NamespaceFact, ObjectName, PeerMatch, Peers, PodFact,
        PolicyFact, PortMatch, Ports, Protocol, Requirement, Rule, Selector,
    },
    resolve::Resolver,
};

use super::frames::{Ends, Family};

/// The port that policies allow.
pub(crate) const OPEN: u16 = 80;
/// A port that they do not.
pub(crate) const SHUT: u16 = 81;
/// The first port of a client.
pub(crate) const CLIENT: u16 = 1_024;
/// Addresses of a block.
pub(crate) const BLOCK_ADDRESSES: u32 = 256;
/// How many peers share their labels.
const PER_APP: u32 = 100;
/// By which packets from other nodes come: no endpoint's interface.
const UPLINK: u32 = 2;

/// The pod of this node that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Policies cover both of its directions.
    Isolated,
    /// No policy selects it.
    Free,
}

/// Everything that makes tables larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Peers that one policy allows, in apps of a hundred.
    pub(crate) peers: u32,
    /// Neighbouring ipBlocks that it allows.
    pub(crate) blocks: u32,
    /// Further policies that select the isolated pod, each with a peer of its own.
    pub(crate) policies: u32,
}

/// A generation with full tables.
pub(crate) struct Scene {
    /// The programs and maps.
    pub(crate) datapath: Datapath,
}

impl Subject {
    const ALL: [Self; 2] = [Self::Isolated, Self::Free];

    const fn number(self) -> u16 {
        match self {
            Self::Isolated => 2,
            Self::Free => 3,
        }
    }

    const fn ifindex(self) -> u32 {
        100 + self.number() as u32
    }

    fn addresses(self) -> [IpAddr; 2] {
        [Family::V4, Family::V6].map(|family| self.address(family))
    }

    fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 0, 0, self.number() as u8).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, self.number()).into(),
        }
    }

    /// Where a packet in a direction comes from, as the seam tells it: the pod, or another node.
    pub(crate) const fn origin(self, direction: Direction) -> TestOrigin {
        TestOrigin {
            ifindex: self.ifindex(),
            ingress_ifindex: match direction {
                Direction::Ingress => UPLINK,
                Direction::Egress => self.ifindex(),
            },
            socket: false,
            foreign_socket: false,
            stamp: 0,
        }
    }

    /// Its connection with the first peer: the peer calls the pod's `port`.
    pub(crate) fn called(self, family: Family, port: u16) -> Ends {
        Ends {
            pod: SocketAddr::new(self.address(family), port),
            peer: SocketAddr::new(peer(family, 0), CLIENT),
        }
    }

    /// Its connection with the first peer: the pod calls the peer's `port`.
    pub(crate) fn calling(self, family: Family, port: u16) -> Ends {
        Ends {
            pod: SocketAddr::new(self.address(family), CLIENT),
            peer: SocketAddr::new(peer(family, 0), port),
        }
    }
}

impl Cluster {
    /// One policy that allows so many peers.
    pub(crate) const fn of_peers(peers: u32) -> Self {
        Self {
            peers,
            blocks: 0,
            policies: 0,
        }
    }

    fn changes(self) -> Vec<Change> {
        let mut changes: Vec<Change> = ["bench", "peers", "tenants", "free"]
            .map(|name| Change::Namespace(namespace(name)))
            .to_vec();
        for subject in Subject::ALL {
            let name = match subject {
                Subject::Isolated => ObjectName::new("bench", "subject"),
                Subject::Free => ObjectName::new("free", "subject"),
            };
            changes.push(Change::Endpoint(EndpointFact {
                ifindex: subject.ifindex(),
                id: EndpointId(subject.number()),
                bridge: None,
                pod: Some(name.clone()),
                ..EndpointFact::default()
            }));
            changes.push(Change::Pod(pod(name, "subject", subject.addresses())));
        }
        for number in 0..self.peers {
            let name = ObjectName::new("peers", format!("peer-{number}"));
            let addresses = Family::ALL.map(|family| peer(family, number));
            changes.push(Change::Pod(pod(name, &app(number / PER_APP), addresses)));
        }
        for number in 0..self.policies {
            let name = ObjectName::new("tenants", format!("tenant-{number}"));
            let addresses = Family::ALL.map(|family| tenant(family, number));
            changes.push(Change::Pod(pod(name, &app(number), addresses)));
        }
        changes.extend(self.facts_of_policies().map(Change::Policy));
        changes
    }

    fn facts_of_policies(self) -> impl Iterator<Item = PolicyFact> {
        let apps = (0..self.peers.div_ceil(PER_APP)).map(|number| pods("peers", &app(number)));
        let blocks = Family::ALL
            .into_iter()
            .flat_map(move |family| (0..self.blocks).map(move |number| block(family, number)));
        let general = policy("general".to_owned(), apps.chain(blocks).collect());
        let own = (0..self.policies).map(|number| {
            let peers = vec![pods("tenants", &app(number))];
            policy(format!("tenant-{number}"), peers)
        });
        std::iter::once(general).chain(own)
    }
}

impl Scene {
    /// Loads a generation and fills it as a fresh agent would.
    ///
    /// # Errors
    /// The kernel refuses the object or a write.
    pub(crate) fn new(cluster: Cluster, config: Config) -> Result<Self> {
        let mut resolver = Resolver::new();
        for change in cluster.changes() {
            resolver.apply(change);
        }
        let mut options = LoadOptions::embedded()?;
        options.config = Config {
            test_seam: 1,
            // The way of an endpoint near its limit is not the one that is measured.
            pod_opened_limit: 1 << 22,
            peer_opened_limit: 1 << 22,
            ..config
        };
        options.sizes = TableSizes::default();
        let mut datapath = Datapath::load(&options, &[])?;
        let failures = datapath.apply(&resolver.commit());
        ensure!(failures.is_empty(), "the tables: {failures:?}");
        datapath.settle()?;
        Ok(Self { datapath })
    }

    /// Forgets every flow; how many there were.
    ///
    /// # Errors
    /// The kernel refuses to read or write the tables.
    pub(crate) fn forget_flows(&mut self) -> Result<usize> {
        Ok(self.datapath.sweep(&BTreeSet::new())?.removed)
    }
}

/// The address of a peer.
pub(crate) fn peer(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a80_0001 + number).into(),
        Family::V6 => v6(0xfd01, u128::from(number) + 1),
    }
}

/// The first address of the neighbouring blocks, each of 256 addresses.
pub(crate) fn first_in_blocks(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x2000_0000).into(),
        Family::V6 => v6(0x2001, 0),
    }
}

fn tenant(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0ac0_0001 + number).into(),
        Family::V6 => v6(0xfd02, u128::from(number) + 1),
    }
}

fn block(family: Family, number: u32) -> PeerMatch {
    let offset = number * BLOCK_ADDRESSES;
    let (address, bits) = match first_in_blocks(family) {
        IpAddr::V4(first) => (Ipv4Addr::from_bits(first.to_bits() + offset).into(), 24),
        IpAddr::V6(first) => (
            Ipv6Addr::from_bits(first.to_bits() + u128::from(offset)).into(),
            120,
        ),
    };
    PeerMatch::Block(IpBlock {
        cidr: IpNet::new_assert(address, bits),
        except: Vec::new(),
    })
}

fn v6(first: u16, rest: u128) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(first) << 112 | rest).into()
}

fn app(number: u32) -> String {
    format!("app-{number}")
}

fn namespace(name: &str) -> NamespaceFact {
    NamespaceFact {
        name: name.into(),
        labels: [("kubernetes.io/metadata.name".into(), name.into())].into(),
    }
}

fn pod(name: ObjectName, app: &str, addresses: [IpAddr; 2]) -> PodFact {
    PodFact {
        uid: Arc::clone(&name.name),
        name,
        labels: [("app".into(), app.into())].into(),
        addresses: addresses.to_vec(),
        ports: Vec::new(),
        host_network: false,
        finished: false,
        running: true,
        started: 1,
        ..PodFact::default()
    }
}

fn pods(namespace: &str, app: &str) -> PeerMatch {
    let is = |key: &str, value: &str| {
        Selector::new([Requirement::In(key.into(), vec![Arc::from(value)])])
    };
    PeerMatch::Pods {
        namespaces: Some(is("kubernetes.io/metadata.name", namespace)),
        pods: is("app", app),
    }
}

/// These peers may call every pod of the namespace on one port, and be called.
fn policy(name: String, peers: Vec<PeerMatch>) -> PolicyFact {
    let ports = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| PortMatch::Range(protocol, OPEN, OPEN))
        .to_vec();
    let rule = Rule {
        peers: Peers::AnyOf(peers),
        ports: Ports::AnyOf(ports),
    };
    PolicyFact {
        name: ObjectName::new("bench", name),
        subjects: Selector::everything(),
        ingress: Some(vec![rule.clone()]),
        egress: Some(vec![rule]),
    }
}
