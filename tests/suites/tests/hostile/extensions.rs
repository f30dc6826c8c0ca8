//! IPv6 extension headers: the transport header is behind all of them, wherever they stand.

use policy_common::Reason;
use policy_harness::wire::{
    Ipv6,
    ip::Extension::{self, Authentication, Fragment, Plain},
    transport, udp,
};

use crate::{
    Case,
    Ways::{All, RoutedClsact, RoutedTcx},
    scene::{CAGED, FRIEND, OUTSIDE, Scene, WEB, leaving, reaching, v6},
};

pub(crate) const CASES: &[Case] = &[
    ("ports are found behind extension headers", walked, All),
    (
        "more extension headers than are walked are dropped",
        too_many,
        RoutedTcx,
    ),
    (
        "a routing header that is not used up is dropped",
        routing,
        RoutedClsact,
    ),
    (
        "an unknown header is a protocol without ports",
        unknown,
        RoutedTcx,
    ),
];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// An option that says "skip me": what a parser that does not walk takes for ports says 53.
fn padding() -> Vec<u8> {
    vec![0x1e, 4, 0, 53, 0, 53]
}

const ATOMIC: Extension = Fragment {
    offset: 0,
    more: false,
    id: 77,
};

fn chains() -> [(&'static str, Vec<Extension>); 9] {
    let options = |number| Plain(number, padding());
    [
        ("hop-by-hop", vec![options(HOP_BY_HOP)]),
        ("destination options", vec![options(DESTINATION)]),
        (
            "long destination options",
            vec![Plain(DESTINATION, [&[1, 60][..], &[0; 60]].concat())],
        ),
        (
            "routing, used up",
            vec![Plain(ROUTING, vec![4, 0, 0, 0, 0, 0])],
        ),
        ("authentication of 12 bytes", vec![Authentication(12)]),
        ("authentication of 32 bytes", vec![Authentication(32)]),
        ("atomic fragment", vec![ATOMIC]),
        (
            "destination options behind a fragment header",
            vec![ATOMIC, options(DESTINATION)],
        ),
        (
            "six of them",
            vec![
                options(HOP_BY_HOP),
                options(DESTINATION),
                ATOMIC,
                Authentication(12),
                options(DESTINATION),
                options(DESTINATION),
            ],
        ),
    ]
}

fn packet(scene: &mut Scene, from: &str, port: u16, chain: &[Extension]) -> (Vec<u8>, Vec<u8>) {
    let (source, to) = scene.ends(from, WEB, true, port);
    let token = scene.token();
    let (src, dst) = v6(source, to);
    let header = Ipv6 {
        extensions: chain.to_vec(),
        ..Ipv6::new(src, dst, transport::UDP)
    };
    (header.packet(&udp(source, to, &token)), token)
}

fn walked(scene: &mut Scene) {
    for (from, denied) in [
        (FRIEND, reaching(WEB, Reason::Policy)),
        (CAGED, leaving(CAGED, Reason::Policy)),
        (OUTSIDE, reaching(WEB, Reason::Policy)),
    ] {
        for (what, chain) in chains() {
            let (allowed, token) = packet(scene, from, 53, &chain);
            scene.passes(what, from, WEB, &allowed, &token);
            let (forbidden, token) = packet(scene, from, 54, &chain);
            scene.is_dropped(what, (from, WEB), &forbidden, &token, denied);
        }
    }
}

fn too_many(scene: &mut Scene) {
    let chain = vec![Plain(DESTINATION, padding()); 7];
    for (from, denied) in [
        (FRIEND, leaving(FRIEND, Reason::ExtensionHeaders)),
        (CAGED, leaving(CAGED, Reason::ExtensionHeaders)),
        (OUTSIDE, reaching(WEB, Reason::ExtensionHeaders)),
    ] {
        let (few, token) = packet(scene, from, 53, &chain[1..]);
        scene.passes("six", from, WEB, &few, &token);
        let (many, token) = packet(scene, from, 53, &chain);
        scene.is_dropped("seven", (from, WEB), &many, &token, denied);
    }
}

fn routing(scene: &mut Scene) {
    let with = |left: u8| vec![Plain(ROUTING, vec![4, left, 0, 0, 0, 0])];
    for (from, denied) in [
        (FRIEND, leaving(FRIEND, Reason::RoutingHeader)),
        (CAGED, leaving(CAGED, Reason::RoutingHeader)),
        (OUTSIDE, reaching(WEB, Reason::RoutingHeader)),
    ] {
        let (used, token) = packet(scene, from, 53, &with(0));
        scene.passes("no segments left", from, WEB, &used, &token);
        let (unused, token) = packet(scene, from, 53, &with(1));
        scene.is_dropped("a segment left", (from, WEB), &unused, &token, denied);
    }
}

fn unknown(scene: &mut Scene) {
    for number in [135, 139, 253] {
        for (from, denied) in [
            (FRIEND, reaching(WEB, Reason::Policy)),
            (CAGED, leaving(CAGED, Reason::Policy)),
        ] {
            let (known, token) = packet(scene, from, 53, &[Plain(DESTINATION, padding())]);
            scene.passes("destination options", from, WEB, &known, &token);
            let (unknown, token) = packet(scene, from, 53, &[Plain(number, padding())]);
            let what = format!("header {number}");
            scene.is_dropped(&what, (from, WEB), &unknown, &token, denied);
        }
    }
}
