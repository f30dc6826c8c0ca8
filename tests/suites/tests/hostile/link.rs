//! ARP, neighbour discovery, router messages: what a pod may say about the link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_common::Reason;
use policy_harness::wire::{
    Ipv4, Ipv6, arp, icmp,
    ip::{BROADCAST, Ethernet},
};

use crate::{
    Case,
    Ways::{All, Bridged, RoutedClsact, RoutedTcx},
    scene::{
        CAGED, FRIEND, PINGER, SOON, STRANGER, Scene, WEB, has, leaving, link_local, reaching,
    },
};

pub(crate) const CASES: &[Case] = &[
    ("ARP in another's name is dropped", arp_sender, All),
    (
        "a neighbour advertisement for another's address is dropped",
        advertisement,
        All,
    ),
    (
        "neighbour discovery with an unspecified source is for own addresses",
        unspecified,
        RoutedTcx,
    ),
    (
        "router advertisements and redirects of pods are dropped",
        router,
        RoutedClsact,
    ),
    (
        "a neighbour's global address is asked for from a link-local one",
        still_there,
        Bridged,
    ),
    (
        "data in discovery types to global addresses is policed",
        data,
        RoutedTcx,
    ),
];

const ARP: u16 = 0x0806;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("{address} is not IPv4"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("{address} is not IPv6"),
    }
}

fn arp_sender(scene: &mut Scene) {
    for from in [STRANGER, CAGED] {
        let (own, mac) = (v4(scene.address(from, false)), scene.pod(from).mac);
        let ethernet = Ethernet::new(mac, BROADCAST);
        let question = arp(1, (mac, own), ([0; 6], GATEWAY));
        let port = scene.port(from);
        port.send(&ethernet.frame(ARP, &question)).unwrap();
        let answer = port.capture(SOON, |frame| {
            frame[12..14] == ARP.to_be_bytes() && frame[20..22] == [0, 2]
        });
        assert!(answer.unwrap().is_some(), "{from}: the gateway must answer");

        let friend = v4(scene.address(FRIEND, false));
        for (what, operation, claimed) in [
            ("the friend's, as an answer", 2, friend),
            ("the friend's, as a question", 1, friend),
            ("the gateway's", 2, GATEWAY),
            ("the host's", 2, "192.0.2.1".parse().unwrap()),
            ("nobody's", 2, "10.1.0.99".parse().unwrap()),
        ] {
            let web = (scene.pod(WEB).mac, v4(scene.address(WEB, false)));
            let claim = ethernet.frame(ARP, &arp(operation, (mac, claimed), web));
            let denied = leaving(from, Reason::ArpSender);
            // The claim itself is what must not arrive.
            let claim_bytes = claim[14..].to_vec();
            scene.frames_are_dropped(what, (from, WEB), &[claim], &claim_bytes, denied);
        }
    }
}

/// A discovery message: type, target, and a link-layer address option of a type.
fn discovery(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    target: Ipv6Addr,
    option: Option<(u8, [u8; 6])>,
) -> Vec<u8> {
    let flags = if kind == 136 { 0x20 } else { 0 };
    let mut rest = vec![flags, 0, 0, 0];
    rest.extend(target.octets());
    if let Some((option, mac)) = option {
        rest.extend([option, 1]);
        rest.extend(mac);
    }
    let message = icmp::message(source.into(), destination.into(), kind, 0, &rest);
    let header = Ipv6 {
        hop_limit: 255,
        ..Ipv6::new(source, destination, icmp::ICMPV6)
    };
    header.packet(&message)
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn advertisement(scene: &mut Scene) {
    for from in [STRANGER, CAGED] {
        let (own, mac) = (v6(scene.address(from, true)), scene.pod(from).mac);
        let ethernet = scene.ethernet(from, "host");
        let port = scene.port(from);
        let question = discovery(own, LINK_GATEWAY, 135, LINK_GATEWAY, Some((1, mac)));
        port.send(&ethernet.ip(&question)).unwrap();
        let answer = port.capture(SOON, |frame| {
            frame.len() >= 78 && frame[20] == 58 && frame[54] == 136 && frame[..6] == mac
        });
        assert!(answer.unwrap().is_some(), "{from}: the gateway must answer");

        let friend = v6(scene.address(FRIEND, true));
        for target in [friend, LINK_GATEWAY, "2001:db8:ff::1".parse().unwrap()] {
            for (destination, mac_to) in [
                (ALL_NODES, [0x33, 0x33, 0, 0, 0, 1]),
                (
                    v6(scene.address(WEB, true)),
                    scene.ethernet(from, WEB).destination,
                ),
            ] {
                let claim = discovery(own, destination, 136, target, Some((2, mac)));
                let frame = Ethernet::new(mac, mac_to).ip(&claim);
                let what = format!("{target} to {destination}");
                let denied = leaving(from, Reason::NeighbourSender);
                scene.frames_are_dropped(&what, (from, WEB), &[frame], &claim, denied);
            }
        }
    }
}

fn unspecified(scene: &mut Scene) {
    let none = Ipv6Addr::UNSPECIFIED;
    for from in [STRANGER, CAGED] {
        let mac = scene.pod(from).mac;
        let ethernet = Ethernet::new(mac, [0x33, 0x33, 0, 0, 0, 1]);
        let own = v6(scene.address(from, true));
        let mark = scene.cluster.mark();
        let port = scene.port(from);
        port.send(&ethernet.ip(&discovery(none, ALL_NODES, 135, own, None)))
            .unwrap();
        let friend = v6(scene.address(FRIEND, true));
        let question = discovery(none, ALL_NODES, 135, friend, None);
        let denied = leaving(from, Reason::NeighbourSender);
        let frame = ethernet.ip(&question);
        scene.frames_are_dropped(
            "detection for another's",
            (from, WEB),
            &[frame],
            &question,
            denied,
        );
        let drops = scene.cluster.agent.drops_since(mark);
        let count = drops
            .iter()
            .filter(|drop| drop.pod.as_deref() == Some(from) && drop.is(Reason::NeighbourSender));
        assert_eq!(
            count.count(),
            1,
            "detection for its own must pass: {drops:#?}"
        );
    }
}

/// What Linux asks before it forgets a neighbour (RFC 4861, 7.3.3).
fn still_there(scene: &mut Scene) {
    let web = v6(scene.address(WEB, true));
    for from in [FRIEND, CAGED, STRANGER] {
        let mac = scene.pod(from).mac;
        let own = link_local(scene, from);
        let question = discovery(own, web, 135, web, Some((1, mac)));
        scene.passes("a bare question", from, WEB, &question, &question);

        let denied = leaving(from, Reason::SourceAddress);
        let gateway = discovery(LINK_GATEWAY, web, 135, web, Some((1, mac)));
        scene.is_dropped("as the gateway", (from, WEB), &gateway, &gateway, denied);
        let token = scene.token();
        let rest = [&[0; 4], &web.octets()[..], &token].concat();
        let message = icmp::message(own.into(), web.into(), 135, 0, &rest);
        let header = Ipv6 {
            hop_limit: 255,
            ..Ipv6::new(own, web, icmp::ICMPV6)
        };
        let packet = header.packet(&message);
        scene.is_dropped("with data", (from, WEB), &packet, &token, denied);
    }
}

fn router(scene: &mut Scene) {
    for from in [STRANGER, CAGED] {
        let own = v6(scene.address(from, true));
        let link_own = link_local(scene, from);
        let mac = scene.pod(from).mac;
        let ethernet = Ethernet::new(mac, [0x33, 0x33, 0, 0, 0, 1]);
        let denied = leaving(from, Reason::RouterMessage);
        for (kind, source) in [(134, link_own), (134, own), (137, link_own), (137, own)] {
            let packet = discovery(source, ALL_NODES, kind, own, None);
            let what = format!("ICMPv6 type {kind} from {source}");
            let frame = ethernet.ip(&packet);
            scene.frames_are_dropped(&what, (from, WEB), &[frame], &packet, denied);
        }
        let source = v4(scene.address(from, false));
        let web = v4(scene.address(WEB, false));
        for kind in [5, 9] {
            let token = scene.token();
            let message = icmp::message(source.into(), web.into(), kind, 0, &token);
            let packet = Ipv4::new(source, web, icmp::ICMP).packet(&message);
            let what = format!("ICMP type {kind}");
            scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
        }
    }
    // Its neighbour type is an ordinary message to whoever lets it in.
    let (source, web) = (scene.address(PINGER, false), scene.address(WEB, false));
    let token = scene.token();
    let message = icmp::message(source, web, 13, 0, &token);
    let packet = Ipv4::new(v4(source), v4(web), icmp::ICMP).packet(&message);
    scene.passes("a timestamp request", PINGER, WEB, &packet, &token);
}

fn data(scene: &mut Scene) {
    for (from, denied) in [
        (CAGED, Some(leaving(CAGED, Reason::Policy))),
        (FRIEND, Some(reaching(WEB, Reason::Policy))),
        (PINGER, None),
    ] {
        let (own, web) = (v6(scene.address(from, true)), v6(scene.address(WEB, true)));
        for (kind, hop_limit) in [
            (133, 255),
            (135, 255),
            (136, 255),
            (130, 64),
            (131, 64),
            (132, 64),
            (143, 64),
            (135, 64),
            (136, 64),
        ] {
            let token = scene.token();
            // A target of its own, so that only the data makes it suspicious.
            let mut rest = vec![0; 4];
            rest.extend(own.octets());
            rest.extend(&token);
            assert!(has(&rest, &token));
            let message = icmp::message(own.into(), web.into(), kind, 0, &rest);
            let header = Ipv6 {
                hop_limit,
                ..Ipv6::new(own, web, icmp::ICMPV6)
            };
            let packet = header.packet(&message);
            let what = format!("type {kind}, hop limit {hop_limit}");
            match denied {
                Some(denied) => scene.is_dropped(&what, (from, WEB), &packet, &token, denied),
                None => scene.passes(&what, from, WEB, &packet, &token),
            }
        }
    }
}
