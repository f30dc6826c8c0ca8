//! A pod with closed egress, and what this host translates: the pod that is reached judges it.

use policy_common::{
    Direction, DirectionRules, Endpoint, EndpointId, IdentityId, PortSetId,
    Reason::{self, Allowed, Flow, Host, NotIsolated, Policy, UnknownEndpoint, UnseenFragment},
    RuleKey, RulesetId,
};
use policy_ebpf::{Decision, Origin, Stamp, from_pod, lookup::Policy as _, owed};

use crate::{
    frames::{
        ACK, Header, ICMPV6, PLAIN, SYN, TCP, UDP, fragment_header, icmp, ip, ip_with, tcp, udp,
    },
    node::{HOST, ID, Node, OWN, POD, STRANGER, UPLINK, v4, v6},
    twin::Shot,
};

pub(crate) const BRIDGE: u32 = 9;
/// The pod that calls: it may use the other one's TCP 80 and nothing else.
pub(crate) const CALLER: EndpointId = EndpointId(6);
pub(crate) const CALLER_PORT: u32 = 12;
pub(crate) const CALLER_ADDRESSES: [&str; 2] = ["10.0.0.6", "fd00::6"];
const RULESET: RulesetId = RulesetId(4);
/// TCP 80 and UDP 53.
const WEB: PortSetId = PortSetId(7);

pub(crate) fn node() -> Node {
    let mut node = Node::new().with(0);
    *node.endpoint() = Endpoint {
        bridge: BRIDGE,
        ingress: DirectionRules::default(),
        egress: DirectionRules::default(),
        ..*node.pod()
    };
    node.put(CALLER_ADDRESSES, IdentityId(41), CALLER, 0);
    node.world.put_endpoint(Endpoint {
        epoch: 1,
        ifindex: CALLER_PORT,
        id: CALLER,
        bridge: BRIDGE,
        flags: Endpoint::EGRESS_ISOLATED,
        egress: DirectionRules {
            ruleset: RULESET,
            default_ports: PortSetId::DENY_ALL,
        },
        v4: v4(CALLER_ADDRESSES[0]),
        v6: v6(CALLER_ADDRESSES[1]),
        ..Endpoint::default()
    });
    for (identity, ports) in [
        (IdentityId::HOST, PortSetId::ALLOW_ALL),
        (IdentityId::SELF, PortSetId::ALLOW_ALL),
        (IdentityId::SERVICE, PortSetId::ALLOW_ALL),
        (IdentityId(20), WEB),
    ] {
        let ruleset = RULESET;
        node.world
            .rules
            .insert(RuleKey { ruleset, identity }, ports);
    }
    node
}

pub(crate) fn caller(node: &mut Node) -> &mut Endpoint {
    node.world.endpoints.get_mut(&CALLER).expect("the caller")
}

/// What the caller's hook says of a frame, and the stamp that it leaves.
pub(crate) fn sends(node: &Node, frame: &[u8]) -> (Reason, Stamp) {
    let origin = Origin {
        ifindex: CALLER_PORT,
        ingress_ifindex: CALLER_PORT,
        ..Origin::default()
    };
    let decision = from_pod::decide(&node.world, frame, &origin, &node.world.endpoints[&CALLER]);
    let stamp = if decision.is_owed() {
        Stamp::owed(CALLER)
    } else {
        Stamp::judged(CALLER)
    };
    (decision.reason().expect("a reason"), stamp)
}

/// What is said of the caller's egress where a frame reaches the other pod, if anything.
pub(crate) fn arrives(
    node: &Node,
    frame: &[u8],
    ingress_ifindex: u32,
    stamp: u16,
) -> Option<Reason> {
    judged(node, frame, ingress_ifindex, stamp).and_then(|decision| decision.reason())
}

fn judged(node: &Node, frame: &[u8], ingress_ifindex: u32, stamp: u16) -> Option<Decision> {
    let origin = Origin {
        ifindex: POD,
        ingress_ifindex,
        stamp,
        ..Origin::default()
    };
    let way = owed::way(&origin, node.world.link(origin.ingress_ifindex));
    if way == 0 {
        return None;
    }
    let against = owed::against(&node.world, frame, way);
    let decision = (against != 0).then_some(Decision(against))?;
    let shot = Shot {
        hook: Direction::Ingress,
        direction: Direction::Egress,
        frame,
        origin,
    };
    let said = || decision.reason().expect("a reason");
    node.twin.beside(&node.world, &shot, said);
    assert!(decision.drops());
    assert_eq!(
        against >> 16 & 0xffff,
        u64::from(CALLER.0),
        "it is the caller's"
    );
    Some(decision)
}

#[test]
fn what_goes_to_this_host_is_owed_with_every_packet() {
    let node = node();
    for family in 0..2 {
        let (own, host) = (CALLER_ADDRESSES[family], HOST[family]);
        let syn = ip(own, host, TCP, &tcp(4000, 8080, SYN));
        assert_eq!(sends(&node, &syn), (Allowed, Stamp::owed(CALLER)));
        for _ in 0..3 {
            let data = ip(own, host, TCP, &tcp(4000, 8080, ACK));
            assert_eq!(sends(&node, &data), (Flow, Stamp::owed(CALLER)));
        }
        let unopened = ip(own, host, TCP, &tcp(4001, 8080, ACK));
        assert_eq!(sends(&node, &unopened), (Allowed, Stamp::owed(CALLER)));
        for _ in 0..2 {
            let question = ip(own, host, UDP, &udp(4000, 53));
            assert_eq!(sends(&node, &question).1, Stamp::owed(CALLER));
        }
        // What is judged by its own destination is not.
        let direct = ip(own, OWN[family], TCP, &tcp(4000, 80, SYN));
        assert_eq!(sends(&node, &direct), (Allowed, Stamp::judged(CALLER)));
    }
}

#[test]
fn a_policy_change_leaves_what_is_owed_owed() {
    let mut node = node();
    let syn = ip(CALLER_ADDRESSES[0], HOST[0], TCP, &tcp(4000, 8080, SYN));
    let data = ip(CALLER_ADDRESSES[0], HOST[0], TCP, &tcp(4000, 8080, ACK));
    caller(&mut node).flags = Endpoint::INGRESS_ISOLATED;
    assert_eq!(sends(&node, &syn), (NotIsolated, Stamp::judged(CALLER)));
    caller(&mut node).flags = Endpoint::EGRESS_ISOLATED;
    caller(&mut node).epoch += 1;
    for _ in 0..2 {
        assert_eq!(sends(&node, &data), (Flow, Stamp::owed(CALLER)));
    }
}

#[test]
fn the_answers_to_who_opened_a_connection_to_the_pod_are_not_owed() {
    let mut node = node();
    caller(&mut node).flags |= Endpoint::INGRESS_ISOLATED;
    let ingress = DirectionRules {
        ruleset: RULESET,
        default_ports: PortSetId::ALLOW_ALL,
    };
    caller(&mut node).ingress = ingress;
    // A client from outside, which the host made come with its own address.
    let asks = ip(HOST[0], CALLER_ADDRESSES[0], TCP, &tcp(5000, 80, SYN));
    let origin = Origin {
        ifindex: CALLER_PORT,
        ingress_ifindex: UPLINK,
        ..Origin::default()
    };
    let endpoint = &node.world.endpoints[&CALLER];
    let opened = policy_ebpf::to_pod::decide(&node.world, asks.as_slice(), &origin, endpoint);
    assert_eq!(opened.reason(), Some(Allowed));
    let answers = ip(CALLER_ADDRESSES[0], HOST[0], TCP, &tcp(80, 5000, SYN | ACK));
    assert_eq!(sends(&node, &answers), (Flow, Stamp::judged(CALLER)));
}

#[test]
fn the_pod_that_is_reached_judges_by_what_the_packet_says_there() {
    let node = node();
    let owed = Stamp::owed(CALLER).0;
    for family in 0..2 {
        // As the caller, and as the host where that masquerades.
        for source in [CALLER_ADDRESSES[family], HOST[family]] {
            for by in [CALLER_PORT, BRIDGE, 0, 77] {
                let to = |port| ip(source, OWN[family], TCP, &tcp(4000, port, SYN));
                assert_eq!(arrives(&node, &to(80), by, owed), None);
                assert_eq!(arrives(&node, &to(81), by, owed), Some(Policy), "by {by}");
                let data = ip(source, OWN[family], TCP, &tcp(4000, 81, ACK));
                assert_eq!(arrives(&node, &data, by, owed), Some(Policy));
                let question = ip(source, OWN[family], UDP, &udp(4000, 54));
                assert_eq!(arrives(&node, &question, by, owed), Some(Policy));
            }
        }
        assert_eq!(node.world.flows(), 0, "nothing is remembered");
    }
}

#[test]
fn a_change_reaches_the_next_packet() {
    let mut node = node();
    let data = ip(CALLER_ADDRESSES[0], OWN[0], TCP, &tcp(4000, 80, ACK));
    let owed = Stamp::owed(CALLER).0;
    assert_eq!(arrives(&node, &data, CALLER_PORT, owed), None);
    let key = RuleKey {
        ruleset: RULESET,
        identity: IdentityId(20),
    };
    node.world.rules.insert(key, PortSetId::DENY_ALL);
    caller(&mut node).epoch += 1;
    assert_eq!(arrives(&node, &data, CALLER_PORT, owed), Some(Policy));
}

#[test]
fn a_pod_reaches_itself_by_way_of_the_host() {
    let node = node();
    let hairpin = ip(HOST[0], CALLER_ADDRESSES[0], TCP, &tcp(4000, 9, SYN));
    let owed = Stamp::owed(CALLER).0;
    assert_eq!(arrives(&node, &hairpin, CALLER_PORT, owed), None);
    assert_eq!(arrives(&node, &hairpin, BRIDGE, owed), None);
}

#[test]
fn a_packet_that_was_judged_where_it_began_is_not_judged_again() {
    let node = node();
    let direct = ip(CALLER_ADDRESSES[0], OWN[0], TCP, &tcp(4000, 81, SYN));
    let judged = Stamp::judged(CALLER).0;
    assert_eq!(arrives(&node, &direct, CALLER_PORT, judged), None);
    let outside = ip(STRANGER[0], OWN[0], TCP, &tcp(4000, 81, SYN));
    assert_eq!(arrives(&node, &outside, UPLINK, 0), None);
}

#[test]
fn a_packet_that_lost_its_stamp_is_judged_as_owed() {
    let node = node();
    for stamp in [0, 0x10, 0x7fff, 0x4000 | CALLER.0] {
        for family in 0..2 {
            let own = CALLER_ADDRESSES[family];
            let denied = ip(own, OWN[family], TCP, &tcp(4000, 81, SYN));
            for by in [CALLER_PORT, BRIDGE, 0] {
                assert_eq!(arrives(&node, &denied, by, stamp), Some(Policy), "{by}");
            }
            let allowed = ip(own, OWN[family], TCP, &tcp(4000, 80, SYN));
            assert_eq!(arrives(&node, &allowed, BRIDGE, stamp), None);
            // The host's address tells nobody, the caller's interface does.
            let masqueraded = ip(HOST[family], OWN[family], TCP, &tcp(4000, 81, SYN));
            let by_interface = arrives(&node, &masqueraded, CALLER_PORT, stamp);
            assert_eq!(by_interface, Some(Policy));
            let foreign = ip(STRANGER[family], OWN[family], TCP, &tcp(4000, 81, SYN));
            assert_eq!(arrives(&node, &foreign, BRIDGE, stamp), None);
        }
    }
}

#[test]
fn without_a_stamp_answers_and_what_keeps_the_link_alive_still_pass() {
    let mut node = node();
    // The other pod opened a connection to the caller, whose hooks saw it.
    let origin = Origin {
        ifindex: CALLER_PORT,
        ingress_ifindex: POD,
        stamp: Stamp::judged(ID).0,
        ..Origin::default()
    };
    let asks = ip(OWN[1], CALLER_ADDRESSES[1], TCP, &tcp(5000, 90, SYN));
    let endpoint = &node.world.endpoints[&CALLER];
    let opened = policy_ebpf::to_pod::decide(&node.world, asks.as_slice(), &origin, endpoint);
    assert!(!opened.drops());
    let answers = ip(CALLER_ADDRESSES[1], OWN[1], TCP, &tcp(90, 5000, SYN | ACK));
    assert_eq!(arrives(&node, &answers, CALLER_PORT, 0), None);
    let other = ip(CALLER_ADDRESSES[1], OWN[1], TCP, &tcp(90, 5001, SYN | ACK));
    assert_eq!(arrives(&node, &other, CALLER_PORT, 0), Some(Policy));
    let control = Header { hops: 255, ..PLAIN };
    for kind in [135, 136, 1, 2] {
        let message = ip_with(
            control,
            CALLER_ADDRESSES[1],
            OWN[1],
            ICMPV6,
            &icmp(kind, 0, &[0; 20]),
        );
        assert_eq!(
            arrives(&node, &message, CALLER_PORT, 0),
            None,
            "type {kind}"
        );
    }
    caller(&mut node).flags = Endpoint::UNKNOWN;
    let message = ip_with(
        control,
        CALLER_ADDRESSES[1],
        OWN[1],
        ICMPV6,
        &icmp(135, 0, &[0; 20]),
    );
    assert_eq!(arrives(&node, &message, CALLER_PORT, 0), None);
}

#[test]
fn an_unknown_pod_reaches_the_host_and_nobody_behind_it() {
    let mut node = node();
    caller(&mut node).flags = Endpoint::UNKNOWN;
    let to_host = ip(CALLER_ADDRESSES[0], HOST[0], TCP, &tcp(4000, 8080, SYN));
    assert_eq!(sends(&node, &to_host), (Host, Stamp::owed(CALLER)));
    let translated = ip(HOST[0], OWN[0], TCP, &tcp(4000, 80, SYN));
    let owed = Stamp::owed(CALLER).0;
    assert_eq!(
        arrives(&node, &translated, BRIDGE, owed),
        Some(UnknownEndpoint)
    );
}

#[test]
fn an_endpoint_that_went_owes_nothing_that_passes() {
    let mut node = node();
    node.world.remove_endpoint(CALLER_PORT);
    let packet = ip(HOST[0], OWN[0], TCP, &tcp(4000, 80, SYN));
    let owed = Stamp::owed(CALLER).0;
    assert_eq!(arrives(&node, &packet, BRIDGE, owed), Some(UnknownEndpoint));
}

#[test]
fn a_pod_whose_egress_is_open_owes_nothing() {
    let mut node = node();
    caller(&mut node).flags = Endpoint::INGRESS_ISOLATED;
    let packet = ip(HOST[0], OWN[0], TCP, &tcp(4000, 81, SYN));
    for stamp in [0, Stamp::owed(CALLER).0] {
        assert_eq!(arrives(&node, &packet, CALLER_PORT, stamp), None);
    }
}

#[test]
fn fragments_are_judged_by_the_ports_of_the_first_one() {
    let mut node = node();
    let owed = Stamp::owed(CALLER).0;
    let parts = |id: u8, port: u16| {
        let part = |fragment| Header { fragment, ..PLAIN };
        let begins = part((0, true, id.into()));
        let ends = part((1480, false, id.into()));
        [
            ip_with(begins, HOST[0], OWN[0], UDP, &udp(4000, port)),
            ip_with(ends, HOST[0], OWN[0], UDP, &[0; 40]),
        ]
    };
    let parts_v6 = |id: u8, port: u16| {
        [(0, true), (1448, false)].map(|(offset, more)| {
            let header = fragment_header(offset, more, id);
            let extensions = &[(44, &header[..])];
            let header = Header {
                extensions,
                ..PLAIN
            };
            ip_with(header, HOST[1], OWN[1], UDP, &udp(4000, port))
        })
    };
    for (id, port, reasons) in [
        (9, 53, [None, None]),
        (10, 54, [Some(Policy), Some(UnseenFragment)]),
    ] {
        for fragments in [parts(id, port), parts_v6(id, port)] {
            let judged = fragments.map(|fragment| arrives(&node, &fragment, BRIDGE, owed));
            assert_eq!(judged, reasons);
        }
    }
    // Whose egress is open owes nothing.
    caller(&mut node).flags = 0;
    let [_, ends] = parts(11, 54);
    assert_eq!(arrives(&node, &ends, BRIDGE, owed), None);
}

#[test]
fn what_is_denied_says_by_whose_rules_and_about_whom() {
    let node = node();
    let packet = ip(HOST[0], OWN[0], TCP, &tcp(4000, 81, SYN));
    let denied = judged(&node, &packet, CALLER_PORT, Stamp::owed(CALLER).0).expect("denied");
    assert_eq!(denied.reason(), Some(Policy));
    assert_eq!(denied.identity(), IdentityId(20));
}
