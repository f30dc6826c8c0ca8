//! What a packet may do does not depend on the copies of flows and endpoints that processors keep.

use std::net::{IpAddr, SocketAddr};

use policy_agent::datapath::Datapath;
use policy_common::{Config, EndpointId, IdentityId, PortSetId, RulesetId, names};
use policy_core::plan::Op;
use policy_harness::wire::{
    Ethernet, Tcp, icmp, ip, sctp,
    transport::flag::{ACK, FIN, SYN},
};

use crate::{cluster::small, processors, scene};

const POD: u32 = 7;
const UPLINK: u32 = 2_000;
/// Nothing is allowed by it.
const CLOSED: RulesetId = RulesetId(5);
/// The peer may do everything.
const OPEN: RulesetId = RulesetId(6);
const PEER: IdentityId = IdentityId(20);
/// A pod's address and its peer's.
const PAIRS: [(&str, &str); 2] = [(scene::OWN[0], "10.0.1.1"), (scene::OWN[1], "fd00:1::1")];

/// A pod at an interface, with the rulesets of ingress and egress.
fn pod(ifindex: u32, id: u16, rulesets: [RulesetId; 2]) -> Op {
    Op::PutEndpoint(scene::pod(ifindex, id, rulesets.map(scene::rules)))
}

/// The loaded programs, a pod, and one of its addresses with its peer.
struct Scene {
    kernel: Datapath,
    ifindex: u32,
    id: u16,
    own: IpAddr,
    peer: IpAddr,
}

impl Scene {
    fn new() -> Self {
        let config = Config {
            pod_opened_limit: 1,
            ..scene::CONFIG
        };
        let mut ops = vec![Op::PutRule(OPEN, PEER, PortSetId::ALLOW_ALL)];
        ops.extend(PAIRS.map(|(_, peer)| Op::PutAddress {
            address: peer.parse().unwrap(),
            identity: PEER,
            owner: None,
            host: false,
        }));
        let [(own, peer), _] = PAIRS;
        Self {
            kernel: scene::load(config, small(), &ops),
            ifindex: POD,
            id: 0,
            own: own.parse().unwrap(),
            peer: peer.parse().unwrap(),
        }
    }

    /// Another pod, which may open connections and accept none.
    fn enter(&mut self, (own, peer): (&str, &str)) {
        self.ifindex = POD;
        self.id += 1;
        self.own = own.parse().unwrap();
        self.peer = peer.parse().unwrap();
        self.apply(&[pod(POD, self.id, [CLOSED, OPEN])]);
    }

    fn apply(&mut self, ops: &[Op]) {
        scene::apply(&mut self.kernel, ops);
    }

    /// Whether the pod may send it.
    fn sends(&mut self, protocol: u8, payload: &[u8]) -> bool {
        let (source, destination) = (self.own, self.peer);
        let packet = ip::packet(source, destination, protocol, payload);
        self.passes(names::FROM_POD, self.ifindex, &packet)
    }

    /// Whether it reaches the pod.
    fn receives(&mut self, protocol: u8, payload: &[u8]) -> bool {
        let (source, destination) = (self.peer, self.own);
        let packet = ip::packet(source, destination, protocol, payload);
        self.passes(names::TO_POD, UPLINK, &packet)
    }

    fn passes(&mut self, program: &'static str, ingress_ifindex: u32, packet: &[u8]) -> bool {
        let frame = Ethernet::new([2; 6], [2; 6]).ip(packet);
        let origin = scene::at(self.ifindex, ingress_ifindex);
        let outcome = self.kernel.test_run(program, &frame, origin);
        outcome.unwrap().passed
    }

    /// The pod's segment from a port to the peer's port 80.
    fn sends_tcp(&mut self, port: u16, flags: u8) -> bool {
        let (own, peer) = (self.own_socket(port), self.peer_socket());
        self.sends(6, &Tcp::new(flags).segment(own, peer))
    }

    /// The peer's segment from port 80.
    fn receives_tcp(&mut self, port: u16, flags: u8) -> bool {
        let (own, peer) = (self.own_socket(port), self.peer_socket());
        self.receives(6, &Tcp::new(flags).segment(peer, own))
    }

    fn own_socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.own, port)
    }

    fn peer_socket(&self) -> SocketAddr {
        SocketAddr::new(self.peer, 80)
    }

    /// Both sides send; each processor has a copy of the flow afterwards, if it makes any.
    fn talk(&mut self, all: &[usize], port: u16) {
        for processor in all {
            processors::stay_on(*processor);
            for _ in 0..2 {
                assert!(self.sends_tcp(port, ACK) && self.receives_tcp(port, ACK));
            }
        }
    }

    /// The pod connects, and both sides send.
    fn connect(&mut self, all: &[usize], port: u16) {
        assert!(self.sends_tcp(port, SYN), "port {port}");
        assert!(self.receives_tcp(port, SYN | ACK));
        self.talk(all, port);
    }
}

#[test]
fn only_echoes_ride_on_an_echo_whatever_its_identifier() {
    processors::stay_on_one();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        let (own, peer) = (scene.own, scene.peer);
        let number = icmp::protocol(own);
        // An address mask reply, an experiment that is no error.
        let other = if own.is_ipv6() { 200 } else { 18 };
        let other = icmp::message(peer, own, other, 0, &[0; 8]);
        for id in [0, 7] {
            scene.enter(pair);
            assert!(!scene.receives(number, &other));
            for sequence in 1..=3 {
                let request = icmp::echo_request(own, peer, id, sequence);
                let reply = icmp::echo_reply(peer, own, id, sequence);
                assert!(scene.sends(number, &request));
                assert!(scene.receives(number, &reply), "reply {sequence} of {id}");
            }
            assert!(!scene.receives(number, &other), "identifier {id}, {peer}");
        }
    }
}

#[test]
fn a_change_reaches_connections_that_processors_have_copies_of() {
    let all = processors::all();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        scene.connect(&all, 4000);
        scene.apply(&[pod(POD, scene.id, [CLOSED; 2])]);
        for processor in &all {
            processors::stay_on(*processor);
            assert!(!scene.sends_tcp(4000, ACK) && !scene.receives_tcp(4000, ACK));
        }
        scene.apply(&[pod(POD, scene.id, [CLOSED, OPEN])]);
        scene.talk(&all, 4000);
    }
}

#[test]
fn a_pod_that_got_the_number_of_another_does_not_get_its_connections() {
    let all = processors::all();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        scene.connect(&all, 4000);
        let (ifindex, id) = (POD, EndpointId(scene.id));
        scene.ifindex = POD + 1;
        let other = pod(POD + 1, scene.id, [CLOSED; 2]);
        scene.apply(&[Op::DeleteEndpoint { ifindex, id }, Op::Grace, other]);
        for processor in &all {
            processors::stay_on(*processor);
            assert!(!scene.sends_tcp(4000, ACK) && !scene.receives_tcp(4000, ACK));
        }
    }
}

#[test]
fn a_connection_that_ends_on_several_processors_gives_way_though_all_have_copies() {
    let all = processors::all();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        scene.connect(&all, 4000);
        assert!(!scene.sends_tcp(4001, SYN), "one connection is the limit");
        processors::stay_on(all[0]);
        assert!(scene.sends_tcp(4000, FIN | ACK));
        processors::stay_on(all[all.len() - 1]);
        assert!(scene.receives_tcp(4000, FIN | ACK));
        scene.connect(&all, 4001);
    }
}

#[test]
fn the_other_side_opens_nothing_on_a_connection_that_processors_have_copies_of() {
    processors::stay_on_one();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        // An initiate tag of 1, which is also every packet's verification tag.
        let chunk = |kind| [kind, 0, 0, 8, 0, 0, 0, 1];
        let own = |kind| sctp::packet(4000, 80, 1, &chunk(kind));
        let peer = |kind| sctp::packet(80, 4000, 1, &chunk(kind));
        let (init, init_ack, data) = (1, 2, 0);
        assert!(scene.sends(sctp::PROTOCOL, &own(init)));
        assert!(scene.receives(sctp::PROTOCOL, &peer(init_ack)));
        for _ in 0..2 {
            assert!(scene.sends(sctp::PROTOCOL, &own(data)));
            assert!(scene.receives(sctp::PROTOCOL, &peer(data)));
        }
        assert!(!scene.receives(sctp::PROTOCOL, &peer(init)));
        assert!(scene.receives(sctp::PROTOCOL, &peer(data)));
    }
}

#[test]
fn interfaces_that_share_a_processors_slot_are_each_judged_by_their_own_rules() {
    let all = processors::all();
    let mut scene = Scene::new();
    for pair in PAIRS {
        scene.enter(pair);
        // Whatever the number of slots, up to this power of two.
        let others = (4..14).map(|bit| POD + (1 << bit));
        let ops: Vec<Op> = (10..)
            .zip(others.clone())
            .map(|(id, ifindex)| pod(ifindex, id, [OPEN, CLOSED]))
            .collect();
        scene.apply(&ops);
        for processor in &all {
            processors::stay_on(*processor);
            for other in others.clone() {
                for (ifindex, is_first) in [(POD, true), (other, false), (POD, true)] {
                    scene.ifindex = ifindex;
                    assert_eq!(scene.sends_tcp(4000, ACK), is_first, "{ifindex}");
                    assert_eq!(scene.receives_tcp(4000, ACK), !is_first, "{ifindex}");
                }
            }
        }
    }
}
