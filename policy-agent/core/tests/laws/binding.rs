//! Which interface is which pod.

use policy_core::{
    bind::{BindEvent, BindProblem, Binder, InterfaceFact},
    model::PodFact,
};

use crate::build::{name, pod};

fn interface(ifindex: u32, netns: &str, addresses: &[&str]) -> InterfaceFact {
    InterfaceFact {
        ifindex,
        name: format!("veth{ifindex}").into(),
        netns: Some(netns.into()),
        addresses: addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
        bridge: None,
        sandbox: true,
    }
}

fn with_uid(uid: &str, pod: PodFact) -> PodFact {
    PodFact {
        uid: uid.into(),
        ..pod
    }
}

fn bound(ifindex: u32, pod: &str) -> BindEvent {
    BindEvent {
        ifindex,
        gone: false,
        pod: Some(name(pod)),
        problem: None,
    }
}

fn unknown(ifindex: u32, problem: Option<BindProblem>) -> BindEvent {
    BindEvent {
        ifindex,
        gone: false,
        pod: None,
        problem,
    }
}

fn gone(ifindex: u32) -> BindEvent {
    BindEvent {
        ifindex,
        gone: true,
        pod: None,
        problem: None,
    }
}

#[test]
fn the_order_of_interface_pod_and_address_does_not_matter() {
    let mut binder = Binder::new();
    assert_eq!(
        binder.interface(interface(1, "n1", &["10.0.0.1"])),
        [unknown(1, None)]
    );
    assert_eq!(
        binder.pod(&pod("a/p", &[], &["10.0.0.1"])),
        [bound(1, "a/p")]
    );

    let mut binder = Binder::new();
    assert_eq!(binder.pod(&pod("a/p", &[], &["10.0.0.1"])), []);
    assert_eq!(
        binder.interface(interface(1, "n1", &["10.0.0.1"])),
        [bound(1, "a/p")]
    );

    let mut binder = Binder::new();
    assert_eq!(
        binder.interface(interface(1, "n1", &[])),
        [unknown(1, None)]
    );
    assert_eq!(binder.pod(&pod("a/p", &[], &[])), []);
    assert_eq!(binder.interface(interface(1, "n1", &["10.0.0.1"])), []);
    assert_eq!(
        binder.pod(&pod("a/p", &[], &["10.0.0.1"])),
        [bound(1, "a/p")]
    );
    assert_eq!(binder.pod_behind(1), Some(&name("a/p")));
}

#[test]
fn addresses_that_a_pod_adds_later_move_nothing() {
    let mut binder = Binder::new();
    binder.pod(&pod("a/p", &[], &["10.0.0.1"]));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    assert_eq!(binder.pod(&pod("a/victim", &[], &["10.0.0.2"])), []);
    let more = interface(1, "n1", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(binder.interface(more), []);
    assert_eq!(binder.interface(interface(1, "n1", &["10.0.0.2"])), []);
    let own = interface(2, "n2", &["10.0.0.2"]);
    assert_eq!(binder.interface(own), [bound(2, "a/victim")]);
}

#[test]
fn a_changed_record_of_a_bound_pod_moves_nothing() {
    let mut binder = Binder::new();
    binder.pod(&pod("a/p", &[], &["10.0.0.1"]));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    assert_eq!(binder.pod(&pod("a/p", &[], &["10.0.0.9"])), []);
    assert_eq!(binder.pod_behind(1), Some(&name("a/p")));
}

#[test]
fn two_pods_behind_one_interface_are_an_error_until_one_is_gone() {
    let mut binder = Binder::new();
    binder.pod(&pod("a/p", &[], &["10.0.0.1"]));
    binder.pod(&pod("a/q", &[], &["10.0.0.2"]));
    let problem = BindProblem::SeveralPods(vec![name("a/p"), name("a/q")]);
    let both = interface(1, "n1", &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(binder.interface(both), [unknown(1, Some(problem))]);
    assert_eq!(binder.pod_removed(&name("a/q")), [bound(1, "a/p")]);
}

#[test]
fn two_interfaces_of_one_pod_are_an_error_for_both() {
    let mut binder = Binder::new();
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    binder.interface(interface(2, "n2", &["10.0.0.1"]));
    let problem = |other| {
        Some(BindProblem::SeveralInterfaces {
            pod: name("a/p"),
            interfaces: vec![other],
        })
    };
    assert_eq!(
        binder.pod(&pod("a/p", &[], &["10.0.0.1"])),
        [unknown(1, problem(2)), unknown(2, problem(1))]
    );
    assert_eq!(binder.interface_removed(1), [gone(1), bound(2, "a/p")]);
    let late = binder.interface(interface(3, "n3", &["10.0.0.1"]));
    assert_eq!(late, [unknown(3, problem(2))], "the decided one stays");
    assert_eq!(binder.pod_behind(2), Some(&name("a/p")));
}

#[test]
fn a_pod_created_anew_is_found_behind_a_new_interface_only() {
    let mut binder = Binder::new();
    let at = |uid| with_uid(uid, pod("a/p", &[], &["10.0.0.1"]));
    binder.pod(&at("1"));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    let ended = Some(BindProblem::PodGone(name("a/p")));
    assert_eq!(binder.pod(&at("2")), [unknown(1, ended)]);
    assert_eq!(binder.interface(interface(1, "n1", &["10.0.0.1"])), []);
    assert_eq!(
        binder.interface(interface(2, "n2", &["10.0.0.1"])),
        [bound(2, "a/p")]
    );
    assert_eq!(binder.interface_removed(1), [gone(1)]);
}

#[test]
fn an_interface_index_used_again_is_another_interface() {
    let mut binder = Binder::new();
    binder.pod(&pod("a/p", &[], &["10.0.0.1"]));
    binder.pod(&pod("a/q", &[], &["10.0.0.2"]));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    assert_eq!(
        binder.interface(interface(1, "n2", &["10.0.0.2"])),
        [gone(1), bound(1, "a/q")]
    );
}

#[test]
fn without_uids_an_interface_is_decided_again_by_the_addresses_it_had() {
    let mut binder = Binder::new();
    let at = |text, address| with_uid("", pod(text, &[], &[address]));
    binder.pod(&at("a/p", "10.0.0.1"));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    let ended = Some(BindProblem::PodGone(name("a/p")));
    assert_eq!(binder.pod_removed(&name("a/p")), [unknown(1, ended)]);
    binder.interface(interface(1, "n1", &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(binder.pod(&at("a/victim", "10.0.0.2")), []);
    assert_eq!(binder.pod(&at("a/q", "10.0.0.1")), [bound(1, "a/q")]);
}

#[test]
fn interfaces_of_the_host_and_pods_of_the_host_network_are_left_alone() {
    let mut binder = Binder::new();
    let mut host = pod("a/host", &[], &["10.0.0.1"]);
    host.host_network = true;
    assert_eq!(binder.pod(&host), []);
    let mut uplink = interface(1, "n1", &["10.0.0.1"]);
    uplink.sandbox = false;
    assert_eq!(binder.interface(uplink), []);
    assert_eq!(
        binder.interface(interface(2, "n2", &["10.0.0.1"])),
        [unknown(2, None)]
    );
}
