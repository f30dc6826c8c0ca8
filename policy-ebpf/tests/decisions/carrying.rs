//! Two generations with flow tables of their own, while the links move from one to the other.
//!
//! The old programs know the old table only; `to_pod` moves first.

use std::{collections::HashMap, mem::swap};

use policy_common::{
    Flow as Entry, FlowState, PortSetId,
    Reason::{self, Allowed, Flow, FlowDenied, Policy},
};

use crate::{
    frames::{ACK, FIN, SYN, TCP, UDP, ip, tcp, udp},
    node::{CLIENT, FRIEND, Node, OWN},
};

/// The same pod under the programs of two generations.
struct Upgrade {
    old: Node,
    new: Node,
    has_to_pod_moved: bool,
    has_from_pod_moved: bool,
}

impl Upgrade {
    fn new() -> Self {
        let upgrade = Self {
            old: Node::new(),
            new: Node::new(),
            has_to_pod_moved: true,
            has_from_pod_moved: false,
        };
        upgrade.new.world.carries.set(true);
        upgrade
    }

    fn sends(&self, frame: &[u8]) -> Reason {
        if self.has_from_pod_moved {
            self.by_new(|node| node.sends(frame))
        } else {
            self.old.sends(frame)
        }
    }

    fn receives(&self, frame: &[u8]) -> Reason {
        if self.has_to_pod_moved {
            self.by_new(|node| node.receives(frame))
        } else {
            self.old.receives(frame)
        }
    }

    /// The table of the old generation is the same for both.
    fn by_new(&self, run: impl FnOnce(&Node) -> Reason) -> Reason {
        let (old, new) = (&self.old.world, &self.new.world);
        let swap_tables = || {
            swap(
                &mut *old.flows_v4.borrow_mut(),
                &mut *new.previous_flows_v4.borrow_mut(),
            );
            swap(
                &mut *old.flows_v6.borrow_mut(),
                &mut *new.previous_flows_v6.borrow_mut(),
            );
        };
        swap_tables();
        let reason = run(&self.new);
        swap_tables();
        reason
    }

    /// The links have moved: what only the old table has is copied, and it is asked no more.
    fn end(&mut self) {
        self.has_from_pod_moved = true;
        let (old, new) = (&self.old.world, &self.new.world);
        new.flows_v4.borrow_mut().extend(&*old.flows_v4.borrow());
        new.flows_v6.borrow_mut().extend(&*old.flows_v6.borrow());
        new.carries.set(false);
    }
}

#[test]
fn a_connection_that_the_pod_opens_meanwhile_is_answered() {
    for family in 0..2 {
        let (pod, peer) = (OWN[family], CLIENT[family]);
        let mut upgrade = Upgrade::new();
        let syn = ip(pod, peer, TCP, &tcp(4000, 80, SYN));
        let answer = ip(peer, pod, TCP, &tcp(80, 4000, SYN | ACK));
        let data = ip(pod, peer, TCP, &tcp(4000, 80, ACK));
        // By the old program, which writes the old table only.
        assert_eq!(upgrade.sends(&syn), Allowed);
        assert_eq!(upgrade.receives(&answer), Flow);
        assert_eq!(upgrade.sends(&data), Flow);
        upgrade.end();
        assert_eq!(upgrade.receives(&answer), Flow);
        assert_eq!(upgrade.sends(&data), Flow);
    }
}

#[test]
fn a_connection_that_a_peer_opens_meanwhile_is_answered() {
    for family in 0..2 {
        let (pod, peer) = (OWN[family], CLIENT[family]);
        let mut upgrade = Upgrade::new();
        // By the new program; the pod's answer by the old one.
        let syn = ip(peer, pod, TCP, &tcp(4000, 80, SYN));
        let answer = ip(pod, peer, TCP, &tcp(80, 4000, SYN | ACK));
        assert_eq!(upgrade.receives(&syn), Allowed);
        assert_eq!(upgrade.sends(&answer), Flow);
        upgrade.end();
        assert_eq!(upgrade.sends(&answer), Flow);
    }
}

#[test]
fn datagrams_that_cross_meanwhile_keep_who_asked() {
    let (pod, peer) = (OWN[0], CLIENT[0]);
    let mut upgrade = Upgrade::new();
    assert_eq!(upgrade.sends(&ip(pod, peer, UDP, &udp(4000, 53))), Allowed);
    // An answer may open a flow, too, as every datagram may: it must not be taken for a question.
    assert_eq!(upgrade.receives(&ip(peer, pod, UDP, &udp(53, 4000))), Flow);
    upgrade.end();
    let flows = upgrade.new.world.flows_v4.borrow();
    let openers: Vec<_> = flows.values().map(|flow| flow.state.opener).collect();
    assert_eq!(openers, [FlowState::OPENED_BY_POD]);
}

#[test]
fn a_flow_that_is_forbidden_meanwhile_stays_forbidden() {
    let (pod, peer) = (OWN[0], CLIENT[0]);
    let mut upgrade = Upgrade::new();
    let syn = ip(pod, peer, TCP, &tcp(4000, 80, SYN));
    let answer = ip(peer, pod, TCP, &tcp(80, 4000, SYN | ACK));
    assert_eq!(upgrade.sends(&syn), Allowed);
    for node in [&mut upgrade.old, &mut upgrade.new] {
        node.change(PortSetId::DENY_ALL);
    }
    assert_eq!(upgrade.receives(&answer), FlowDenied);
    // The old program finds the tombstone that the new one wrote.
    let data = ip(pod, peer, TCP, &tcp(4000, 80, ACK));
    assert_eq!(upgrade.sends(&data), FlowDenied);
    upgrade.end();
    assert_eq!(upgrade.sends(&data), FlowDenied);
    assert_eq!(upgrade.receives(&answer), FlowDenied);
}

#[test]
fn a_full_table_of_the_old_generation_opens_nothing_and_stops_no_new_one() {
    let (pod, peer) = (OWN[0], FRIEND[0]);
    let mut upgrade = Upgrade::new();
    upgrade.new.world.max_previous_flows = 0;
    let syn = ip(peer, pod, TCP, &tcp(4000, 80, SYN));
    assert_eq!(upgrade.receives(&syn), Allowed);
    upgrade.end();
    let answer = ip(pod, peer, TCP, &tcp(80, 4000, SYN | ACK));
    assert_eq!(upgrade.sends(&answer), Flow);
    // Nobody asked.
    let stranger = ip(
        crate::node::STRANGER[0],
        pod,
        TCP,
        &tcp(80, 4001, SYN | ACK),
    );
    assert_eq!(upgrade.receives(&stranger), Policy);
}

#[test]
fn without_a_generation_before_the_other_table_is_never_touched() {
    let node = Node::new();
    let (pod, peer) = (OWN[0], CLIENT[0]);
    assert_eq!(
        node.receives(&ip(peer, pod, TCP, &tcp(4000, 80, SYN))),
        Allowed
    );
    assert_eq!(node.sends(&ip(pod, peer, TCP, &tcp(80, 4000, ACK))), Flow);
    assert!(node.world.previous_flows_v4.borrow().is_empty());
}

#[test]
fn what_both_sides_did_meanwhile_is_known_afterwards() {
    let (pod, peer) = (OWN[0], CLIENT[0]);
    let mut upgrade = Upgrade::new();
    assert_eq!(
        upgrade.sends(&ip(pod, peer, TCP, &tcp(4000, 80, SYN))),
        Allowed
    );
    let answer = ip(peer, pod, TCP, &tcp(80, 4000, SYN | ACK));
    assert_eq!(upgrade.receives(&answer), Flow);
    let confirmation = ip(pod, peer, TCP, &tcp(4000, 80, ACK));
    assert_eq!(upgrade.sends(&confirmation), Flow);
    let peers_end = ip(peer, pod, TCP, &tcp(80, 4000, FIN | ACK));
    assert_eq!(upgrade.receives(&peers_end), Flow);
    let end = ip(pod, peer, TCP, &tcp(4000, 80, FIN | ACK));
    assert_eq!(upgrade.sends(&end), Flow);
    upgrade.end();
    let flows = upgrade.new.world.flows_v4.borrow();
    let seen: Vec<_> = flows.values().map(|flow| flow.state.seen).collect();
    let both = FlowState::SEEN_POD_FIN | FlowState::SEEN_PEER_FIN;
    assert!(
        matches!(seen[..], [seen] if seen & both == both),
        "{seen:?}"
    );
}

#[test]
fn a_peer_does_not_take_over_a_connection_that_only_the_old_table_has() {
    let (pod, peer) = (OWN[0], CLIENT[0]);
    let upgrade = Upgrade::new();
    assert_eq!(
        upgrade.sends(&ip(pod, peer, TCP, &tcp(80, 80, SYN))),
        Allowed
    );
    assert_eq!(
        upgrade.receives(&ip(peer, pod, TCP, &tcp(80, 80, SYN))),
        Allowed
    );
    let peer_opened = |flows: &HashMap<_, Entry>| {
        let opener = FlowState::OPENED_BY_PEER;
        flows.values().any(|flow| flow.state.opener == opener)
    };
    assert!(!peer_opened(&upgrade.old.world.flows_v4.borrow()));
    assert!(!peer_opened(&upgrade.new.world.flows_v4.borrow()));
}
