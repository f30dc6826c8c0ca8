//! Production programs read nothing from `cb[]`.

use policy_agent::datapath::{Datapath, TestOrigin};
use policy_common::{Config, Direction, Reason, names};
use policy_core::plan::{EndpointEntry, Op};

use crate::{cluster::small, scene};

/// The interface that the kernel gives to packets of test runs: the namespace's loopback.
const LOOPBACK: u32 = 1;
const SEAM: u32 = 77;

fn load(test_seam: u8) -> Datapath {
    let config = Config {
        test_seam,
        ..Config::DEFAULT
    };
    let ops = [LOOPBACK, SEAM].map(|ifindex| {
        Op::PutEndpoint(EndpointEntry {
            // Only the real interface lets a packet through.
            unknown: ifindex == SEAM,
            ..scene::pod(ifindex, ifindex as u16, [None, None])
        })
    });
    scene::load(config, small(), &ops)
}

/// The reasons of one packet from another host to the pod, whose origin stands in `cb[]`.
fn reasons(test_seam: u8) -> Vec<(Direction, Reason)> {
    let mut datapath = load(test_seam);
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 9]);
    frame.extend([0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    let origin = TestOrigin {
        stamp: 5,
        ..scene::at(SEAM, 3)
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
