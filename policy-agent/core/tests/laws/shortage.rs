//! Named cases of tables without room: who is closed, who keeps what, what waits.
#![expect(
    clippy::unwrap_used,
    reason = "literals that do not parse must stop the tests"
)]

use policy_common::Direction;
use policy_core::{
    model::{Change, Peer, PortMatch, Ports, Protocol, Selector},
    plan::{Haste, Room, Short, Table},
    resolve::Resolver,
};

use crate::{
    build::{allow, block, endpoint, name, namespace, pod, pods, policy, tcp, with},
    room::{ENOUGH, Kernel, want},
};

/// Two pods of one namespace: interface 1 is `a/p`, interface 2 is `a/q`.
fn node(changes: impl IntoIterator<Item = Change>) -> Resolver {
    let facts = [
        namespace("a", &[]),
        Change::Pod(pod("a/p", &[("app", "p")], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[("app", "q")], &["10.0.0.2"])),
        endpoint(1, "a/p"),
        endpoint(2, "a/q"),
    ];
    let mut resolver = Resolver::new();
    let facts = facts.into_iter().chain(changes);
    facts.for_each(|change| resolver.apply(change));
    resolver.commit();
    resolver
}

/// A policy by which a pod accepts as many blocks, each on ports of its own.
fn accepts(app: &str, blocks: u8) -> Change {
    let rule = |n: u8| {
        let block = block(&format!("20.0.{n}.0/24"), &[]);
        allow(vec![block], tcp(80, 80 + u16::from(n)))
    };
    let rules = (1..=blocks).map(rule).collect();
    let mut policy = policy(&format!("a/{app}"), Some(rules), None);
    policy.subjects = with(&[("app", app)]);
    Change::Policy(policy)
}

fn rules(rules: usize) -> Room {
    Room { rules, ..ENOUGH }
}

fn accepts_from(kernel: &Kernel, ifindex: u32, peer: &str) -> bool {
    let peer = Peer::Address(peer.parse().unwrap());
    let tables = &kernel.tables;
    tables.verdict(ifindex, Direction::Ingress, peer, 6, Some(80))
}

#[test]
fn a_pod_whose_rules_do_not_fit_is_closed_and_no_other_is() {
    let resolver = node([accepts("p", 40), accepts("q", 3)]);
    let mut kernel = Kernel::new();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    let [
        Short::Rules {
            ifindex: 1,
            kept: false,
            table: Table::Rules,
            ..
        },
    ] = plan.short[..]
    else {
        panic!("{:?}", plan.short);
    };
    assert!(!accepts_from(&kernel, 1, "20.0.1.1"));
    assert!(
        kernel
            .tables
            .verdict(1, Direction::Ingress, Peer::Host, 6, Some(80))
    );
    assert!(accepts_from(&kernel, 2, "20.0.3.1"));
    assert!(!accepts_from(&kernel, 2, "20.0.4.1"));
    // Blocks of rules that are not written make nothing finer.
    assert_eq!(kernel.contents.cidrs.len(), 3);
}

#[test]
fn a_pod_keeps_its_rules_while_others_do_not_fit() {
    let mut resolver = node([accepts("p", 3)]);
    let mut kernel = Kernel::new();
    assert!(
        kernel
            .settle(&want(&resolver), &rules(20))
            .unwrap()
            .is_exact
    );
    resolver.apply(accepts("p", 40));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
    resolver.collect_but(&plan.held);
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(accepts_from(&kernel, 1, "20.0.3.1"));
    assert!(!accepts_from(&kernel, 1, "20.0.4.1"));
    resolver.apply(accepts("p", 5));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    resolver.collect();
    assert!(
        kernel
            .settle(&want(&resolver), &rules(20))
            .unwrap()
            .is_exact
    );
    assert!(accepts_from(&kernel, 1, "20.0.5.1"));
}

#[test]
fn old_rules_go_first_where_old_and_new_have_no_room_together() {
    let mut resolver = node([accepts("p", 12)]);
    let mut kernel = Kernel::new();
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    resolver.apply(accepts("p", 15));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    assert!(accepts_from(&kernel, 1, "20.0.15.1"));
}

/// Larger tables are on their way: who only gets more is not closed meanwhile, who loses something is.
#[test]
fn rules_that_only_allow_more_wait_for_room_and_others_do_not() {
    let mut resolver = node([accepts("p", 12)]);
    let mut kernel = Kernel::with(Haste::Patient);
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    resolver.apply(accepts("p", 15));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
    assert!(accepts_from(&kernel, 1, "20.0.12.1") && !accepts_from(&kernel, 1, "20.0.15.1"));

    resolver.apply(accepts("p", 11));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    assert!(accepts_from(&kernel, 1, "20.0.11.1") && !accepts_from(&kernel, 1, "20.0.12.1"));
}

#[test]
fn what_all_rules_treat_alike_takes_the_room_of_one() {
    let blocks = (1..=40).map(|n| block(&format!("20.0.{n}.0/24"), &[]));
    let rule = allow(blocks.collect(), Ports::All);
    let resolver = node([Change::Policy(policy("a/p", Some(vec![rule]), None))]);
    let mut kernel = Kernel::new();
    let plan = kernel.settle(&want(&resolver), &rules(4)).unwrap();
    assert!(plan.short.is_empty() && !plan.is_exact);
    assert!(accepts_from(&kernel, 1, "20.0.40.1") && !accepts_from(&kernel, 1, "20.0.41.1"));
}

#[test]
fn an_address_without_room_is_nobodys() {
    let rules = vec![allow(vec![pods(Selector::everything())], Ports::All)];
    let resolver = node([Change::Policy(policy("a/all", Some(rules), None))]);
    let mut kernel = Kernel::new();
    let room = Room {
        addresses: 1,
        ..ENOUGH
    };
    let plan = kernel.settle(&want(&resolver), &room).unwrap();
    let [
        Short::Addresses {
            table: Table::AddressesV4,
            first,
            count: 1,
        },
    ] = plan.short[..]
    else {
        panic!("{:?}", plan.short);
    };
    assert_eq!(first, "10.0.0.2".parse::<std::net::IpAddr>().unwrap());
    assert!(accepts_from(&kernel, 2, "10.0.0.1"));
    assert!(!accepts_from(&kernel, 1, "10.0.0.2"));
}

/// Only the addresses of the new pod lead to the ports that its rules name.
#[test]
fn a_pod_that_first_needs_ports_without_room_is_nobodys() {
    let scattered = (40..=80)
        .step_by(2)
        .map(|port| PortMatch::Range(Protocol::Tcp, port, port));
    let policies = [("p", tcp(80, 80)), ("q", Ports::AnyOf(scattered.collect()))];
    let inline = Room {
        port_sets: 0,
        ..ENOUGH
    };
    let trie = Room { ports: 4, ..ENOUGH };
    for ((app, ports), (room, full)) in policies
        .into_iter()
        .zip([(inline, Table::PortSets), (trie, Table::Ports)])
    {
        let peers = vec![pods(with(&[("app", "client")]))];
        let mut policy = policy("a/some", Some(vec![allow(peers, ports)]), None);
        policy.subjects = with(&[("app", app)]);
        let mut resolver = node([Change::Policy(policy)]);
        let mut kernel = Kernel::new();
        assert!(kernel.settle(&want(&resolver), &room).unwrap().is_exact);

        let client = pod("a/client", &[("app", "client")], &["10.0.0.3"]);
        resolver.apply(Change::Pod(client));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &room).unwrap();
        let [
            Short::Addresses {
                table,
                first,
                count: 1,
            },
        ] = plan.short[..]
        else {
            panic!("{:?}", plan.short);
        };
        assert_eq!((table, first.to_string()), (full, "10.0.0.3".to_owned()));
        let ifindex = if app == "p" { 1 } else { 2 };
        assert!(!accepts_from(&kernel, ifindex, "10.0.0.3"));

        kernel.settle(&want(&resolver), &ENOUGH).unwrap();
        assert!(accepts_from(&kernel, ifindex, "10.0.0.3"));
    }
}

/// Else a policy that does not fit would keep others in force that were deleted since.
#[test]
fn what_is_taken_away_does_not_wait_for_room_that_never_comes() {
    for haste in [Haste::Now, Haste::Patient] {
        let mut resolver = node([accepts("p", 3)]);
        let mut kernel = Kernel::with(haste);
        kernel.settle(&want(&resolver), &rules(20)).unwrap();
        let Change::Policy(mut more) = accepts("p", 40) else {
            panic!("a policy");
        };
        more.name = name("a/more");
        more.ingress.as_mut().unwrap().drain(..3);
        resolver.apply(Change::Policy(more));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
        assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
        assert!(accepts_from(&kernel, 1, "20.0.3.1"));

        resolver.apply(Change::PolicyRemoved(name("a/p")));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
        assert!(matches!(plan.short[..], [Short::Rules { kept: false, .. }]));
        assert!(!accepts_from(&kernel, 1, "20.0.3.1"));
    }
}
