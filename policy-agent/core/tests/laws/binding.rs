//! Which interface is which pod.

use policy_core::{
    bind::{BindEvent, BindProblem, Binder, InterfaceFact, Pin},
    model::{ObjectName, PodFact, pod_tag},
};

use crate::build::{name, pod};

fn interface(ifindex: u32, netns: &str, addresses: &[&str]) -> InterfaceFact {
    InterfaceFact {
        ifindex,
        netns: Some(netns.into()),
        addresses: addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
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
        pod: Some(name(pod)),
        problem: None,
    }
}

fn unknown(ifindex: u32, problem: Option<BindProblem>) -> BindEvent {
    BindEvent {
        ifindex,
        pod: None,
        problem,
    }
}

fn gone(ifindex: u32) -> BindEvent {
    BindEvent {
        ifindex,
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

fn pin(ifindex: u32, pod: &str, uid: &str, addresses: &[&str]) -> Pin {
    Pin {
        ifindex,
        tag: pod_tag(&name(pod), uid),
        addresses: addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
    }
}

fn resuming(pins: Vec<Pin>) -> Binder {
    Binder::resuming("here".into(), pins)
}

#[test]
fn what_an_earlier_run_decided_stands_whatever_is_behind_the_interface_now() {
    for uid in ["", "u"] {
        let mut binder = resuming(vec![pin(1, "a/p", uid, &["10.0.0.1"])]);
        let own = with_uid(uid, pod("a/p", &[], &["10.0.0.1"]));
        let victim = with_uid(uid, pod("a/victim", &[], &["10.0.0.2"]));
        binder.pod(&victim);
        // It took the victim's address while nobody looked.
        assert_eq!(
            binder.interface(interface(1, "n1", &["10.0.0.2"])),
            [unknown(1, None)]
        );
        binder.pod(&own);
        assert_eq!(binder.synced(), [bound(1, "a/p")]);
        let late = binder.interface(interface(2, "n2", &["10.0.0.2"]));
        assert_eq!(late, [bound(2, "a/victim")]);
    }
}

#[test]
fn nothing_is_decided_before_everything_of_the_start_is_known() {
    let mut binder = resuming(vec![pin(1, "a/p", "", &["10.0.0.1"])]);
    let at = |text| with_uid("", pod(text, &[], &["10.0.0.1"]));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    // Another record of the address comes first.
    assert_eq!(binder.pod(&at("a/q")), []);
    assert_eq!(binder.pod(&at("a/p")), []);
    assert_eq!(binder.synced(), [bound(1, "a/p")]);
}

#[test]
fn an_interface_whose_earlier_pod_is_gone_is_nobodys_but_where_pods_have_no_uids() {
    let mut binder = resuming(vec![pin(1, "a/p", "1", &["10.0.0.1"])]);
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    let earlier = Some(BindProblem::EarlierPod);
    assert_eq!(binder.synced(), [unknown(1, earlier)]);
    let at = |uid| with_uid(uid, pod("a/q", &[], &["10.0.0.1"]));
    assert_eq!(binder.pod(&at("2")), []);
    assert_eq!(binder.pod(&at("")), [bound(1, "a/q")]);
}

#[test]
fn a_tag_that_two_pods_have_decides_nothing() {
    // The parts of a tag stand in a row: these two have the same.
    let twin = PodFact {
        name: ObjectName::new("b/p", "x"),
        uid: "u/a".into(),
        ..pod("a/x", &[], &["10.0.0.2"])
    };
    let own = PodFact {
        name: ObjectName::new("a/b/p", "x"),
        uid: "u".into(),
        ..pod("a/x", &[], &["10.0.0.1"])
    };
    let tag = pod_tag(&own.name, &own.uid);
    assert_eq!(tag, pod_tag(&twin.name, &twin.uid));
    let addresses = own.addresses.clone();
    let mut binder = resuming(vec![Pin {
        ifindex: 1,
        tag,
        addresses,
    }]);
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    binder.pod(&own);
    binder.pod(&twin);
    let earlier = Some(BindProblem::EarlierPod);
    assert_eq!(binder.synced(), [unknown(1, earlier)]);
}

#[test]
fn a_pod_whose_interface_is_gone_lends_its_name_to_no_other_interface() {
    for by_pin in [false, true] {
        let mut binder = Binder::new();
        let old = with_uid("1", pod("a/old", &[], &["10.0.0.1"]));
        if by_pin {
            binder = resuming(vec![pin(1, "a/old", "1", &["10.0.0.1"])]);
            binder.interface_removed(1);
            binder.synced();
            binder.pod(&old);
        } else {
            binder.pod(&old);
            binder.interface(interface(1, "n1", &["10.0.0.1"]));
            binder.interface_removed(1);
        }
        let spent = Some(BindProblem::Spent(name("a/old")));
        assert_eq!(
            binder.interface(interface(2, "n2", &["10.0.0.1"])),
            [unknown(2, spent)]
        );
        let new = with_uid("2", pod("a/new", &[], &["10.0.0.1"]));
        assert_eq!(binder.pod(&new), [bound(2, "a/new")]);
    }
}

#[test]
fn a_pod_whose_sandbox_was_made_again_is_found_by_its_new_address() {
    let mut binder = Binder::new();
    binder.pod(&with_uid("1", pod("a/p", &[], &["10.0.0.1"])));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    binder.interface_removed(1);
    binder.interface(interface(2, "n2", &["10.0.0.2"]));
    let moved = with_uid("1", pod("a/p", &[], &["10.0.0.2"]));
    assert_eq!(binder.pod(&moved), [bound(2, "a/p")]);
}

#[test]
fn the_addresses_that_were_seen_first_count() {
    let mut binder = Binder::new();
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    binder.interface(interface(1, "n1", &["10.0.0.2"]));
    let later = Some(BindProblem::Later(name("a/victim")));
    assert_eq!(
        binder.pod(&pod("a/victim", &[], &["10.0.0.2"])),
        [unknown(1, later)]
    );
    assert_eq!(
        binder.pod(&pod("a/p", &[], &["10.0.0.1"])),
        [bound(1, "a/p")]
    );
    let own = interface(2, "n2", &["10.0.0.2"]);
    assert_eq!(binder.interface(own), [bound(2, "a/victim")]);
}

#[test]
fn a_familys_first_address_may_come_after_the_others_and_after_link_local_ones() {
    let mut binder = Binder::new();
    binder.interface(interface(1, "n1", &["fe80::1"]));
    binder.interface(interface(1, "n1", &["10.0.0.1", "fe80::1"]));
    binder.interface(interface(1, "n1", &["10.0.0.1", "fd00::1", "fe80::1"]));
    assert_eq!(
        binder.pod(&pod("a/p", &[], &["fd00::1"])),
        [bound(1, "a/p")]
    );
}

#[test]
fn a_pod_of_another_node_is_no_candidate_here() {
    let mut binder = resuming(vec![]);
    binder.synced();
    let on = |node: &str, text, address| PodFact {
        node: node.into(),
        ..pod(text, &[], &[address])
    };
    binder.pod(&on("there", "a/remote", "10.0.0.1"));
    binder.pod(&on("", "a/somewhere", "10.0.0.2"));
    binder.pod(&on("here", "a/local", "10.0.0.3"));
    for (ifindex, address, expected) in [
        (1, "10.0.0.1", unknown(1, None)),
        (2, "10.0.0.2", bound(2, "a/somewhere")),
        (3, "10.0.0.3", bound(3, "a/local")),
    ] {
        let netns = format!("n{ifindex}");
        assert_eq!(
            binder.interface(interface(ifindex, &netns, &[address])),
            [expected]
        );
    }
}

#[test]
fn a_pod_that_cannot_be_read_has_its_interface_and_that_is_said() {
    let mut binder = Binder::new();
    let mut fact = pod("a/p", &[], &["10.0.0.1"]);
    fact.unreadable = true;
    binder.pod(&fact);
    let problem = Some(BindProblem::Unreadable(name("a/p")));
    let unreadable = BindEvent {
        problem,
        ..bound(1, "a/p")
    };
    assert_eq!(
        binder.interface(interface(1, "n1", &["10.0.0.1"])),
        [unreadable]
    );
    fact.unreadable = false;
    assert_eq!(binder.pod(&fact), [bound(1, "a/p")]);
}

#[test]
fn only_a_pod_that_runs_on_misses_its_interface() {
    let mut binder = Binder::new();
    let fact = pod("a/p", &[], &["10.0.0.1"]);
    binder.pod(&fact);
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    let (own, tag) = (name("a/p"), binder.tag(1));
    assert!(!binder.is_without_interface(&own, tag), "it has it");
    binder.interface_removed(1);
    assert!(binder.is_without_interface(&own, tag));
    let mut ending = fact.clone();
    ending.terminating = true;
    binder.pod(&ending);
    assert!(
        !binder.is_without_interface(&own, tag),
        "its runtime ends it"
    );
    let mut finished = fact.clone();
    finished.finished = true;
    binder.pod(&finished);
    assert!(!binder.is_without_interface(&own, tag));
    binder.pod(&with_uid("another", fact));
    assert!(!binder.is_without_interface(&own, tag), "it is another pod");
}
