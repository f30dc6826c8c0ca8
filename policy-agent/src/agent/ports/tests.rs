//! Tests of the interfaces and what their hooks need.

use std::sync::Arc;

use policy_common::EndpointId;

use super::{super::hook_state::Seen, *};
use crate::node::InterfaceKind;

fn port(bridge: Option<u32>, endpoint: bool) -> Port {
    Port {
        interface: Some(Interface {
            ifindex: 0,
            name: Arc::from("veth"),
            kind: InterfaceKind::Veth,
            hardware: 1,
            up: true,
            bridge,
            sandbox: None,
        }),
        fact: endpoint.then_some(EndpointFact {
            ifindex: 0,
            id: EndpointId(1),
            bridge,
            ..EndpointFact::default()
        }),
        ..Port::default()
    }
}

fn ports(list: impl IntoIterator<Item = (u32, Port)>) -> Ports {
    Ports {
        by_index: list.into_iter().collect(),
        ..Ports::default()
    }
}

#[test]
fn isolated_pods_are_enforced_first_and_each_in_its_own_order() {
    let ports = ports([
        (1, port(None, true)),
        (2, port(None, true)),
        (3, port(None, true)),
    ]);
    let rank = |ifindex, _: &Port| u8::from(ifindex != 2);
    let actions = ports.actions(0, Instant::now(), rank);
    let order: Vec<_> = actions.iter().map(|one| (one.ifindex, one.hook)).collect();
    let (from, to) = (Hook::FromPod, Hook::ToPod);
    assert_eq!(
        order,
        [(2, from), (2, to), (1, from), (1, to), (3, from), (3, to)]
    );
}

#[test]
fn nothing_is_attached_before_the_entry_is_written() {
    let mut new = port(None, true);
    new.entry = 5;
    let ports = ports([(1, new)]);
    let count = |written| ports.actions(written, Instant::now(), |_, _| 0).len();
    assert_eq!((count(4), count(5)), (0, 2));
}

#[test]
fn other_ports_of_a_bridge_with_pods_clear_stamps() {
    let ports = ports([
        (1, port(Some(9), true)),
        (2, port(Some(9), false)),
        (3, port(Some(8), false)),
    ]);
    let actions = ports.actions(0, Instant::now(), |_, _| 0);
    let cleared: Vec<_> = actions
        .iter()
        .filter(|one| one.hook == Hook::ClearStamp)
        .map(|one| one.ifindex)
        .collect();
    assert_eq!(cleared, [2]);
}

#[test]
fn what_is_not_enforced_says_why_until_it_is() {
    let now = Instant::now();
    let mut one = port(None, true);
    let wanted = Wanted {
        endpoint: true,
        ..Wanted::default()
    };
    let reason = |port: &Port| port.unenforced(wanted, 4).map(|alarm| alarm.reason);
    assert!(reason(&one).is_some() && !one.is_alarming(wanted, now));
    let cause = Cause {
        error: "no room".into(),
        ..Cause::default()
    };
    for hook in &mut one.hooks[..2] {
        hook.observe(Seen::Failed(cause.clone()), now);
    }
    assert_eq!(reason(&one).as_deref(), Some("no room"));
    assert!(one.is_alarming(wanted, now));
    for hook in &mut one.hooks[..2] {
        hook.observe(
            Seen::Front {
                prog_id: 1,
                bridged: false,
            },
            now,
        );
    }
    assert_eq!(reason(&one), None);
    one.no_number = true;
    assert!(reason(&one).unwrap().contains("--max-endpoints 4"));
}
