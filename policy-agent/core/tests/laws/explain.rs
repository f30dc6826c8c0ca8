//! What `explain` says is what the tables do.

use std::net::IpAddr;

use policy_common::Direction;
use policy_core::{
    laws::{
        Oracle,
        probe::{ask, probes},
        strategies::facts,
    },
    model::{Change, Lack, ObjectName, Peer, PeerMatch, Peers, PodFact, Ports, Rule, Selector},
    resolve::{Class, Judgement, Party, PeerName, Question, Reach, Unanswerable, regions},
};
use proptest::prelude::*;

use crate::{
    build::{Node, allow, block, endpoint, name, namespace, pod, pods, policy, tcp, with},
    compile,
};

#[test]
fn the_policies_and_rules_that_decide_are_named() {
    let node = Node::new([
        Change::Pod(pod("a/p", &[], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[("app", "x")], &["10.0.0.2"])),
        endpoint(1, "a/p"),
        Change::Policy(policy("a/deny", Some(vec![]), None)),
        Change::Policy(policy(
            "a/web",
            Some(vec![
                allow(vec![block("192.0.2.0/24", &[])], Ports::All),
                allow(vec![pods(with(&[("app", "x")]))], tcp(80, 80)),
            ]),
            None,
        )),
    ]);
    let endpoint = node.resolver.endpoint(1).expect("the endpoint");
    assert_eq!(endpoint.ingress, [name("a/deny"), name("a/web")]);
    assert_eq!(endpoint.egress, []);
    let pod = name("a/p");
    let question = |port| Question {
        pod: &pod,
        direction: Direction::Ingress,
        peer: Peer::Address("10.0.0.2".parse().expect("an address")),
        protocol: 6,
        port: Some(port),
    };
    let allowed = node.resolver.explain(question(80));
    assert!(allowed.allowed);
    assert_eq!(allowed.peer, PeerName::Pod(name("a/q")));
    assert_eq!(allowed.isolated_by, [name("a/deny"), name("a/web")]);
    assert_eq!(allowed.allowed_by.len(), 1);
    assert_eq!(allowed.allowed_by[0].policy, name("a/web"));
    assert_eq!(allowed.allowed_by[0].rule, 1);
    assert_eq!(allowed.allowed_by[0].field(), "spec.ingress[1]");
    assert_eq!(allowed.nearest, None);
    let denied = node.resolver.explain(question(81));
    assert!(!denied.allowed);
    assert_eq!(denied.allowed_by, []);
}

/// What the nearest rule lacks, in words, for TCP port 80 from one pod to another.
fn lacking(change: impl FnOnce(&mut PodFact), peers: Peers, ports: Ports) -> Vec<String> {
    let mut client = pod("b/q", &[("app", "x")], &["10.0.0.2"]);
    change(&mut client);
    let node = Node::new([
        namespace("a", &[]),
        namespace("b", &[("team", "red")]),
        Change::Pod(pod("a/p", &[], &["10.0.0.1"])),
        Change::Pod(client),
        Change::Policy(policy("a/web", Some(vec![Rule { peers, ports }]), None)),
    ]);
    let parties = ["b/q", "a/p"].map(|text| Party::Pod(name(text)));
    let [from, to] = &parties;
    let judged = node
        .resolver
        .connections(from, to, 6, Some(80))
        .expect("pods");
    let ingress = judged[0].ingress.as_ref().expect("a pod");
    let nearest = ingress.explanation.nearest.as_ref();
    let lacks = nearest.map(|nearest| nearest.lacks.iter().map(Lack::to_string).collect());
    lacks.unwrap_or_default()
}

#[test]
fn of_a_rule_that_almost_allows_it_is_said_what_it_lacks() {
    let red = || Some(with(&[("team", "red")]));
    let of = |namespaces: Option<Selector>, pods: &[(&str, &str)]| PeerMatch::Pods {
        namespaces,
        pods: with(pods),
    };
    let any = |peers: Vec<PeerMatch>| Peers::AnyOf(peers);
    let as_is = |_: &mut PodFact| {};
    for (peers, ports, lacks) in [
        (any(vec![of(red(), &[("app", "x")])]), tcp(80, 80), &[][..]),
        (
            any(vec![of(red(), &[("app", "x")])]),
            tcp(81, 90),
            &["it allows TCP 81-90 only"],
        ),
        (
            any(vec![of(red(), &[("app", "y"), ("tier", "1")])]),
            Ports::All,
            &[
                "pod label: wants app=y, has \"x\"",
                "pod label: wants tier=1, has none",
            ],
        ),
        (
            any(vec![of(Some(with(&[("team", "blue")])), &[])]),
            Ports::All,
            &["namespace label: wants team=blue, has \"red\""],
        ),
        (
            any(vec![of(None, &[("app", "x")])]),
            Ports::All,
            &["it allows pods of namespace a, not of b"],
        ),
        // Of several peers the one that lacks least.
        (
            any(vec![
                of(None, &[("app", "y")]),
                block("10.0.0.0/24", &["10.0.0.0/30"]),
            ]),
            Ports::All,
            &["10.0.0.0/30 is excepted from 10.0.0.0/24"],
        ),
        (
            any(vec![block("10.1.0.0/16", &[])]),
            Ports::AnyOf(vec![]),
            &[
                "10.0.0.2 is not in 10.1.0.0/16",
                "none of its ports can be read",
            ],
        ),
        (any(vec![]), Ports::All, &["none of its peers can be read"]),
    ] {
        assert_eq!(lacking(as_is, peers, ports), lacks);
    }
    let block = || any(vec![block("10.0.0.0/24", &[])]);
    let without_address = |pod: &mut PodFact| pod.addresses.clear();
    assert_eq!(
        lacking(without_address, block(), Ports::All),
        ["it allows 10.0.0.0/24, and the address is not known"]
    );
}

#[test]
fn what_cannot_be_judged_is_said() {
    let with = |change: fn(&mut PodFact), text: &str, address: &str| {
        let mut pod = pod(text, &[], &[address]);
        change(&mut pod);
        Change::Pod(pod)
    };
    let node = Node::new([
        with(|_| (), "a/p", "10.0.0.1"),
        with(|_| (), "a/six", "fd00::1"),
        with(|pod| pod.host_network = true, "a/host", "192.0.2.1"),
        with(|pod| pod.finished = true, "a/done", "10.0.0.2"),
        with(|pod| pod.running = false, "a/late", "10.0.0.1"),
    ]);
    let pod = |text: &str| Party::Pod(name(text));
    let outside = Party::Address("198.51.100.1".parse().expect("an address"));
    let ask = |from: &Party, to: &Party| node.resolver.connections(from, to, 6, Some(80)).err();
    for (from, to, answer) in [
        (
            pod("a/p"),
            pod("a/none"),
            Unanswerable::NoSuchPod(name("a/none")),
        ),
        (
            pod("a/host"),
            pod("a/p"),
            Unanswerable::HostNetwork(name("a/host")),
        ),
        (
            pod("a/p"),
            pod("a/done"),
            Unanswerable::Finished(name("a/done")),
        ),
        (outside.clone(), Party::Host, Unanswerable::NoPod),
        (pod("a/six"), outside.clone(), Unanswerable::NoFamily),
        (
            outside.clone(),
            pod("a/late"),
            Unanswerable::LostAddress("10.0.0.1".parse().expect("one"), name("a/late")),
        ),
    ] {
        assert_eq!(ask(&from, &to), Some(answer));
    }
    assert_eq!(ask(&outside, &pod("a/p")), None);
    assert_eq!(ask(&Party::Host, &pod("a/p")), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_explanation_agrees_with_the_tables(facts in facts()) {
        let (resolver, tables) = compile(&facts);
        for probe in probes() {
            let endpoint = facts.endpoints.iter().find(|fact| fact.ifindex == probe.ifindex);
            let Some(pod) = endpoint.and_then(|fact| fact.pod.as_ref()) else { continue };
            let explanation = resolver.explain(Question {
                pod,
                direction: probe.direction,
                peer: probe.peer,
                protocol: probe.protocol,
                port: probe.port,
            });
            let kept = resolver.policies_of(probe.ifindex, probe.direction);
            prop_assert_eq!(&*kept, &*explanation.isolated_by, "{:?}", probe);
            prop_assert_eq!(explanation.allowed, ask(&tables, &probe), "{:?} {:?}", probe, explanation);
            // A rule that allows it lacks nothing, and one that does not lacks something.
            let lacks = explanation.nearest.map(|nearest| nearest.lacks.len());
            prop_assert_ne!(lacks, Some(0));
        }
    }

    #[test]
    fn both_ends_of_a_connection_are_judged_as_each_alone_and_ports_are_what_passes(facts in facts()) {
        let (resolver, _) = compile(&facts);
        let oracle = Oracle::new(&facts);
        let named = facts.pods.iter().map(|pod| Party::Pod(pod.name.clone()));
        let addresses = ["10.0.0.9", "192.168.0.77", "2001:db8::1"];
        let outside = addresses.map(|text| Party::Address(text.parse().expect("an address")));
        let parties: Vec<Party> = named.chain(outside).collect();
        for from in &parties {
            for to in &parties {
                let Ok(reaches) = resolver.reach(from, to) else {
                    prop_assert!(resolver.connections(from, to, 6, Some(80)).is_err());
                    continue;
                };
                for (protocol, port) in [(6, Some(80)), (6, Some(8080)), (17, Some(80)), (1, None)] {
                    let judged = resolver.connections(from, to, protocol, port);
                    let judged = judged.expect("what has a reach can be judged");
                    prop_assert_eq!(judged.len(), reaches.len());
                    for (connection, reach) in judged.iter().zip(&reaches) {
                        let (source, destination) = (connection.source, connection.destination);
                        prop_assert_eq!((source, destination), (reach.source, reach.destination));
                        prop_assert_eq!(
                            reach.traffic().contains(protocol, port),
                            connection.is_allowed(),
                            "{:?} {:?}", connection, reach
                        );
                        let Some((source, destination)) = source.zip(destination) else { continue };
                        let allows = |direction, end: &Option<Judgement>, peer| {
                            end.as_ref().is_none_or(|end| {
                                oracle.allows(direction, &end.pod, Peer::Address(peer), protocol, port)
                            })
                        };
                        let expected = allows(Direction::Egress, &connection.egress, destination)
                            && allows(Direction::Ingress, &connection.ingress, source);
                        prop_assert_eq!(connection.is_allowed(), expected, "{:?}", connection);
                    }
                }
            }
        }
    }

    #[test]
    fn of_the_pods_of_one_class_the_same_is_said(facts in facts()) {
        let (resolver, _) = compile(&facts);
        let classes = resolver.classes();
        let said = |from: &ObjectName, to: &ObjectName| {
            let parties = [from, to].map(|name| Party::Pod(name.clone()));
            let reaches = resolver.reach(&parties[0], &parties[1]).ok()?;
            let family = |reach: &Reach| reach.destination.map(|address| address.is_ipv4());
            Some(reaches.iter().map(|reach| (family(reach), reach.traffic())).collect::<Vec<_>>())
        };
        let distinct = |from: &Class, to: &Class| {
            let pairs = from.pods.iter().flat_map(|from| to.pods.iter().map(move |to| (from, to)));
            pairs.filter(|(from, to)| from != to).map(|(from, to)| said(from, to)).collect::<Vec<_>>()
        };
        for from in &classes {
            for to in &classes {
                let mut answers = distinct(from, to);
                answers.dedup();
                prop_assert!(answers.len() <= 1, "{:?} {:?}: {:?}", from, to, answers);
            }
        }
    }
}

#[test]
fn the_world_outside_falls_into_the_regions_that_blocks_make() {
    let blocks = [
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.128.0.0/9",
        "192.0.2.0/30",
        "fd00::/64",
    ];
    let blocks = blocks.map(|block| block.parse().expect("a block"));
    let pods = ["192.0.2.0", "192.0.2.1"].map(|pod| pod.parse::<IpAddr>().expect("an address"));
    let found = regions(&blocks.into(), |address| pods.contains(&address));
    let found: Vec<_> = found
        .iter()
        .map(|region| format!("{} {}", region.block, region.example))
        .collect();
    // Of the first nothing is left beside its halves.
    assert_eq!(
        found,
        [
            "10.0.0.0/9 10.0.0.0",
            "10.128.0.0/9 10.128.0.0",
            "192.0.2.0/30 192.0.2.2",
            "fd00::/64 fd00::",
            "0.0.0.0/0 0.0.0.0",
            "::/0 ::",
        ]
    );
}
