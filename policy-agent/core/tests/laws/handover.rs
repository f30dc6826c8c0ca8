//! Addresses that change hands, one write at a time.

use policy_core::{
    model::{Change, ObjectName},
    plan::Op,
};

use crate::{
    build::{Node, allow, endpoint, name, pod, pods, policy, tcp, with},
    check_plans,
};

/// Two local pods; each allows pods labelled like the other, but not like itself.
fn node() -> Node {
    let mut first = policy(
        "a/first",
        Some(vec![allow(vec![pods(with(&[("app", "y")]))], tcp(1, 9))]),
        None,
    );
    first.subjects = with(&[("app", "x")]);
    let mut second = policy(
        "a/second",
        Some(vec![allow(
            vec![pods(with(&[("app", "x")]))],
            tcp(1, 65535),
        )]),
        None,
    );
    second.subjects = with(&[("app", "y")]);
    Node::new([
        Change::Policy(first),
        Change::Policy(second),
        endpoint(1, "a/p"),
        endpoint(2, "a/q"),
    ])
}

#[test]
fn a_pod_that_wins_one_address_and_loses_another_in_one_change_has_old_or_new_verdicts() {
    let mut node = node();
    // p claims q's first address in vain and has the second.
    let mut p = pod("a/p", &[("app", "x")], &["10.0.0.1", "fd00::1"]);
    p.started = 1;
    let mut q = pod("a/q", &[("app", "y")], &["10.0.0.1"]);
    q.started = 2;
    for pod in [&p, &q] {
        node.change(Change::Pod(pod.clone()));
    }
    // Now q leaves the first address to p and takes the second one away.
    q.addresses = vec!["fd00::1".parse().expect("an address")];
    let result = check_plans(node.facts, [(Change::Pod(q), false)]);
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn an_address_that_changes_hands_is_replaced_in_one_write() {
    let mut node = node();
    node.change(Change::Pod(pod("a/p", &[("app", "x")], &["10.0.0.1"])));
    let mut q = pod("a/q", &[("app", "y")], &["10.0.0.1"]);
    q.started = 1;
    let ops = node.change(Change::Pod(q));
    let writes = ops
        .iter()
        .filter(|op| matches!(op, Op::PutAddress { .. } | Op::DeleteAddress(_)));
    assert_eq!(writes.count(), 1, "{ops:?}");
}

#[test]
fn deleting_the_loser_of_an_address_leaves_the_winner_alone() {
    let mut node = node();
    let mut winner = pod("a/p", &[("app", "x")], &["10.0.0.1"]);
    winner.started = 1;
    node.change(Change::Pod(winner));
    node.change(Change::Pod(pod("a/q", &[("app", "y")], &["10.0.0.1"])));
    let conflicts = node.resolver.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].winner, name("a/p"));
    assert_eq!(conflicts[0].losers, [name("a/q")]);

    let ops = node.change(Change::PodRemoved(name("a/q")));
    let written = ops
        .iter()
        .any(|op| matches!(op, Op::PutAddress { .. } | Op::DeleteAddress(_)));
    assert!(!written, "{ops:?}");
    assert_eq!(node.resolver.conflicts(), []);
    let address = "10.0.0.1".parse().expect("an address");
    assert_eq!(
        node.resolver.pod_at(address),
        Some(&ObjectName::new("a", "p"))
    );
}
