//! Random small clusters, and changes of them.
//!
//! Few names, addresses and ports, so that everything meets everything.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "literals that do not parse must stop the tests"
)]

use std::{net::IpAddr, sync::Arc};

use policy_common::EndpointId;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::oracle::Facts;
use crate::model::{
    Change, ContainerPort, EndpointFact, IpBlock, Labels, NamespaceFact, ObjectName, PeerMatch,
    Peers, PodFact, PolicyFact, PortMatch, Ports, Protocol, Requirement, Rule, Selector,
};

/// Names that are prefixes of each other, with dots and dashes.
pub const NAMESPACES: [&str; 3] = ["a", "a-b", "b"];
/// Names of pods.
pub const PODS: [&str; 4] = ["p", "p-1", "p.1", "q"];
/// Interfaces of endpoints.
pub const INTERFACES: std::ops::RangeInclusive<u32> = 1..=4;
/// IPv4 addresses of pods.
pub const V4: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.1.1"];
/// IPv6 addresses of pods.
pub const V6: [&str; 4] = ["fd00::1", "fd00::2", "fd00::3", "fd00::1:1"];
const NETS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.0/30",
    "10.0.0.2/31",
    "10.0.0.2/32",
    "192.168.0.0/16",
    "192.168.0.0/30",
    "::/0",
    "fd00::/64",
    "fd00::2/127",
    "fd00::2/128",
    "::ffff:0:0/96",
    "2001:db8::/32",
];

fn arc(text: &str) -> Arc<str> {
    text.into()
}

/// The address of a text.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Few keys, few values.
pub fn labels() -> impl Strategy<Value = Labels> {
    vec(
        (select(vec!["app", "tier"]), select(vec!["x", "y", "x-y"])),
        0..3,
    )
    .prop_map(|pairs| {
        let pairs = pairs.into_iter();
        pairs.map(|(key, value)| (arc(key), arc(value))).collect()
    })
}

/// Matches some of [`labels`].
pub fn selector() -> impl Strategy<Value = Selector> {
    let key = || select(vec!["app", "tier", "none"]).prop_map(arc);
    let values = || vec(select(vec!["x", "y", "x-y"]).prop_map(arc), 1..3);
    let requirement = prop_oneof![
        6 => (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        2 => (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        1 => key().prop_map(Requirement::Exists),
        1 => key().prop_map(Requirement::DoesNotExist),
    ];
    prop_oneof![
        2 => Just(Selector::everything()),
        1 => select(NAMESPACES.to_vec()).prop_map(|name| Selector::new([
            Requirement::In(arc("kubernetes.io/metadata.name"), vec![arc(name)])
        ])),
        8 => vec(requirement, 1..3).prop_map(Selector::new),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        4 => Just(Protocol::Tcp),
        1 => Just(Protocol::Udp),
        1 => Just(Protocol::Sctp),
    ]
}

fn port_name() -> impl Strategy<Value = Arc<str>> {
    select(vec!["http", "web"]).prop_map(arc)
}

fn port() -> impl Strategy<Value = PortMatch> {
    let range = prop_oneof![
        Just((80, 80)),
        Just((79, 81)),
        Just((81, 1023)),
        Just((1, 65535)),
        Just((65535, 65535)),
    ];
    prop_oneof![
        1 => protocol().prop_map(PortMatch::AnyPort),
        3 => (protocol(), range).prop_map(|(of, (first, last))| PortMatch::Range(of, first, last)),
        3 => (protocol(), port_name()).prop_map(|(of, name)| PortMatch::Named(of, name)),
    ]
}

fn block() -> impl Strategy<Value = PeerMatch> {
    let net = || select(NETS.to_vec()).prop_map(|net| net.parse::<ipnet::IpNet>().unwrap());
    (net(), vec(net(), 0..4)).prop_map(|(cidr, mut except)| {
        except.retain(|net| cidr.contains(net) || net.contains(&cidr));
        except.sort();
        except.dedup();
        PeerMatch::Block(IpBlock { cidr, except })
    })
}

/// A rule over pods and blocks.
pub fn rule() -> impl Strategy<Value = Rule> {
    let pods = (option::of(selector()), selector())
        .prop_map(|(namespaces, pods)| PeerMatch::Pods { namespaces, pods });
    let peers = prop_oneof![
        1 => Just(Peers::All),
        6 => vec(prop_oneof![3 => pods, 2 => block()], 0..4).prop_map(Peers::AnyOf),
    ];
    let ports = prop_oneof![
        1 => Just(Ports::All),
        4 => vec(port(), 0..3).prop_map(Ports::AnyOf),
    ];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

/// A policy of one of nine names.
pub fn policy() -> impl Strategy<Value = PolicyFact> {
    let rules = || option::weighted(0.7, vec(rule(), 0..3));
    let name = (select(NAMESPACES.to_vec()), select(vec!["1", "2", "3"]));
    (name, selector(), rules(), rules()).prop_map(
        |((namespace, name), subjects, ingress, egress)| PolicyFact {
            name: ObjectName::new(namespace, name),
            subjects,
            ingress,
            egress,
        },
    )
}

fn pod_name() -> impl Strategy<Value = ObjectName> {
    (select(NAMESPACES.to_vec()), select(PODS.to_vec()))
        .prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

/// At most one address of each family.
pub fn pod() -> impl Strategy<Value = PodFact> {
    let declared = (port_name(), protocol(), select(vec![80, 81, 8080])).prop_map(
        |(name, protocol, number)| ContainerPort {
            name,
            protocol,
            number,
        },
    );
    (
        (pod_name(), select(vec!["", "u1", "u2"])),
        labels(),
        option::weighted(0.8, select(V4.to_vec())),
        option::weighted(0.5, select(V6.to_vec())),
        vec(declared, 0..3),
        (
            prop::bool::weighted(0.05),
            prop::bool::weighted(0.05),
            prop::bool::weighted(0.9),
            0..3_i64,
            prop::bool::weighted(0.05),
        ),
    )
        .prop_map(|((name, uid), labels, v4, v6, ports, flags)| PodFact {
            name,
            uid: arc(uid),
            labels,
            addresses: v4.into_iter().chain(v6).map(address).collect(),
            ports,
            host_network: flags.0,
            finished: flags.1,
            running: flags.2,
            started: flags.3,
            node: arc(""),
            unreadable: flags.4,
            terminating: false,
        })
}

/// A cluster of one namespace in which every pod is an endpoint, and changes in which these pods
/// fight for few addresses.
pub fn handovers() -> impl Strategy<Value = (Facts, Vec<Change>)> {
    let local = || {
        let at = (
            option::weighted(0.8, select(V4[..3].to_vec())),
            option::weighted(0.6, select(V6[..3].to_vec())),
        );
        (pod(), at).prop_map(|(mut pod, (v4, v6))| {
            pod.name.namespace = arc("a");
            pod.addresses = v4.into_iter().chain(v6).map(address).collect();
            (pod.finished, pod.host_network) = (false, false);
            pod
        })
    };
    let policies = vec(policy(), 2..6);
    (vec(local(), 4..8), policies, vec(local(), 1..10)).prop_map(|(pods, policies, moves)| {
        let mut facts = Facts::default();
        for (ifindex, name) in INTERFACES.zip(PODS) {
            facts.apply(&Change::Endpoint(EndpointFact {
                ifindex,
                id: EndpointId(ifindex as u16),
                bridge: None,
                pod: Some(ObjectName::new("a", name)),
                ..EndpointFact::default()
            }));
        }
        for mut policy in policies {
            policy.name.namespace = arc("a");
            facts.apply(&Change::Policy(policy));
        }
        for pod in pods {
            facts.apply(&Change::Pod(pod));
        }
        (facts, moves.into_iter().map(Change::Pod).collect())
    })
}

fn namespace() -> impl Strategy<Value = NamespaceFact> {
    (select(NAMESPACES.to_vec()), labels()).prop_map(|(name, mut labels)| {
        labels.insert(arc("kubernetes.io/metadata.name"), arc(name));
        NamespaceFact {
            name: arc(name),
            labels,
        }
    })
}

fn endpoint() -> impl Strategy<Value = EndpointFact> {
    let bridge = option::weighted(0.3, Just(9));
    (INTERFACES, option::weighted(0.95, pod_name()), bridge).prop_map(|(ifindex, pod, bridge)| {
        EndpointFact {
            ifindex,
            id: EndpointId(ifindex as u16 + 100),
            bridge,
            pod,
            // Nobody's: what the endpoint sends from while its pod is not known.
            own: ["10.0.0.99", "fd00::99"]
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            ..EndpointFact::default()
        }
    })
}

fn host() -> impl Strategy<Value = Vec<IpAddr>> {
    vec(
        select(vec!["10.0.0.4", "192.168.0.1", "fd00::1:1"]).prop_map(address),
        0..3,
    )
}

/// Any change; many of them change nothing or something already known.
pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => namespace().prop_map(Change::Namespace),
        1 => select(NAMESPACES.to_vec()).prop_map(|name| Change::NamespaceRemoved(arc(name))),
        12 => pod().prop_map(Change::Pod),
        3 => pod_name().prop_map(Change::PodRemoved),
        8 => policy().prop_map(Change::Policy),
        3 => policy().prop_map(|policy| Change::PolicyRemoved(policy.name)),
        6 => endpoint().prop_map(Change::Endpoint),
        1 => INTERFACES.prop_map(Change::EndpointRemoved),
        1 => host().prop_map(Change::HostAddresses),
        1 => (0_u64..3).prop_map(Change::Services),
    ]
}

/// A cluster with something in it.
pub fn facts() -> impl Strategy<Value = Facts> {
    (
        vec(namespace(), 2..5),
        vec(pod(), 3..10),
        vec(policy(), 1..6),
        vec(endpoint(), 2..6),
        host(),
    )
        .prop_map(|(namespaces, pods, policies, endpoints, host)| {
            let mut facts = Facts::default();
            let changes = namespaces.into_iter().map(Change::Namespace);
            let changes = changes.chain(pods.into_iter().map(Change::Pod));
            let changes = changes.chain(policies.into_iter().map(Change::Policy));
            let changes = changes.chain(endpoints.into_iter().map(Change::Endpoint));
            for change in changes.chain([Change::HostAddresses(host)]) {
                facts.apply(&change);
            }
            facts
        })
}
