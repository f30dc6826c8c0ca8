//! Copies of what the kernel may replace under a reader, and where a processor keeps them.

use std::collections::HashSet;

use policy_common::{DirectionRules, Endpoint, EndpointId, PortSetId, RulesetId, V4, V6};
use policy_ebpf::{
    lookup::Policy as _,
    memory::MemoryWorld,
    recall::{ENDPOINT_SLOTS, Role},
};

fn endpoint(number: u16, epoch: u32, ruleset: u32) -> Endpoint {
    let rules = DirectionRules {
        ruleset: RulesetId(ruleset),
        default_ports: PortSetId::DENY_ALL,
    };
    Endpoint {
        epoch,
        ifindex: u32::from(number) + 100,
        id: EndpointId(number),
        flags: Endpoint::INGRESS_ISOLATED,
        v4: V4([10, 0, 0, number as u8]),
        v6: V6([number as u8; 16]),
        ingress: rules,
        pod_tag: u64::from(number) << 40,
        ..Endpoint::default()
    }
    .sealed()
}

#[test]
fn parts_of_two_elements_are_never_taken_for_one() {
    let elements = [
        endpoint(5, 1, 3),
        endpoint(5, 2, 3),
        endpoint(5, 2, 4),
        endpoint(6, 1, 3),
        Endpoint::default(),
    ];
    for one in elements {
        assert_eq!(one.is_whole(), one != Endpoint::default());
        for other in elements {
            let (one_words, other_words) = (words(one), words(other));
            // Whatever words a processor loaded early and late.
            for early in 0..1u32 << Endpoint::WORDS {
                let mut mixed = other_words;
                for (index, word) in mixed.iter_mut().enumerate() {
                    if early >> index & 1 != 0 {
                        *word = one_words[index];
                    }
                }
                let is_torn = ![one_words, other_words].contains(&mixed);
                let copy: Endpoint = bytemuck::cast(mixed);
                assert!(!(is_torn && copy.is_whole()), "{one:?} {other:?} {early:b}");
            }
        }
    }
}

fn words(endpoint: Endpoint) -> [u64; Endpoint::WORDS] {
    bytemuck::cast(endpoint)
}

#[test]
fn endpoints_of_two_roles_never_share_a_slot() {
    let here: HashSet<_> = (0..2_000)
        .map(|ifindex| Role::Here.place(ifindex))
        .collect();
    let source: HashSet<_> = (0..2_000).map(|id| Role::Source.place(id)).collect();
    assert!(here.is_disjoint(&source));
    let slots = Role::COUNT * ENDPOINT_SLOTS;
    assert!(here.union(&source).all(|slot| *slot < slots));
}

#[test]
fn a_run_holds_the_endpoint_of_its_hook_and_the_sender_at_once() {
    let mut world = MemoryWorld::default();
    // Interfaces and numbers that agree in their low eight bits.
    let (here, sender) = (endpoint(5, 1, 3), endpoint(5 + 256, 7, 4));
    world.put_endpoint(here);
    world.put_endpoint(sender);
    let held = world.endpoint_at(here.ifindex).expect("the hook's");
    let other = world.source_endpoint(sender.id).expect("the sender");
    assert_eq!((*held, *other), (here, sender));
}

#[test]
fn an_interface_with_a_new_number_is_no_more_the_old_endpoint() {
    let mut world = MemoryWorld::default();
    let before = endpoint(5, 1, 3);
    world.put_endpoint(before);
    let after = Endpoint {
        id: EndpointId(9),
        ..before
    };
    world.put_endpoint(after);
    assert_eq!(
        world.endpoint_at(before.ifindex).map(|found| found.id),
        Some(EndpointId(9))
    );
    assert_eq!(world.source_endpoint(before.id), None);
}
