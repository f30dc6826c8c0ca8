//! Datagrams in pieces: no piece passes whose first one was not allowed, and no payload is read as
//! ports.

use std::net::SocketAddr;

use policy_common::Reason;
use policy_harness::wire::{
    Ipv4, Ipv6, Tcp,
    ip::Extension,
    transport::{self, flag},
    udp,
};

use crate::{
    Case,
    Ways::{All, RoutedClsact, RoutedTcx},
    scene::{CAGED, Denied, FRIEND, STRANGER, Scene, WEB, leaving, reaching, v4, v6},
};

pub(crate) const CASES: &[Case] = &[
    ("fragments follow their first one", follow, All),
    (
        "a later fragment before its first one is dropped",
        out_of_order,
        RoutedTcx,
    ),
    (
        "a first fragment without its whole transport header is dropped",
        tiny,
        RoutedClsact,
    ),
    (
        "a later fragment inside the transport header is dropped",
        overlapping,
        All,
    ),
    (
        "two senders with one identification do not share a first fragment",
        one_id,
        RoutedTcx,
    ),
    (
        "a bare later fragment whose payload looks like ports is dropped",
        disguised,
        RoutedClsact,
    ),
];

/// One datagram or segment in pieces of a size, with an identification.
pub(crate) fn pieces(
    (source, to): (SocketAddr, SocketAddr),
    protocol: u8,
    payload: &[u8],
    size: u16,
    id: u16,
) -> Vec<Vec<u8>> {
    if source.is_ipv6() {
        let (source, to) = v6(source, to);
        Ipv6::new(source, to, protocol).fragments(payload, size, id.into())
    } else {
        let (source, to) = v4(source, to);
        let header = Ipv4 {
            id,
            ..Ipv4::new(source, to, protocol)
        };
        header.fragments(payload, size)
    }
}

/// The bytes of a later fragment at an offset.
fn later(
    (source, to): (SocketAddr, SocketAddr),
    protocol: u8,
    payload: &[u8],
    offset: u16,
    id: u16,
) -> Vec<u8> {
    if source.is_ipv6() {
        let (source, to) = v6(source, to);
        let fragment = Extension::Fragment {
            offset,
            more: false,
            id: id.into(),
        };
        Ipv6::new(source, to, protocol)
            .with(fragment)
            .packet(payload)
    } else {
        let (source, to) = v4(source, to);
        let header = Ipv4 {
            id,
            offset,
            ..Ipv4::new(source, to, protocol)
        };
        header.packet(payload)
    }
}

/// 100 bytes whose last ones are the token: behind a header of UDP or TCP, and divided in pieces
/// of 64, it stands in the last piece whole.
pub(crate) fn long(token: &[u8]) -> Vec<u8> {
    let mut payload = vec![b'.'; 100 - token.len()];
    payload.extend(token);
    payload
}

pub(crate) fn frames(scene: &Scene, from: &str, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let ethernet = scene.ethernet(from, WEB);
    packets.iter().map(|packet| ethernet.ip(packet)).collect()
}

/// Where packets to `web` meet their policy: a free pod's on their way in.
pub(crate) fn judged(from: &'static str, reason: Reason) -> Denied {
    if from == CAGED {
        leaving(from, reason)
    } else {
        reaching(WEB, reason)
    }
}

fn follow(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            for (port, passes) in [(53, true), (54, false)] {
                let ends = scene.ends(from, WEB, family, port);
                let (token, id) = (scene.token(), scene.number());
                let datagram = udp(ends.0, ends.1, &long(&token));
                let packets = pieces(ends, transport::UDP, &datagram, 64, id);
                let frames = frames(scene, from, &packets);
                if passes {
                    scene.frames_pass("in order", from, WEB, &frames, &token);
                } else {
                    let denied = judged(from, Reason::UnseenFragment);
                    scene.frames_are_dropped("denied", (from, WEB), &frames, &token, denied);
                }
            }
        }
    }
}

fn out_of_order(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            let ends = scene.ends(from, WEB, family, 53);
            let (token, id) = (scene.token(), scene.number());
            let datagram = udp(ends.0, ends.1, &long(&token));
            let packets = pieces(ends, transport::UDP, &datagram, 64, id);
            let frames = frames(scene, from, &packets);
            let backwards: Vec<_> = frames.iter().rev().cloned().collect();
            let denied = judged(from, Reason::UnseenFragment);
            scene.frames_are_dropped("last first", (from, WEB), &backwards, &token, denied);
            // The first one has come now: the last one may follow it.
            let last = frames.last().cloned().into_iter().collect::<Vec<_>>();
            scene.frames_pass("the last one again", from, WEB, &last, &token);
        }
    }
}

fn tiny(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            let ends = scene.ends(from, WEB, family, 80);
            let (token, id) = (scene.token(), scene.number());
            let syn = Tcp {
                payload: long(&token),
                ..Tcp::new(flag::SYN)
            };
            let segment = syn.segment(ends.0, ends.1);
            for size in [8, 16] {
                let packets = pieces(ends, transport::TCP, &segment, size, id);
                let tiny = frames(scene, from, &packets[..1]);
                let denied = judged(from, Reason::TinyFragment);
                let start = &segment[..8];
                scene.frames_are_dropped("tiny", (from, WEB), &tiny, start, denied);
            }
            let id = scene.number();
            let mut packets = pieces(ends, transport::TCP, &segment, 24, id);
            packets.truncate(1);
            packets.push(later(ends, transport::TCP, &segment[24..], 24, id));
            let whole = frames(scene, from, &packets);
            scene.frames_pass("with its whole header", from, WEB, &whole, &token);
        }
    }
}

fn overlapping(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            let ends = scene.ends(from, WEB, family, 80);
            let (token, id) = (scene.token(), scene.number());
            let segment = Tcp::new(flag::SYN).segment(ends.0, ends.1);
            let mut first = pieces(
                ends,
                transport::TCP,
                &[segment, long(&token)].concat(),
                64,
                id,
            );
            first.truncate(1);
            let start = scene.ethernet(from, WEB).ip(&first[0]);
            for (offset, passes) in [(8, false), (16, false), (24, true), (64, true)] {
                let token = scene.token();
                let rest = later(ends, transport::TCP, &long(&token), offset, id);
                let rest = scene.ethernet(from, WEB).ip(&rest);
                let frames = [start.clone(), rest];
                let what = format!("offset {offset}");
                if passes {
                    scene.frames_pass(&what, from, WEB, &frames, &token);
                } else {
                    let denied = judged(from, Reason::OverlappingFragment);
                    scene.frames_are_dropped(&what, (from, WEB), &frames, &token, denied);
                }
            }
        }
    }
}

fn one_id(scene: &mut Scene) {
    for family in [false, true] {
        let id = scene.number();
        let ours = scene.ends(FRIEND, WEB, family, 53);
        let token = scene.token();
        let datagram = udp(ours.0, ours.1, &long(&token));
        let packets = pieces(ours, transport::UDP, &datagram, 64, id);
        let whole = frames(scene, FRIEND, &packets);
        scene.frames_pass("of the friend", FRIEND, WEB, &whole, &token);

        let theirs = scene.ends(STRANGER, WEB, family, 53);
        let token = scene.token();
        let packet = later(theirs, transport::UDP, &long(&token), 64, id);
        let denied = reaching(WEB, Reason::UnseenFragment);
        scene.is_dropped("of the stranger", (STRANGER, WEB), &packet, &token, denied);
    }
}

fn disguised(scene: &mut Scene) {
    for from in [FRIEND, CAGED] {
        for family in [false, true] {
            let ends = scene.ends(from, WEB, family, 53);
            let token = scene.token();
            let datagram = udp(ends.0, ends.1, &token);
            let whole = if family {
                let (source, to) = v6(ends.0, ends.1);
                Ipv6::new(source, to, transport::UDP).packet(&datagram)
            } else {
                let (source, to) = v4(ends.0, ends.1);
                Ipv4::new(source, to, transport::UDP).packet(&datagram)
            };
            scene.passes("whole", from, WEB, &whole, &token);
            let (token, id) = (scene.token(), scene.number());
            let datagram = udp(ends.0, ends.1, &token);
            let packet = later(ends, transport::UDP, &datagram, 128, id);
            let denied = judged(from, Reason::UnseenFragment);
            scene.is_dropped("as a later fragment", (from, WEB), &packet, &token, denied);
        }
    }
}
