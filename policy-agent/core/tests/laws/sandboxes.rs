//! A network namespace is one pod's, also for a later run.

use policy_core::{
    bind::{BindProblem, Binder, InterfaceFact, Pin},
    model::{PodFact, pod_tag},
};
use proptest::prelude::*;

use crate::build::{name, pod};

fn interface(ifindex: u32, netns: &str, addresses: &[&str]) -> InterfaceFact {
    let addresses = addresses.iter().map(|text| text.parse());
    InterfaceFact {
        ifindex,
        netns: Some(netns.into()),
        addresses: addresses.map(|one| one.expect("an address")).collect(),
        sandbox: true,
    }
}

fn with_uid(uid: &str, text: &str, addresses: &[&str]) -> PodFact {
    PodFact {
        uid: uid.into(),
        ..pod(text, &[], addresses)
    }
}

fn problem(binder: &mut Binder, fact: InterfaceFact) -> Option<BindProblem> {
    let ifindex = fact.ifindex;
    let events = binder.interface(fact);
    let mut own = events.into_iter().filter(|event| event.ifindex == ifindex);
    own.next_back().and_then(|event| event.problem)
}

/// Addresses of both families, since a pod may be found by either.
const PAIRS: [[&str; 2]; 2] = [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]];

#[test]
fn a_further_interface_of_a_pods_sandbox_is_no_other_pods() {
    for uids in [["", ""], ["1", "2"]] {
        for [own, victims] in PAIRS {
            let mut binder = Binder::new();
            binder.pod(&with_uid(uids[0], "a/p", &[own]));
            binder.pod(&with_uid(uids[1], "a/victim", &[victims]));
            binder.interface(interface(1, "n1", &[own]));
            let refused = problem(&mut binder, interface(2, "n1", &[victims]));
            assert_eq!(refused, Some(BindProblem::OtherSandbox(name("a/victim"))));
            // Nor does it keep the other pod from its own.
            binder.interface(interface(3, "n2", &[victims]));
            assert_eq!(binder.pod_behind(3), Some(&name("a/victim")));
            // Nor when the interface by which the sandbox was known goes.
            binder.interface_removed(1);
            binder.interface_removed(3);
            let refused = problem(&mut binder, interface(4, "n1", &[victims]));
            assert_eq!(refused, Some(BindProblem::OtherSandbox(name("a/victim"))));
        }
    }
}

#[test]
fn a_sandbox_is_free_when_its_pod_is_gone_with_its_interfaces() {
    let mut binder = Binder::new();
    binder.pod(&with_uid("1", "a/p", &["10.0.0.1"]));
    binder.pod(&with_uid("2", "a/q", &["10.0.0.2"]));
    binder.interface(interface(1, "n1", &["10.0.0.1"]));
    binder.interface(interface(2, "n1", &["10.0.0.2"]));
    binder.pod_removed(&name("a/p"));
    assert_eq!(binder.pod_behind(2), None, "its interface is still there");
    let events = binder.interface_removed(1);
    assert!(events.iter().any(|event| event.pod == Some(name("a/q"))));
    assert_eq!(binder.owner(&"n1".into()), pod_tag(&name("a/q"), "2"));
}

fn resuming(owner: Option<u64>, pins: Vec<Pin>) -> Binder {
    let mut binder = Binder::resuming("here".into(), pins);
    if let Some(owner) = owner {
        binder.owned(&"n1".into(), owner);
    }
    binder
}

#[test]
fn what_an_earlier_run_knew_of_a_sandbox_counts_while_its_pod_is_there() {
    let tag = pod_tag(&name("a/p"), "1");
    let mut binder = resuming(Some(tag), Vec::new());
    binder.pod(&with_uid("1", "a/p", &["10.0.0.1"]));
    binder.pod(&with_uid("2", "a/victim", &["10.0.0.2"]));
    binder.interface(interface(5, "n1", &["10.0.0.2"]));
    let refused = Some(BindProblem::OtherSandbox(name("a/victim")));
    assert_eq!(binder.synced()[0].problem, refused);
    // Its number may have become another namespace's: that is so when its pod is elsewhere, or gone.
    for is_elsewhere in [true, false] {
        let mut binder = resuming(Some(tag), Vec::new());
        binder.pod(&with_uid("1", "a/p", &["10.0.0.1"]));
        binder.pod(&with_uid("2", "a/q", &["10.0.0.2"]));
        binder.interface(interface(5, "n1", &["10.0.0.2"]));
        binder.synced();
        if is_elsewhere {
            binder.interface(interface(6, "n2", &["10.0.0.1"]));
        } else {
            binder.pod_removed(&name("a/p"));
        }
        assert_eq!(binder.pod_behind(5), Some(&name("a/q")), "{is_elsewhere}");
    }
}

#[test]
fn a_pod_that_lost_its_interface_in_an_earlier_run_lends_its_name_to_nobody() {
    let tag = pod_tag(&name("a/p"), "1");
    let mut binder = resuming(None, Vec::new());
    binder.was_spent(tag, &["10.0.0.1".parse().unwrap()]);
    let own = PodFact {
        running: true,
        ..with_uid("1", "a/p", &["10.0.0.1"])
    };
    binder.pod(&own);
    binder.interface(interface(7, "n9", &["10.0.0.1"]));
    let spent = Some(BindProblem::Spent(name("a/p")));
    assert_eq!(binder.synced()[0].problem, spent);
    assert_eq!(binder.without_interface(), [(name("a/p"), tag)]);
    assert_eq!(binder.spent().count(), 1, "the next run is told");
    binder.pod_removed(&name("a/p"));
    assert_eq!(binder.spent().count(), 0);
}

#[test]
fn an_interface_that_changed_its_address_while_nobody_looked_is_not_found_by_the_new_one() {
    let mut binder = resuming(None, Vec::new());
    binder.remembered(3, vec!["10.0.0.9".parse().unwrap()]);
    binder.pod(&with_uid("2", "a/victim", &["10.0.0.2"]));
    binder.interface(interface(3, "n1", &["10.0.0.2"]));
    let later = Some(BindProblem::Later(name("a/victim")));
    assert_eq!(binder.synced()[0].problem, later);
    assert_eq!(binder.first_addresses(3).len(), 1);
}

#[test]
fn without_memory_only_what_the_kernels_tables_say_is_decided() {
    for uid in ["", "1"] {
        let tag = pod_tag(&name("a/p"), uid);
        let pin = Pin {
            ifindex: 1,
            tag,
            addresses: vec!["10.0.0.1".parse().unwrap()],
        };
        let mut binder = resuming(None, vec![pin]);
        binder.memory_is_lost();
        binder.pod(&with_uid(uid, "a/p", &["10.0.0.1"]));
        binder.pod(&with_uid(uid, "a/q", &["10.0.0.2"]));
        binder.interface(interface(1, "n1", &["10.0.0.1"]));
        binder.interface(interface(2, "n2", &["10.0.0.2"]));
        binder.synced();
        assert_eq!(binder.pod_behind(1), Some(&name("a/p")));
        assert_eq!(binder.pod_behind(2), None);
        assert!(binder.is_unremembered(2), "the next run is told");
        // A new pod is found as ever.
        binder.pod(&with_uid(uid, "a/new", &["10.0.0.3"]));
        binder.interface(interface(3, "n3", &["10.0.0.3"]));
        assert_eq!(binder.pod_behind(3), Some(&name("a/new")));
        binder.interface_removed(2);
        assert!(!binder.is_unremembered(2));
    }
}

proptest! {
    /// Whoever lives in a sandbox removes its interfaces, makes others with any addresses, and has the agent
    /// start again: no interface into it is ever another pod's, as long as its pod is there.
    #[test]
    fn no_sandbox_is_ever_two_pods(
        steps in prop::collection::vec((0..5_u8, 0..4_u32, 0..4_usize), 1..40),
    ) {
        let own = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let pods: Vec<_> = own.iter().enumerate().map(|(number, address)| {
            with_uid(&format!("u{number}"), &format!("a/p{number}"), &[address])
        }).collect();
        let mut binder = Binder::new();
        for (pod, number) in pods.iter().zip(0_u32..) {
            binder.pod(pod);
            let address = own[number as usize];
            binder.interface(interface(number + 1, &format!("n{number}"), &[address]));
        }
        let mut next = 10;
        let mut facts: Vec<InterfaceFact> = (0..4_u32).map(|number| {
            interface(number + 1, &format!("n{number}"), &[own[number as usize]])
        }).collect();
        for (step, netns, address) in steps {
            match step {
                0 => {
                    // What it leads into has an interface less.
                    if let Some(at) = facts.iter().position(|one| one.netns == Some(format!("n{netns}").into())) {
                        binder.interface_removed(facts.remove(at).ifindex);
                    }
                }
                1 | 2 => {
                    next += 1;
                    let fact = interface(next, &format!("n{netns}"), &[own[address]]);
                    facts.push(fact.clone());
                    binder.interface(fact);
                }
                3 => {
                    // A restart, with what is remembered of this run.
                    let pins = facts.iter().filter(|one| binder.tag(one.ifindex) != 0);
                    let pins: Vec<_> = pins.map(|one| Pin {
                        ifindex: one.ifindex,
                        tag: binder.tag(one.ifindex),
                        addresses: binder.first_addresses(one.ifindex).to_vec(),
                    }).collect();
                    let mut new = Binder::resuming("".into(), pins);
                    for (tag, addresses) in binder.spent() {
                        new.was_spent(tag, addresses);
                    }
                    for number in 0..4 {
                        let netns = format!("n{number}").into();
                        new.owned(&netns, binder.owner(&netns));
                    }
                    for fact in &facts {
                        new.remembered(fact.ifindex, binder.first_addresses(fact.ifindex).to_vec());
                    }
                    for pod in &pods {
                        new.pod(pod);
                    }
                    for fact in &facts {
                        new.interface(fact.clone());
                    }
                    new.synced();
                    binder = new;
                }
                _ => {
                    binder.pod(&pods[address]);
                }
            }
            for fact in &facts {
                let netns = fact.netns.clone().unwrap();
                let pod = binder.pod_behind(fact.ifindex).map(ToString::to_string);
                let expected = format!("a/p{}", netns.trim_start_matches('n'));
                prop_assert!(pod.is_none() || pod == Some(expected), "{fact:?} {pod:?}");
            }
        }
    }
}
