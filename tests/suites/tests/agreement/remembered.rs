//! What a processor remembers of the tables ends with every single write to them.

use std::net::SocketAddr;

use policy_agent::datapath::Datapath;
use policy_common::{Direction, IdentityId, PortSetId, RulesetId, Verdict, names};
use policy_core::plan::{DirectionEntry, Op, PortRange, PortSetEntry};
use policy_harness::wire::{Ethernet, Tcp, ip};

use crate::{cluster::small, processors, scene};

const POD: u32 = 7;
const UPLINK: u32 = 2_000;
const RULES: RulesetId = RulesetId(5);
const PORTS: PortSetId = PortSetId(9);
const OTHER_PORTS: PortSetId = PortSetId(10);
const FRIEND: IdentityId = IdentityId(20);
const STRANGER: IdentityId = IdentityId(21);

/// A pod and a peer of one family, and the prefix around the peer.
struct Pair {
    own: &'static str,
    peer: &'static str,
    around: &'static str,
}

const PAIRS: [Pair; 2] = [
    Pair {
        own: scene::OWN[0],
        peer: "10.0.1.1",
        around: "10.0.1.0/24",
    },
    Pair {
        own: scene::OWN[1],
        peer: "fd00:1::1",
        around: "fd00:1::/64",
    },
];

fn port(set: PortSetId, port: u16) -> Op {
    let entry = PortSetEntry {
        range: PortRange::Prefix {
            protocol: 6,
            port,
            bits: 16,
        },
        verdict: Verdict::ALLOW,
    };
    Op::PutPortSet(set, [entry].into())
}

fn address(pair: &Pair, identity: IdentityId) -> Op {
    Op::PutAddress {
        address: pair.peer.parse().unwrap(),
        identity,
        owner: None,
        host: false,
    }
}

fn load() -> Datapath {
    let rules = scene::rules(RULES).map(|rules| DirectionEntry {
        has_blocks: true,
        ..rules
    });
    let pod = Op::PutEndpoint(scene::pod(POD, 3, [rules, rules]));
    scene::load(scene::CONFIG, small(), &[pod])
}

/// A packet to port 80 that opens no flow: only the rules decide about it.
fn passes(kernel: &mut Datapath, pair: &Pair, direction: Direction) -> bool {
    let (own, peer) = (pair.own.parse().unwrap(), pair.peer.parse().unwrap());
    let (program, source, destination, ingress_ifindex) = match direction {
        Direction::Ingress => (names::TO_POD, peer, own, UPLINK),
        Direction::Egress => (names::FROM_POD, own, peer, POD),
    };
    let segment = Tcp::new(0x10).segment(
        SocketAddr::new(source, 40_000),
        SocketAddr::new(destination, 80),
    );
    let frame = Ethernet::new([2; 6], [2; 6]).ip(&ip::packet(source, destination, 6, &segment));
    let origin = scene::at(POD, ingress_ifindex);
    kernel.test_run(program, &frame, origin).unwrap().passed
}

#[test]
fn the_packet_after_a_write_is_judged_by_what_was_written() {
    let all = processors::all();
    for (pair, direction) in PAIRS
        .iter()
        .flat_map(|pair| [Direction::Ingress, Direction::Egress].map(|direction| (pair, direction)))
    {
        let around = pair.around.parse().unwrap();
        let steps = [
            (address(pair, FRIEND), false),
            (Op::PutRule(RULES, FRIEND, PortSetId::ALLOW_ALL), true),
            (Op::DeleteRule(RULES, FRIEND), false),
            (port(PORTS, 81), false),
            (Op::PutRule(RULES, FRIEND, PORTS), false),
            // A set that is in use never changes: another takes its place.
            (port(OTHER_PORTS, 80), false),
            (Op::PutRule(RULES, FRIEND, OTHER_PORTS), true),
            (address(pair, STRANGER), false),
            (Op::PutCidr(around, FRIEND), false),
            (Op::DeleteAddress(pair.peer.parse().unwrap()), true),
            (Op::PutCidr(around, STRANGER), false),
            (Op::PutCidr(around, FRIEND), true),
            (Op::DeleteCidr(around), false),
        ];
        let mut kernel = load();
        assert!(!passes(&mut kernel, pair, direction));
        for (op, passes_then) in steps {
            let failures = kernel.apply(std::slice::from_ref(&op));
            assert!(failures.is_empty(), "{failures:?}");
            assert_eq!(passes(&mut kernel, pair, direction), passes_then, "{op:?}");
            kernel.settle().unwrap();
            // The second packet finds what the first one left, on every processor.
            for processor in &all {
                processors::stay_on(*processor);
                for packet in 1..=2 {
                    assert_eq!(
                        passes(&mut kernel, pair, direction),
                        passes_then,
                        "packet {packet} on processor {processor} after {op:?}, {direction:?} of {}",
                        pair.own
                    );
                }
            }
        }
    }
}
