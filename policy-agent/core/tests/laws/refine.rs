//! Identities that get finer or coarser: which addresses that writes.

use policy_core::{
    model::{Change, Ports},
    plan::Op,
};

use crate::build::{Node, allow, endpoint, name, namespace, pod, pods, policy, with};

/// A policy of namespace a: pods with the role accept pods with the label.
fn accepts(text: &str, role: &str, label: (&str, &str)) -> Change {
    let rules = vec![allow(vec![pods(with(&[label]))], Ports::All)];
    let mut policy = policy(text, Some(rules), None);
    policy.subjects = with(&[("role", role)]);
    Change::Policy(policy)
}

/// Interface 1 accepts the pods r and s, labelled app=x.
fn node() -> Node {
    Node::new([
        namespace("a", &[]),
        Change::Pod(pod("a/p", &[("role", "first")], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[("role", "second")], &["10.0.0.2"])),
        Change::Pod(pod(
            "a/r",
            &[("app", "x"), ("tier", "y"), ("one", "")],
            &["10.0.0.3", "fd00::3"],
        )),
        Change::Pod(pod("a/s", &[("app", "x"), ("tier", "y")], &["10.0.0.4"])),
        endpoint(1, "a/p"),
        endpoint(2, "a/q"),
        accepts("a/first", "first", ("app", "x")),
    ])
}

fn written(ops: &[Op]) -> Vec<String> {
    let written = ops.iter().filter_map(|op| match op {
        Op::PutAddress { address, .. } => Some(address.to_string()),
        Op::DeleteAddress(address) => Some(format!("-{address}")),
        _ => None,
    });
    let mut written: Vec<_> = written.collect();
    written.sort();
    written
}

fn collect(node: &mut Node) -> Vec<Op> {
    let ops = node.resolver.collect();
    ops.iter().for_each(|op| node.tables.execute(op));
    assert_eq!(node.tables.problems(), &[] as &[String]);
    ops
}

fn second_accepts(node: &Node, peer: &str) -> bool {
    let direction = policy_common::Direction::Ingress;
    node.allows(2, direction, peer, 6, Some(80)) && node.accepts(peer, 80)
}

#[test]
fn a_term_that_holds_for_all_pods_of_an_identity_writes_no_address() {
    let mut node = node();
    let ops = node.change(accepts("a/second", "second", ("tier", "y")));
    assert_eq!(written(&ops), [] as [&str; 0], "{ops:?}");
    for peer in ["10.0.0.3", "fd00::3", "10.0.0.4"] {
        assert!(second_accepts(&node, peer), "{peer}");
    }

    node.change(Change::PolicyRemoved(name("a/second")));
    let ops = collect(&mut node);
    assert_eq!(written(&ops), [] as [&str; 0], "{ops:?}");
    assert!(node.accepts("10.0.0.3", 80) && !node.accepts("10.0.0.2", 80));
}

#[test]
fn a_term_that_holds_for_some_pods_of_an_identity_writes_only_their_addresses() {
    let mut node = node();
    let ops = node.change(accepts("a/second", "second", ("one", "")));
    assert_eq!(written(&ops), ["10.0.0.3", "fd00::3"]);
    assert!(second_accepts(&node, "10.0.0.3") && second_accepts(&node, "fd00::3"));
    assert!(!second_accepts(&node, "10.0.0.4"));

    node.change(Change::PolicyRemoved(name("a/second")));
    assert_eq!(written(&collect(&mut node)), ["10.0.0.3", "fd00::3"]);
    assert!(node.accepts("10.0.0.3", 80) && node.accepts("10.0.0.4", 80));
}

#[test]
fn the_last_term_of_a_pod_leaves_no_entry_behind() {
    let mut node = node();
    node.change(Change::PolicyRemoved(name("a/first")));
    let ops = collect(&mut node);
    assert_eq!(written(&ops), ["-10.0.0.3", "-10.0.0.4", "-fd00::3"]);
}

#[test]
fn a_term_that_moves_no_pod_but_is_asked_for_again_starts_anew() {
    let mut node = node();
    let second = accepts("a/second", "second", ("one", ""));
    node.change(second.clone());
    node.change(Change::PolicyRemoved(name("a/second")));
    // Before the collection: the identities are still the fine ones.
    let ops = node.change(second);
    assert_eq!(written(&ops), [] as [&str; 0], "{ops:?}");
    assert!(second_accepts(&node, "10.0.0.3") && !second_accepts(&node, "10.0.0.4"));
}
