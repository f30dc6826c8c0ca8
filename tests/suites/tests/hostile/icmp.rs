//! ICMP: errors pass when they are about a flow, echoes belong to their identifier.

use std::net::{IpAddr, SocketAddr};

use policy_common::Reason;
use policy_harness::{
    topology::{OUTSIDE_V4, OUTSIDE_V6},
    wire::{
        Ipv4, Ipv6, icmp,
        ip::{self, Extension},
        transport, udp,
    },
};

use crate::{
    Case,
    Ways::{All, RoutedClsact, RoutedTcx},
    scene::{CAGED, OUTSIDE, PINGER, STRANGER, Scene, WEB, leaving, reaching, v4, v6},
};

pub(crate) const CASES: &[Case] = &[
    (
        "an error from a third address about an allowed flow passes",
        about_flow,
        All,
    ),
    (
        "an error about a flow is recognised behind options in the quote",
        odd_quotes,
        RoutedClsact,
    ),
    ("an error about another pod's flow is forged", forged, All),
    ("the echo identifier is the flow's port", echo, RoutedTcx),
];

/// The outside's own address: nobody names it.
fn third(v6: bool) -> IpAddr {
    let address = if v6 { OUTSIDE_V6 } else { OUTSIDE_V4 };
    address.parse().unwrap()
}

/// Types and codes of errors: fragmentation needed or packet too big, and others.
fn errors(v6: bool) -> [(u8, u8); 3] {
    if v6 {
        [(2, 0), (1, 4), (3, 0)]
    } else {
        [(3, 4), (3, 1), (11, 0)]
    }
}

fn error(
    source: IpAddr,
    to: IpAddr,
    (kind, code): (u8, u8),
    quoted: &[u8],
    token: &[u8],
) -> Vec<u8> {
    let mut rest = 1280_u32.to_be_bytes().to_vec();
    rest.extend(quoted);
    rest.extend(token);
    let message = icmp::message(source, to, kind, code, &rest);
    ip::packet(source, to, icmp::protocol(to), &message)
}

/// A datagram of a new flow of `caged` that passed.
fn flow(scene: &mut Scene, v6: bool) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let (source, to) = scene.ends(CAGED, WEB, v6, 53);
    let token = scene.token();
    let packet = transport::udp_packet(source, to, &token);
    scene.passes("the flow", CAGED, WEB, &packet, &token);
    (source, to, packet)
}

fn about_flow(scene: &mut Scene) {
    for family in [false, true] {
        for kind in errors(family) {
            let (source, to, quoted) = flow(scene, family);
            let token = scene.token();
            let what = format!("type and code {kind:?}");
            let related = error(third(family), source.ip(), kind, &quoted, &token);
            scene.passes(&what, OUTSIDE, CAGED, &related, &token);
            // Cut after eight bytes of the transport header, as routers once did.
            let short = &quoted[..if family { 48 } else { 28 }];
            let related = error(third(family), source.ip(), kind, short, &[]);
            scene.passes(&what, OUTSIDE, CAGED, &related, short);

            let denied = reaching(CAGED, Reason::Policy);
            let other = SocketAddr::new(to.ip(), 54);
            let token = scene.token();
            let quoted = transport::udp_packet(source, other, &token);
            let unrelated = error(third(family), source.ip(), kind, &quoted, &token);
            scene.is_dropped(&what, (OUTSIDE, CAGED), &unrelated, &token, denied);
            // The flow's packet in the other direction is none that `caged` sent.
            let token = scene.token();
            let quoted = transport::udp_packet(to, source, &token);
            let reversed = error(third(family), source.ip(), kind, &quoted, &token);
            scene.is_dropped("reversed", (OUTSIDE, CAGED), &reversed, &token, denied);
        }
    }
}

fn odd_quotes(scene: &mut Scene) {
    let (source, to, _) = flow(scene, false);
    let (src, dst) = v4(source, to);
    let header = Ipv4 {
        options: vec![1; 7],
        ..Ipv4::new(src, dst, transport::UDP)
    };
    let quoted = header.packet(&udp(source, to, b"quoted"));
    check_quote(scene, source, &quoted, "options");
    let (source, to, _) = flow(scene, true);
    let (src, dst) = v6(source, to);
    for chain in [
        vec![Extension::Plain(0, vec![])],
        vec![
            Extension::Plain(60, vec![1, 4, 0, 53, 0, 53]),
            Extension::Fragment {
                offset: 0,
                more: true,
                id: 5,
            },
        ],
    ] {
        let what = format!("{chain:?}");
        let header = Ipv6 {
            extensions: chain,
            ..Ipv6::new(src, dst, transport::UDP)
        };
        let quoted = header.packet(&udp(source, to, b"quoted"));
        check_quote(scene, source, &quoted, &what);
    }
    // A later fragment has no ports: it is about no flow that could be told.
    let later = Extension::Fragment {
        offset: 64,
        more: false,
        id: 5,
    };
    let header = Ipv6::new(src, dst, transport::UDP).with(later);
    let quoted = header.packet(&udp(source, to, b"quoted"));
    let token = scene.token();
    let packet = error(third(true), source.ip(), (2, 0), &quoted, &token);
    let denied = reaching(CAGED, Reason::Policy);
    scene.is_dropped(
        "a later fragment",
        (OUTSIDE, CAGED),
        &packet,
        &token,
        denied,
    );
}

fn check_quote(scene: &mut Scene, source: SocketAddr, quoted: &[u8], what: &str) {
    let token = scene.token();
    let v6 = source.is_ipv6();
    let packet = error(third(v6), source.ip(), errors(v6)[0], quoted, &token);
    scene.passes(what, OUTSIDE, CAGED, &packet, &token);
}

fn forged(scene: &mut Scene) {
    for family in [false, true] {
        for kind in errors(family) {
            let (source, _, quoted) = flow(scene, family);
            // The web server received it and may complain.
            let token = scene.token();
            let web = scene.address(WEB, family);
            let complaint = error(web, source.ip(), kind, &quoted, &token);
            scene.passes("the receiver", WEB, CAGED, &complaint, &token);
            // The stranger did not.
            let own = scene.address(STRANGER, family);
            let token = scene.token();
            let packet = error(own, source.ip(), kind, &quoted, &token);
            let denied = leaving(STRANGER, Reason::ForgedError);
            scene.is_dropped("a stranger", (STRANGER, CAGED), &packet, &token, denied);
            // Nor has it a flow with the one whose packet it makes up.
            let to = SocketAddr::new(own, 53);
            let token = scene.token();
            let quoted = transport::udp_packet(source, to, &token);
            let packet = error(own, source.ip(), kind, &quoted, &token);
            let denied = reaching(CAGED, Reason::Policy);
            scene.is_dropped("made up", (STRANGER, CAGED), &packet, &token, denied);
            // Without a quote that can be read.
            let token = scene.token();
            let packet = error(own, source.ip(), kind, &[], &token);
            let denied = leaving(STRANGER, Reason::ForgedError);
            scene.is_dropped("no quote", (STRANGER, CAGED), &packet, &token, denied);
        }
    }
}

fn echo(scene: &mut Scene) {
    for family in [false, true] {
        let (own, peer) = (scene.address(CAGED, family), scene.address(PINGER, family));
        let number = icmp::protocol(own);
        let (id, other) = (scene.number(), scene.number());
        let echo = |source, to, kind, id: u16, token: &[u8]| {
            let rest = [&id.to_be_bytes(), &[0, 1][..], token].concat();
            ip::packet(
                source,
                to,
                number,
                &icmp::message(source, to, kind, 0, &rest),
            )
        };
        let (request, reply) = if family { (128, 129) } else { (8, 0) };
        let token = scene.token();
        let asked = echo(own, peer, request, id, &token);
        scene.passes("a request", CAGED, PINGER, &asked, &token);
        let token = scene.token();
        let answer = echo(peer, own, reply, id, &token);
        scene.passes("its answer", PINGER, CAGED, &answer, &token);
        let denied = reaching(CAGED, Reason::Policy);
        let token = scene.token();
        let stray = echo(peer, own, reply, other, &token);
        scene.is_dropped("another answer", (PINGER, CAGED), &stray, &token, denied);
        let token = scene.token();
        let question = echo(peer, own, request, id, &token);
        scene.is_dropped(
            "a question back",
            (PINGER, CAGED),
            &question,
            &token,
            denied,
        );
    }
}
