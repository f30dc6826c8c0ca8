//! Which endpoints are judged again, and which are left alone.

use policy_core::{
    model::{Change, Ports, Selector},
    plan::{EndpointEntry, Op},
};

use crate::build::{Node, allow, block, endpoint, name, namespace, pod, pods, policy, tcp, with};

fn swaps(ops: &[Op]) -> Vec<(u32, bool)> {
    let entries = ops.iter().filter_map(|op| match op {
        Op::PutEndpoint(EndpointEntry {
            ifindex, new_epoch, ..
        }) => Some((*ifindex, *new_epoch)),
        _ => None,
    });
    entries.collect()
}

/// Two endpoints; the first accepts pods labelled app=x.
fn node() -> Node {
    let rules = vec![allow(vec![pods(with(&[("app", "x")]))], Ports::All)];
    let mut policy = policy("a/policy", Some(rules), None);
    policy.subjects = with(&[("role", "server")]);
    Node::new([
        namespace("a", &[]),
        Change::Pod(pod("a/p", &[("role", "server")], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[], &["10.0.0.2"])),
        endpoint(1, "a/p"),
        endpoint(2, "a/q"),
        Change::Policy(policy),
    ])
}

#[test]
fn a_peer_that_stops_matching_is_judged_again_only_where_it_matters() {
    let mut node = node();
    let ops = node.change(Change::Pod(pod("a/r", &[("app", "x")], &["10.0.0.3"])));
    assert_eq!(swaps(&ops), [(1, true)]);
    let ops = node.change(Change::Pod(pod("a/r", &[("app", "y")], &["10.0.0.3"])));
    assert_eq!(swaps(&ops), [(1, true)]);
    let last = ops.last();
    assert!(
        matches!(last, Some(Op::PutEndpoint(_))),
        "after the addresses: {ops:?}"
    );
}

#[test]
fn a_peer_whose_change_matters_to_nobody_costs_no_write() {
    let mut node = node();
    assert_eq!(
        node.change(Change::Pod(pod("a/r", &[("app", "y")], &["10.0.0.3"]))),
        []
    );
    assert_eq!(
        node.change(Change::Pod(pod("a/r", &[("app", "z")], &["10.0.0.3"]))),
        []
    );
    assert_eq!(node.change(Change::PodRemoved(name("a/r"))), []);
}

#[test]
fn a_policy_that_only_splits_identities_leaves_the_other_endpoints_alone() {
    let mut node = node();
    node.change(Change::Pod(pod("a/r", &[("app", "x")], &["10.0.0.3"])));
    let rules = vec![allow(
        vec![block("10.0.0.0/24", &["10.0.0.3/32"])],
        tcp(80, 80),
    )];
    let mut more = policy("a/more", None, Some(rules));
    more.subjects = Selector::new([policy_core::model::Requirement::DoesNotExist("role".into())]);
    let ops = node.change(Change::Policy(more));
    assert_eq!(swaps(&ops), [(2, true)]);
    let ops = node.change(Change::PolicyRemoved(name("a/more")));
    assert_eq!(swaps(&ops), [(2, true)]);
    let ops = node.resolver.collect();
    assert!(!ops.is_empty());
    assert_eq!(swaps(&ops), []);
}

#[test]
fn an_address_of_the_host_is_judged_again_by_those_that_denied_it() {
    let mut node = node();
    node.change(Change::Policy(policy("a/egress", None, Some(vec![]))));
    let host = Change::HostAddresses(vec!["192.0.2.1".parse().expect("an address")]);
    assert_eq!(swaps(&node.change(host)), [(1, true), (2, true)]);
    assert!(node.connects("192.0.2.1", 80));
    assert_eq!(
        swaps(&node.change(Change::HostAddresses(vec![]))),
        [(1, true), (2, true)]
    );
}

#[test]
fn a_list_of_services_has_those_judged_again_that_are_isolated_in_egress() {
    let mut node = node();
    assert_eq!(swaps(&node.change(Change::Services(1))), []);
    node.change(Change::Policy(policy("a/egress", None, Some(vec![]))));
    let later = |node: &Node| node.tables.contents().endpoints[&1].services_later;
    assert!(later(&node));
    for list in [2, 0, 3] {
        let ops = node.change(Change::Services(list));
        assert_eq!(swaps(&ops), [(1, true), (2, true)], "list {list}");
        assert_eq!(later(&node), list != 0);
        assert_eq!(swaps(&node.change(Change::Services(list))), []);
    }
    let ops = node.change(Change::PolicyRemoved(name("a/egress")));
    assert_eq!(swaps(&ops), [(1, true), (2, true)]);
    assert!(!later(&node), "it asks for no Service");
}

#[test]
fn a_deleted_pod_leaves_an_unknown_endpoint() {
    let mut node = node();
    let ops = node.change(Change::PodRemoved(name("a/q")));
    assert_eq!(swaps(&ops), [(2, true)]);
    assert!(node.tables.contents().endpoints[&2].unknown);
    assert_eq!(node.tables.contents().endpoints[&2].pod_tag, 0);
    assert!(!node.allows(2, policy_common::Direction::Egress, "10.0.0.1", 6, Some(80)));
}
