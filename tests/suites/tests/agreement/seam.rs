//! Production programs read nothing from `cb[]`.

use policy_agent::datapath::{Datapath, LoadOptions, TableSizes, TestOrigin};
use policy_common::{Config, Direction, EndpointId, Reason, names};
use policy_core::plan::{EndpointEntry, Op};

/// The interface that the kernel gives to packets of test runs: the namespace's loopback.
const LOOPBACK: u32 = 1;
const SEAM: u32 = 77;

fn load(test_seam: u8) -> Datapath {
    let mut datapath = Datapath::load(
        &LoadOptions {
            config: Config {
                test_seam,
                ..Config::DEFAULT
            },
            sizes: TableSizes {
                max_endpoints: 16,
                max_addresses: 16,
                max_cidrs: 4,
                max_rules: 4,
                max_port_sets: 8,
                max_ports: 16,
                max_flows: 64,
            },
            ..LoadOptions::embedded().unwrap()
        },
        &[],
    )
    .unwrap();
    let ops = [LOOPBACK, SEAM].map(|ifindex| {
        Op::PutEndpoint(EndpointEntry {
            ifindex,
            id: EndpointId(ifindex as u16 % 16),
            bridge: None,
            ingress: None,
            egress: None,
            addresses: vec!["10.0.0.9".parse().unwrap()],
            // Only the real interface lets a packet through.
            unknown: ifindex == SEAM,
            pod_tag: 7,
            mac: None,
            eui_64: false,
            new_epoch: true,
        })
    });
    assert!(datapath.apply(&ops).is_empty());
    datapath.settle().unwrap();
    datapath
}

/// The reasons of one packet from another host to the pod, whose origin stands in `cb[]`.
fn reasons(test_seam: u8) -> Vec<(Direction, Reason)> {
    let mut datapath = load(test_seam);
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 9]);
    frame.extend([0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    let origin = TestOrigin {
        ifindex: SEAM,
        ingress_ifindex: 3,
        socket: false,
        foreign_socket: false,
        stamp: 5,
    };
    for program in [names::TO_POD, names::FROM_POD] {
        let _ = datapath.test_run(program, &frame, origin).unwrap();
    }
    let counters = datapath.counters().unwrap();
    counters
        .into_iter()
        .map(|(direction, reason, _)| (direction, reason))
        .collect()
}

#[test]
fn programs_loaded_without_the_test_seam_do_not_believe_cb() {
    let of_seam = reasons(1);
    assert_eq!(
        of_seam,
        [
            (Direction::Ingress, Reason::UnknownEndpoint),
            (Direction::Egress, Reason::SourceAddress)
        ]
    );
    // The kernel's own facts: the loopback's endpoint, which has no policy and another address.
    let of_kernel = reasons(0);
    let unknown = |reasons: &[(Direction, Reason)]| {
        reasons
            .iter()
            .any(|(_, reason)| *reason == Reason::UnknownEndpoint)
    };
    assert!(!unknown(&of_kernel), "{of_kernel:?}");
    assert_eq!(of_kernel.len(), 2, "{of_kernel:?}");
}
