//! Headers that lie, and headers that a careless parser reads at the wrong place.

use policy_common::Reason;
use policy_harness::wire::{Ipv4, Ipv6, transport, udp};

use crate::{
    Case,
    Ways::{All, RoutedClsact, RoutedTcx},
    scene::{CAGED, FRIEND, OUTSIDE, PINGER, STRANGER, Scene, WEB, leaving, reaching, v4, v6},
};

pub(crate) const CASES: &[Case] = &[
    ("ports begin behind IPv4 options", options, All),
    (
        "an IPv4 header length below five words is malformed",
        short_header,
        RoutedTcx,
    ),
    (
        "a total length beyond the frame is malformed",
        long_packet,
        RoutedClsact,
    ),
    (
        "a transport header that is cut off is malformed",
        cut_off,
        RoutedTcx,
    ),
    (
        "an IP version that contradicts the ethertype is malformed",
        version,
        RoutedClsact,
    ),
    ("VLAN-tagged frames of pods are dropped", vlan, All),
    (
        "the family that a policy does not name is denied",
        other_family,
        RoutedTcx,
    ),
    (
        "a protocol without ports passes only where a rule has none",
        portless,
        RoutedClsact,
    ),
];

/// Stream identifier (RFC 791) whose value reads as port 53 where the ports of a packet without
/// options would be.
const OPTIONS: [u8; 4] = [0x88, 4, 0, 53];

fn options(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for (port, passes) in [(53, true), (54, false)] {
            let (source, to) = scene.ends(from, WEB, false, port);
            let (src, dst) = v4(source, to);
            let token = scene.token();
            let header = Ipv4 {
                options: OPTIONS.to_vec(),
                ..Ipv4::new(src, dst, transport::UDP)
            };
            let packet = header.packet(&udp(source, to, &token));
            if passes {
                scene.passes("options before port 53", from, WEB, &packet, &token);
            } else {
                let denied = if from == CAGED {
                    leaving(CAGED, Reason::Policy)
                } else {
                    reaching(WEB, Reason::Policy)
                };
                scene.is_dropped("options before 54", (from, WEB), &packet, &token, denied);
            }
        }
    }
}

/// Breaks packets from a free and from an isolated pod; whole, they pass.
fn broken(scene: &mut Scene, what: &str, v6: bool, lie: impl Fn(&mut Vec<u8>)) {
    for from in [FRIEND, CAGED] {
        let (packet, token) = scene.datagram(from, WEB, v6, 53);
        scene.passes(what, from, WEB, &packet, &token);
        let (mut packet, token) = scene.datagram(from, WEB, v6, 53);
        lie(&mut packet);
        let frame_of = if v6 { 0x86dd } else { 0x0800 };
        let frame = scene.ethernet(from, WEB).frame(frame_of, &packet);
        let denied = leaving(from, Reason::Malformed);
        scene.frames_are_dropped(what, (from, WEB), &[frame], &token, denied);
    }
}

fn short_header(scene: &mut Scene) {
    for words in [0, 1, 4] {
        broken(scene, &format!("ihl {words}"), false, |packet| {
            packet[0] = 0x40 | words;
        });
    }
    // So long that the header ends behind the packet.
    broken(scene, "ihl 15 in a packet of 40 bytes", false, |packet| {
        packet[0] = 0x4f;
        packet[3] = 40;
        packet.truncate(40);
    });
}

fn long_packet(scene: &mut Scene) {
    broken(scene, "total length", false, |packet| packet[2] = 0x20);
    broken(scene, "payload length", true, |packet| packet[4] = 0x20);
}

fn cut_off(scene: &mut Scene) {
    for v6 in [false, true] {
        broken(scene, "four bytes of UDP", v6, |packet| {
            let header = if v6 { 40 } else { 20 };
            packet.truncate(header + 4);
            let at = if v6 { 5 } else { 3 };
            packet[at] = if v6 { 4 } else { 24 };
        });
    }
    // What lies behind the IP packet is padding, not ports.
    broken(
        scene,
        "ports behind the end of the packet",
        false,
        |packet| {
            packet[2..4].copy_from_slice(&[0, 20]);
        },
    );
}

fn version(scene: &mut Scene) {
    broken(scene, "version 6 in an IPv4 frame", false, |packet| {
        packet[0] = 0x65
    });
    broken(scene, "version 4 in an IPv6 frame", true, |packet| {
        packet[0] = 0x45
    });
}

fn vlan(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for tags in [
            vec![],
            vec![0],
            vec![0x6000],
            vec![7],
            vec![0, 0],
            vec![7, 8],
        ] {
            for v6 in [false, true] {
                let (packet, token) = scene.datagram(from, WEB, v6, 53);
                let mut ethernet = scene.ethernet(from, WEB);
                ethernet.vlans.clone_from(&tags);
                let frames = [ethernet.ip(&packet)];
                let what = format!("tags {tags:?}");
                if tags.is_empty() {
                    scene.frames_pass(&what, from, WEB, &frames, &token);
                } else {
                    let denied = leaving(from, Reason::VlanTag);
                    scene.frames_are_dropped(&what, (from, WEB), &frames, &token, denied);
                }
            }
        }
    }
}

fn other_family(scene: &mut Scene) {
    let (packet, token) = scene.datagram(OUTSIDE, WEB, false, 8080);
    scene.passes("the named family", OUTSIDE, WEB, &packet, &token);
    let (packet, token) = scene.datagram(OUTSIDE, WEB, true, 8080);
    let denied = reaching(WEB, Reason::Policy);
    scene.is_dropped("the other family", (OUTSIDE, WEB), &packet, &token, denied);
}

fn portless(scene: &mut Scene) {
    const EXPERIMENTAL: u8 = 253;
    for (from, passes) in [(PINGER, true), (FRIEND, false), (STRANGER, false)] {
        for family in [false, true] {
            let (source, to) = scene.ends(from, WEB, family, 53);
            let token = scene.token();
            let packet = if family {
                let (source, to) = v6(source, to);
                Ipv6::new(source, to, EXPERIMENTAL).packet(&token)
            } else {
                let (source, to) = v4(source, to);
                Ipv4::new(source, to, EXPERIMENTAL).packet(&token)
            };
            if passes {
                scene.passes("protocol 253", from, WEB, &packet, &token);
            } else {
                let denied = reaching(WEB, Reason::Policy);
                scene.is_dropped("protocol 253", (from, WEB), &packet, &token, denied);
            }
        }
    }
}
