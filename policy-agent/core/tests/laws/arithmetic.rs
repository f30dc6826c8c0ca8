//! Policy arithmetic: cases 21, 22 and 23 of the semantics.

use policy_common::Direction::{Egress, Ingress};
use policy_core::{
    model::{
        Change, NamespaceFact, PeerMatch, Peers, PortMatch, Ports, Protocol, Requirement, Rule,
        Selector,
    },
    plan::Op,
};

use crate::build::{
    Node, allow, block, container_port, endpoint, labels, name, namespace, pod, pods, policy, tcp,
    with,
};

/// A node with one endpoint, pod a/p at 10.0.0.1, interface 1, and its ingress rules.
fn accepting(rules: Vec<Rule>) -> Node {
    Node::new([
        namespace("a", &[]),
        Change::Pod(pod("a/p", &[], &["10.0.0.1", "fd00::1"])),
        Change::Policy(policy("a/policy", Some(rules), None)),
        endpoint(1, "a/p"),
    ])
}

#[test]
fn case_21_one_cidr_in_two_rules_with_other_exceptions_and_ports() {
    let node = accepting(vec![
        allow(vec![block("10.1.0.0/16", &["10.1.1.0/24"])], tcp(80, 80)),
        allow(vec![block("10.1.0.0/16", &["10.1.2.0/24"])], tcp(443, 443)),
    ]);
    let verdicts = |peer| [node.accepts(peer, 80), node.accepts(peer, 443)];
    assert_eq!(verdicts("10.1.0.1"), [true, true]);
    assert_eq!(verdicts("10.1.1.1"), [false, true]);
    assert_eq!(verdicts("10.1.2.1"), [true, false]);
    assert_eq!(verdicts("10.2.0.1"), [false, false]);
}

#[test]
fn case_21_nested_blocks_add_up() {
    let node = accepting(vec![
        allow(vec![block("10.0.0.0/8", &["10.1.0.0/16"])], tcp(1, 100)),
        allow(vec![block("10.1.2.0/24", &["10.1.2.3/32"])], tcp(50, 200)),
        allow(vec![block("0.0.0.0/0", &["10.1.2.0/25"])], tcp(300, 300)),
    ]);
    let verdicts = |peer| [1, 50, 150, 300].map(|port| node.accepts(peer, port));
    assert_eq!(verdicts("10.9.0.1"), [true, true, false, true]);
    assert_eq!(verdicts("10.1.0.1"), [false, false, false, true]);
    assert_eq!(verdicts("10.1.2.1"), [false, true, true, false]);
    assert_eq!(verdicts("10.1.2.3"), [false, false, false, false]);
    assert_eq!(verdicts("10.1.2.200"), [false, true, true, true]);
    assert_eq!(verdicts("11.0.0.1"), [false, false, false, true]);
}

#[test]
fn case_21_an_exception_equal_to_inside_or_around_another_rules_block() {
    for (except, other) in [
        ("10.1.1.0/24", "10.1.1.0/24"),
        ("10.1.1.128/25", "10.1.1.0/24"),
        ("10.1.0.0/17", "10.1.1.0/24"),
    ] {
        let node = accepting(vec![
            allow(vec![block("10.1.0.0/16", &[except])], tcp(80, 80)),
            allow(vec![block(other, &[])], tcp(443, 443)),
        ]);
        assert!(!node.accepts("10.1.1.129", 80), "inside {except}");
        assert!(node.accepts("10.1.1.129", 443), "inside {other}");
        assert!(node.accepts("10.1.200.1", 80), "outside {except}");
        assert!(!node.accepts("10.1.200.1", 443), "outside {other}");
    }
}

#[test]
fn case_21_an_exception_as_large_as_its_block_leaves_nothing_of_it() {
    let node = accepting(vec![
        allow(vec![block("10.1.0.0/16", &["10.1.0.0/16"])], Ports::All),
        allow(vec![block("10.1.1.0/24", &["10.0.0.0/8"])], Ports::All),
    ]);
    assert!(!node.accepts("10.1.1.1", 80));
    assert!(!node.accepts("10.1.2.1", 80));
}

#[test]
fn case_21_a_block_splits_an_identity() {
    let rule = |net| allow(vec![block(net, &[])], tcp(80, 80));
    let mut node = accepting(vec![allow(
        vec![pods(with(&[("app", "x")]))],
        tcp(443, 443),
    )]);
    for (name, at) in [("a/x", "10.0.0.2"), ("a/y", "10.0.0.3")] {
        node.change(Change::Pod(pod(name, &[("app", "x")], &[at])));
    }
    assert_eq!(
        [node.accepts("10.0.0.2", 80), node.accepts("10.0.0.3", 80)],
        [false, false]
    );
    node.change(Change::Policy(policy(
        "a/more",
        Some(vec![rule("10.0.0.2/31")]),
        None,
    )));
    node.change(Change::Policy(policy(
        "a/most",
        Some(vec![rule("10.0.0.2/32")]),
        None,
    )));
    assert_eq!(
        [node.accepts("10.0.0.2", 80), node.accepts("10.0.0.3", 80)],
        [true, true]
    );
    node.change(Change::PolicyRemoved(name("a/more")));
    assert_eq!(
        [node.accepts("10.0.0.2", 80), node.accepts("10.0.0.3", 80)],
        [true, false]
    );
    assert_eq!(
        [node.accepts("10.0.0.2", 443), node.accepts("10.0.0.3", 443)],
        [true, true]
    );
}

#[test]
fn case_21_mapped_addresses_are_not_ipv4() {
    let node = accepting(vec![allow(vec![block("0.0.0.0/0", &[])], Ports::All)]);
    assert!(node.accepts("10.9.9.9", 80));
    assert!(!node.accepts("::ffff:10.9.9.9", 80));
    let node = accepting(vec![allow(vec![block("::/0", &[])], Ports::All)]);
    assert!(!node.accepts("10.9.9.9", 80));
    assert!(node.accepts("::ffff:10.9.9.9", 80));
}

#[test]
fn case_22_empty_and_absent_lists_at_every_level() {
    let everything = Rule {
        peers: Peers::All,
        ports: Ports::All,
    };
    let nobody = Rule {
        peers: Peers::AnyOf(Vec::new()),
        ports: Ports::All,
    };
    let no_ports = Rule {
        peers: Peers::All,
        ports: Ports::AnyOf(Vec::new()),
    };
    let verdict = |rules| accepting(rules).accepts("192.0.2.1", 80);
    assert!(!verdict(vec![]), "no rule allows nothing");
    assert!(
        verdict(vec![everything.clone()]),
        "no peers and no ports given: all of them"
    );
    assert!(
        !verdict(vec![nobody]),
        "peers that could not be read match nobody"
    );
    assert!(
        !verdict(vec![no_ports]),
        "ports that could not be read match nothing"
    );
    let node = accepting(vec![everything]);
    assert!(node.allows(1, Ingress, "192.0.2.1", 1, None), "ICMP too");
    assert!(
        node.connects("192.0.2.1", 80),
        "the other direction is not isolated"
    );
}

#[test]
fn case_22_a_rule_with_ports_does_not_match_packets_without() {
    let any_tcp = Ports::AnyOf(vec![PortMatch::AnyPort(Protocol::Tcp)]);
    let node = accepting(vec![Rule {
        peers: Peers::All,
        ports: any_tcp,
    }]);
    let from = "192.0.2.1";
    assert!(node.allows(1, Ingress, from, 6, Some(0)));
    assert!(node.allows(1, Ingress, from, 6, None));
    for protocol in [0, 1, 17, 58, 132] {
        assert!(!node.allows(1, Ingress, from, protocol, None), "{protocol}");
        assert!(
            !node.allows(1, Ingress, from, protocol, Some(80)),
            "{protocol}"
        );
    }
}

#[test]
fn case_22_requirements_on_a_missing_key() {
    let key = || "tier".into();
    let value = || vec!["x".into()];
    for (requirement, missing, equal, other) in [
        (Requirement::In(key(), value()), false, true, false),
        (Requirement::NotIn(key(), value()), true, false, true),
        (Requirement::Exists(key()), false, true, true),
        (Requirement::DoesNotExist(key()), true, false, false),
        (Requirement::Never, false, false, false),
    ] {
        let selector = Selector::new([requirement.clone()]);
        let mut node = accepting(vec![allow(vec![pods(selector)], Ports::All)]);
        node.change(Change::Pod(pod("a/missing", &[], &["10.0.0.2"])));
        node.change(Change::Pod(pod("a/equal", &[("tier", "x")], &["10.0.0.3"])));
        node.change(Change::Pod(pod("a/other", &[("tier", "y")], &["10.0.0.4"])));
        let got = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|peer| node.accepts(peer, 80));
        assert_eq!(got, [missing, equal, other], "{requirement:?}");
    }
}

#[test]
fn case_22_one_of_several_policies_isolates_a_direction() {
    let mut node = accepting(vec![]);
    assert!(node.connects("192.0.2.1", 80));
    node.change(Change::Policy(policy("a/egress", None, Some(vec![]))));
    assert!(!node.connects("192.0.2.1", 80));
    let to = allow(vec![block("192.0.2.0/24", &[])], Ports::All);
    node.change(Change::Policy(policy("a/more", None, Some(vec![to]))));
    assert!(node.connects("192.0.2.1", 80));
    assert!(!node.accepts("192.0.2.1", 80));
    node.change(Change::PolicyRemoved(name("a/egress")));
    assert!(
        !node.connects("198.51.100.1", 80),
        "still isolated by the other"
    );
    node.change(Change::PolicyRemoved(name("a/more")));
    assert!(node.connects("198.51.100.1", 80));
}

#[test]
fn case_22_many_ports_and_ranges_with_odd_ends() {
    let odd = (0..200).map(|n| PortMatch::Range(Protocol::Tcp, 2 * n + 1, 2 * n + 1));
    let ranges = [
        PortMatch::Range(Protocol::Tcp, 1001, 1998),
        PortMatch::Range(Protocol::Tcp, 1999, 2003),
        PortMatch::Range(Protocol::Udp, 65535, 65535),
    ];
    let ports = Ports::AnyOf(odd.chain(ranges).collect());
    let node = accepting(vec![allow(vec![block("0.0.0.0/0", &[])], ports)]);
    for port in 0..=2100 {
        let wanted = (port < 400 && port % 2 == 1) || (1001..=2003).contains(&port);
        assert_eq!(node.accepts("192.0.2.1", port), wanted, "{port}");
    }
    assert!(node.allows(1, Ingress, "192.0.2.1", 17, Some(65535)));
    assert!(!node.allows(1, Ingress, "192.0.2.1", 17, Some(65534)));
}

#[test]
fn case_22_thousands_of_peers() {
    let peers = (0..3000_u32).map(|n| block(&format!("100.{}.{}.0/25", n / 256, n % 256), &[]));
    let node = accepting(vec![allow(peers.collect(), tcp(80, 80))]);
    for n in [0, 255, 256, 2999] {
        assert!(node.accepts(&format!("100.{}.{}.1", n / 256, n % 256), 80));
        assert!(!node.accepts(&format!("100.{}.{}.129", n / 256, n % 256), 80));
    }
    assert!(!node.accepts("100.11.184.1", 80));
    let sets = &node.tables.contents().port_sets;
    assert_eq!(sets.len(), 1, "equal sets are stored once");
}

#[test]
fn case_22_a_named_port_means_every_number_of_the_destination() {
    let named = || Ports::AnyOf(vec![PortMatch::Named(Protocol::Tcp, "web".into())]);
    let mut node = accepting(vec![]);
    let peers = vec![pods(Selector::everything()), block("10.0.0.0/8", &[])];
    node.change(Change::Policy(policy(
        "a/egress",
        None,
        Some(vec![allow(peers, named())]),
    )));
    let mut server = pod("a/server", &[], &["10.0.0.2"]);
    server.ports = vec![
        container_port("web", Protocol::Tcp, 8080),
        container_port("web", Protocol::Tcp, 8081),
        container_port("web", Protocol::Udp, 53),
    ];
    node.change(Change::Pod(server.clone()));
    assert_eq!(
        [8080, 8081, 53, 80].map(|port| node.connects("10.0.0.2", port)),
        [true, true, false, false]
    );
    assert!(
        !node.allows(1, Egress, "10.0.0.2", 17, Some(53)),
        "another protocol"
    );
    assert!(
        !node.connects("10.0.0.3", 8080),
        "no pod behind the address"
    );
    server.ports.clear();
    node.change(Change::Pod(server));
    assert!(
        !node.connects("10.0.0.2", 8080),
        "a pod without the name does not match"
    );
}

#[test]
fn case_22_on_ingress_names_resolve_on_the_subject() {
    let web = || Ports::AnyOf(vec![PortMatch::Named(Protocol::Tcp, "web".into())]);
    let mut node = accepting(vec![allow(vec![block("0.0.0.0/0", &[])], web())]);
    for (ifindex, at, number) in [(2, "10.0.0.2", 80), (3, "10.0.0.3", 8080)] {
        let name = format!("a/{ifindex}");
        let mut pod = pod(&name, &[], &[at]);
        pod.ports = vec![container_port("web", Protocol::Tcp, number)];
        node.change(Change::Pod(pod));
        node.change(endpoint(ifindex, &name));
    }
    let verdicts =
        |ifindex| [80, 8080].map(|port| node.allows(ifindex, Ingress, "192.0.2.1", 6, Some(port)));
    assert_eq!(verdicts(1), [false, false]);
    assert_eq!(verdicts(2), [true, false]);
    assert_eq!(verdicts(3), [false, true]);
}

#[test]
fn case_23_names_and_labels_with_one_prefix_do_not_meet() {
    let long = "x".repeat(63);
    let longer = format!("{}y", "x".repeat(62));
    let mut node = Node::new([
        namespace("a", &[("team", &long)]),
        namespace("a-b", &[("team", &longer)]),
        namespace("a.b", &[("team", "x")]),
        Change::Pod(pod("a/p", &[], &["10.0.0.1"])),
        endpoint(1, "a/p"),
    ]);
    for (name, at) in [
        ("a/p-1", "10.0.0.2"),
        ("a-b/p", "10.0.0.3"),
        ("a.b/p", "10.0.0.4"),
    ] {
        node.change(Change::Pod(pod(name, &[("app", &long)], &[at])));
    }
    let peers = |namespaces, selector| PeerMatch::Pods {
        namespaces,
        pods: selector,
    };
    for (peer, wanted) in [
        (peers(None, Selector::everything()), [true, false, false]),
        (
            peers(Some(with(&[("team", &longer)])), with(&[("app", &long)])),
            [false, true, false],
        ),
        (
            peers(Some(with(&[("team", "x")])), Selector::everything()),
            [false, false, true],
        ),
        (
            peers(Some(Selector::everything()), with(&[("app", &longer)])),
            [false, false, false],
        ),
        (
            peers(
                Some(with(&[("kubernetes.io/metadata.name", "a-b")])),
                Selector::everything(),
            ),
            [false, true, false],
        ),
    ] {
        let rules = vec![allow(vec![peer.clone()], Ports::All)];
        node.change(Change::Policy(policy("a/policy", Some(rules), None)));
        let got = ["10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|from| node.accepts(from, 80));
        assert_eq!(got, wanted, "{peer:?}");
    }
}

#[test]
fn a_pod_of_an_unknown_namespace_matches_only_its_own_namespaces_selectors() {
    let own = allow(vec![pods(Selector::everything())], tcp(80, 80));
    let any = PeerMatch::Pods {
        namespaces: Some(Selector::everything()),
        pods: Selector::everything(),
    };
    let mut node = accepting(vec![own, allow(vec![any], tcp(443, 443))]);
    node.change(Change::NamespaceRemoved("a".into()));
    node.change(Change::Pod(pod("a/q", &[], &["10.0.0.2"])));
    let verdicts = |node: &Node| [80, 443].map(|port| node.accepts("10.0.0.2", port));
    assert_eq!(verdicts(&node), [true, false]);
    node.change(Change::Namespace(NamespaceFact {
        name: "a".into(),
        labels: labels(&[("kubernetes.io/metadata.name", "a")]),
    }));
    assert_eq!(verdicts(&node), [true, true]);
}

#[test]
fn pods_of_a_policy_that_says_the_same_share_a_ruleset() {
    let mut node = accepting(vec![allow(vec![block("10.0.0.0/8", &[])], tcp(80, 80))]);
    let same = vec![allow(vec![block("10.0.0.0/8", &[])], tcp(80, 80))];
    node.change(Change::Policy(policy("a/again", Some(same.clone()), None)));
    node.change(Change::Policy(policy("b/other", Some(same), None)));
    node.change(Change::Pod(pod("b/q", &[], &["10.0.0.2"])));
    let ops = node.change(endpoint(2, "b/q"));
    assert!(
        !ops.iter().any(|op| matches!(op, Op::PutRule(..))),
        "{ops:?}"
    );
    let endpoints = &node.tables.contents().endpoints;
    assert_eq!(endpoints[&1].ingress, endpoints[&2].ingress);
}
