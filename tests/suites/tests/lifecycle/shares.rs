//! Four pods and their peers want all of the flow table, and a fifth pod wants its part.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
};

use policy_common::{FlowState, Reason};
use policy_harness::{
    Tracked,
    agent::Drop,
    topology::{INSIDE, OUTSIDE_V4, OUTSIDE_V6, UPLINK},
    tracked,
    traffic::{Connection, Outcome},
    wire::{
        Ethernet, Port, Tcp, ip,
        transport::{self, flag},
    },
};

use crate::scene::{DENY_ALL, PORT, SOON, Scene, eventually, in_every_setting};

/// Room for 128 flows of both families together, of which each of eight endpoints owns eight.
const SIZES: [&str; 4] = ["--max-flows", "128", "--max-endpoints", "8"];
const OWN: usize = 8;
const QUARTER: usize = 32;
/// All but what the other four endpoints own.
const MOST: usize = 128 - 4 * OWN;

const GREEDY: [&str; 4] = ["shop/one", "shop/two", "shop/three", "shop/four"];
const FIFTH: &str = "shop/fifth";

/// Isolated both ways, so that nothing is answered without an entry, and everything is allowed.
const ALLOW_ALL: &str =
    "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}";

/// How far the crafted connections of a flood go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// SYNs that nobody answers.
    Syns,
    /// SYNs that are answered, and whose sender guesses the answer's number.
    Guesses,
    /// Whole handshakes.
    Handshakes,
}

impl Flood {
    /// The segments of a connection: whether the opener sends them, and what.
    fn segments(self) -> Vec<(bool, Tcp)> {
        let confirmation = |acknowledgement| Tcp {
            acknowledgement,
            ..Tcp::new(flag::ACK)
        };
        let mut segments = vec![(true, Tcp::new(flag::SYN))];
        let answer = (false, Tcp::new(flag::SYN | flag::ACK));
        match self {
            Self::Syns => {}
            Self::Guesses => segments.extend([answer, (true, confirmation(4_000_000))]),
            Self::Handshakes => segments.extend([answer, (true, confirmation(1001))]),
        }
        segments
    }
}

/// Connections of each side, family and pod in a round.
const ATTEMPTS: u16 = 2 * QUARTER as u16;

fn cast(scene: &mut Scene) {
    for (name, number) in GREEDY.iter().zip(10..) {
        scene.pod(name, "app: greedy", number);
    }
    scene.pod(FIFTH, "app: fifth", 20);
    scene.policy("deny", DENY_ALL);
    scene.policy("allow", ALLOW_ALL);
    // Neighbours know each other before frames are crafted.
    for pod in GREEDY {
        scene.passes("outside", pod);
    }
}

/// Connections between the pods and the outside, whose own kernels take no part: a checksum is wrong.
/// `round` gives them other ports.
fn flood(scene: &Scene, flood: Flood, round: u16) {
    let node = &scene.cluster.node;
    let outside = Port::open(&node.outside, INSIDE).unwrap();
    let inwards = Ethernet::new(
        node.outside.mac(INSIDE).unwrap(),
        node.host.mac(UPLINK).unwrap(),
    );
    for name in GREEDY {
        let pod = scene.cluster.pod(name).unwrap();
        let port = Port::open(&pod.netns, INSIDE).unwrap();
        let outwards = Ethernet::new(pod.mac, pod.gateway);
        for (v6, there) in [(false, OUTSIDE_V4), (true, OUTSIDE_V6)] {
            let here = pod.address(v6).unwrap();
            let there: IpAddr = there.parse().unwrap();
            for pod_opens in [true, false] {
                for (opener_sends, segment) in flood.segments() {
                    for attempt in 0..ATTEMPTS {
                        let client = 10_000 + round % 512 * ATTEMPTS + attempt;
                        let (here, there) = if pod_opens {
                            (SocketAddr::new(here, client), SocketAddr::new(there, 9))
                        } else {
                            (SocketAddr::new(here, 9), SocketAddr::new(there, client))
                        };
                        if pod_opens == opener_sends {
                            let packet = unheard(&segment, here, there);
                            port.send(&outwards.ip(&packet)).unwrap();
                        } else {
                            let packet = unheard(&segment, there, here);
                            outside.send(&inwards.ip(&packet)).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// A segment with a checksum that no kernel takes.
fn unheard(segment: &Tcp, source: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = segment.segment(source, to);
    bytes[16] ^= 0xff;
    ip::packet(source.ip(), to.ip(), transport::TCP, &bytes)
}

/// The table when nothing moves any more.
fn resting(scene: &Scene) -> Vec<Tracked> {
    let mut last = Vec::new();
    eventually("the flow table rests", || {
        let now = tracked(scene.cluster.agent.pin_path()).unwrap();
        let is_so = now == last;
        last = now;
        is_so
    });
    last
}

/// What each greedy pod holds, of both families; nobody more than a quarter, nor all of them what
/// others own.
#[track_caller]
fn holds(scene: &Scene, flood: Flood) -> BTreeMap<&'static str, usize> {
    let all = resting(scene);
    let of = |name: &str| {
        let pod = scene.cluster.pod(name).unwrap();
        let own = [false, true].map(|v6| pod.address(v6).unwrap());
        let is_its = |entry: &&Tracked| own.contains(&entry.pod.ip());
        all.iter().filter(is_its).count()
    };
    let held: BTreeMap<_, _> = GREEDY.map(|name| (name, of(name))).into();
    assert!(
        held.values().all(|held| *held <= QUARTER),
        "{flood:?}: more than a quarter: {held:?}"
    );
    let sum: usize = held.values().sum();
    assert!(sum <= MOST, "{flood:?}: what others own: {held:?}");
    held
}

/// Two connections of the fifth pod and two to it in each family, all of which stay: what it owns.
fn fifth(scene: &Scene) -> Vec<Connection> {
    let mut open = Vec::new();
    for _ in 0..2 {
        for v6 in [false, true] {
            for (from, to) in [(FIFTH, "outside"), ("outside", FIFTH)] {
                let to = scene.server(to, v6);
                let opened = Connection::open(scene.netns(from), None, to, SOON).unwrap();
                open.push(opened.unwrap_or_else(|| panic!("no connection from {from} to {to}")));
            }
        }
    }
    assert_eq!(open.len(), OWN);
    open
}

/// Whether a pod had no room for a connection.
fn is_refused(drop: &Drop, pod: &str) -> bool {
    let reasons = [Reason::FlowLimit, Reason::FlowTableFull];
    drop.pod.as_deref() == Some(pod) && reasons.iter().any(|reason| drop.is(*reason))
}

#[test]
fn a_fifth_pod_has_its_connections_at_once_while_four_want_the_whole_table() {
    in_every_setting(&SIZES, |scene| {
        cast(scene);
        let mark = scene.cluster.mark();
        let mut round = 0;
        for kind in [Flood::Syns, Flood::Guesses, Flood::Handshakes] {
            // Packets may be lost and overtake each other on a busy machine: until it has come to it.
            eventually("each has what it owns", || {
                flood(scene, kind, round);
                round += 1;
                holds(scene, kind).values().all(|held| *held >= OWN)
            });
            let mut open = thread::scope(|threads| {
                let flooding = threads.spawn(|| flood(scene, kind, round));
                let open = fifth(scene);
                flooding.join().unwrap();
                open
            });
            round += 1;
            for connection in &mut open {
                assert_eq!(connection.exchange(SOON).unwrap(), Outcome::Allowed);
            }
            let held = holds(scene, kind);
            eprintln!("{kind:?}: {held:?}");
            if kind != Flood::Handshakes {
                // What nobody confirmed gives way, also to the flooding pod itself.
                scene.passes(GREEDY[0], "outside");
                scene.passes("outside", GREEDY[0]);
            }
            drop(open);
            eventually("the fifth pod's connections are over", || {
                let address = [false, true].map(|v6| scene.address(FIFTH, v6));
                let live = |entry: &Tracked| {
                    address.contains(&entry.pod.ip())
                        && entry.state.phase == FlowState::PHASE_ESTABLISHED
                };
                !resting(scene).iter().any(live)
            });
        }
        let lost = scene.cluster.agent.drops_since(mark);
        let lost: Vec<_> = lost.iter().filter(|drop| is_refused(drop, FIFTH)).collect();
        assert!(lost.is_empty(), "{lost:#?}");
        // The table is full indeed: one of the four has no room for another one.
        let to = SocketAddr::new(scene.address("outside", true), PORT);
        eventually("one of the four is refused", || {
            let mark = scene.cluster.mark();
            flood(scene, Flood::Handshakes, round);
            round += 1;
            let _ = Connection::open(scene.netns(GREEDY[0]), None, to, crate::scene::SILENCE);
            let drops = scene.cluster.agent.drops_since(mark);
            drops.iter().any(|drop| is_refused(drop, GREEDY[0]))
        });
    });
}
