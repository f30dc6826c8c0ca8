//! Datagrams that the host joins for its connection tracking and divides again: IPv6 fragments with
//! headers of uneven length lose the interface by which they came, as if the host had sent them.

use policy_common::Reason;
use policy_harness::wire::{
    Ipv6,
    ip::Extension::{self, Plain},
    transport, udp,
};

use crate::{
    Case,
    Ways::All,
    scene::{CAGED, FRIEND, OUTSIDE, SOON, STRANGER, Scene, WEB, has, leaving, reaching, v6},
};

pub(crate) const CASES: &[Case] = &[(
    "IPv6 that the host divided again is not taken for the host's",
    uneven,
    All,
)];

const DESTINATION_OPTIONS: u8 = 60;

/// Connection tracking, which needs whole datagrams.
const RULES: &str = "table inet joined {
    chain pre {
        type filter hook prerouting priority 0
        ct state new counter
    }
}
";

/// The payload in two fragments of which only the first has destination options in front.
fn fragments(scene: &mut Scene, from: &str, port: u16) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (source, to) = scene.ends(from, WEB, true, port);
    let (token, id) = (scene.token(), scene.number());
    let mut words = vec![b'.'; 1300 - token.len()];
    words.extend(&token);
    let datagram = udp(source, to, &words);
    let (src, dst) = v6(source, to);
    let with = |front: Option<Extension>, offset: u16, payload: &[u8]| {
        let mut header = Ipv6::new(src, dst, transport::UDP);
        header.extensions.extend(front);
        let fragment = Extension::Fragment {
            offset,
            more: offset == 0,
            id: id.into(),
        };
        header.with(fragment).packet(payload)
    };
    let options = Plain(DESTINATION_OPTIONS, vec![1, 4, 0, 0, 0, 0]);
    let packets = vec![
        with(Some(options), 0, &datagram[..640]),
        with(None, 640, &datagram[640..]),
    ];
    (packets, token)
}

fn uneven(scene: &mut Scene) {
    let host = &scene.cluster.node.host;
    host.exec("nft", &[RULES]).unwrap();
    for (from, port, denied) in [
        (OUTSIDE, 53, None),
        (OUTSIDE, 54, Some(reaching(WEB, Reason::Policy))),
        (FRIEND, 53, None),
        (FRIEND, 54, Some(reaching(WEB, Reason::Policy))),
        (STRANGER, 53, Some(reaching(WEB, Reason::Policy))),
        (CAGED, 53, None),
        (CAGED, 54, Some(leaving(CAGED, Reason::Policy))),
    ] {
        let (packets, token) = fragments(scene, from, port);
        // A packet within a bridge never meets the host's connection tracking: through the gateway
        // it does.
        let ethernet = if from == OUTSIDE {
            scene.ethernet(from, WEB)
        } else {
            scene.ethernet(from, "host")
        };
        let frames: Vec<_> = packets.iter().map(|packet| ethernet.ip(packet)).collect();
        let what = format!("to port {port}");
        match denied {
            None => divided_again_and_pass(scene, &what, from, &frames, &token),
            Some(denied) => scene.frames_are_dropped(&what, (from, WEB), &frames, &token, denied),
        }
    }
    let host = &scene.cluster.node.host;
    host.exec("nft", &["delete", "table", "inet", "joined"])
        .unwrap();
}

/// The destination options, which only the first fragment had, are before every one now: the host
/// made these fragments.
fn divided_again_and_pass(scene: &Scene, what: &str, from: &str, frames: &[Vec<u8>], token: &[u8]) {
    let there = scene.port(WEB);
    scene.frames_pass(what, from, WEB, frames, token);
    let arrived = there.capture(SOON, |frame| has(frame, token)).unwrap();
    let next_header = arrived.and_then(|frame| frame.get(20).copied());
    assert_eq!(next_header, Some(DESTINATION_OPTIONS), "{what}");
}
