//! Packets in another's name: a free pod that forges an address breaks the policy of its victim.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use policy_common::Reason;
use policy_harness::{
    topology::{HOST_V4, HOST_V6, INSIDE, OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Outcome, Protocol, Server, probe},
    wire::transport::udp_packet,
};

use crate::{
    Case,
    Ways::{All, Bridged, RoutedClsact, RoutedTcx},
    scene::{CAGED, Denied, FRIEND, KNOWN, SOON, STRANGER, Scene, WEB, leaving},
};

/// How long an answer is awaited that must not come; that its question was dropped is seen in the log.
const MOMENT: Duration = Duration::from_millis(150);

pub(crate) const CASES: &[Case] = &[
    (
        "a source address that is not the pod's is dropped",
        sources,
        All,
    ),
    (
        "an address that a pod gives itself is not its own",
        own_address,
        RoutedTcx,
    ),
    (
        "a link-local source reaches no further than the link",
        link_local,
        RoutedClsact,
    ),
    ("a loopback destination is dropped", loopback, RoutedTcx),
    (
        "a frame for another's address does not enter a pod",
        destination,
        Bridged,
    ),
];

fn sources(scene: &mut Scene) {
    let own = |scene: &Scene, v6| scene.address(FRIEND, v6).to_string();
    let forged: Vec<String> = vec![
        own(scene, false),
        own(scene, true),
        KNOWN[0].into(),
        KNOWN[1].into(),
        HOST_V4.into(),
        HOST_V6.into(),
        "169.254.1.1".into(),
        OUTSIDE_V4.into(),
        OUTSIDE_V6.into(),
        scene.address(WEB, false).to_string(),
        scene.address(WEB, true).to_string(),
        "127.0.0.1".into(),
        "::1".into(),
        "0.0.0.0".into(),
        "::".into(),
        "224.0.0.1".into(),
        "255.255.255.255".into(),
        "ff02::1".into(),
        "fe80::1".into(),
    ];
    for from in [STRANGER, CAGED] {
        for source in &forged {
            let source: IpAddr = source.parse().unwrap();
            // The friend itself gets through with the same packet.
            let (packet, token) = scene.datagram(FRIEND, WEB, source.is_ipv6(), 53);
            scene.passes("the friend's own", FRIEND, WEB, &packet, &token);
            let (_, to) = scene.ends(FRIEND, WEB, source.is_ipv6(), 53);
            let token = scene.token();
            let source = SocketAddr::new(source, scene.number());
            let packet = udp_packet(source, to, &token);
            let denied = leaving(from, Reason::SourceAddress);
            let what = format!("source {source}");
            scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
        }
    }
}

fn own_address(scene: &mut Scene) {
    let rebel = "shop/rebel";
    scene
        .cluster
        .add_pod(rebel, "app: stranger", &["10.1.0.70", "fd00:1::70"])
        .unwrap();
    let netns = scene.netns(rebel);
    netns
        .ip(&[
            format!("link set {INSIDE} down"),
            format!("link set {INSIDE} name renamed"),
            "link set renamed up".into(),
        ])
        .unwrap();
    let [a, b, c, d, e, f] = scene.pod(rebel).gateway;
    let gateway_mac = format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}");
    for family in [false, true] {
        let friend = scene.address(FRIEND, family);
        let web = SocketAddr::new(scene.address(WEB, family), 53);
        let _server = Server::start(scene.netns(WEB), Protocol::Udp, web).unwrap();
        let outcome = probe(scene.netns(FRIEND), Protocol::Udp, None, web, SOON).unwrap();
        assert_eq!(outcome, Outcome::Allowed, "the friend");
        let (gateway, length, flag) = if family {
            ("fe80::1", 128, "nodad")
        } else {
            ("169.254.1.1", 32, "")
        };
        scene
            .netns(rebel)
            .ip(&[
                format!("addr add {friend}/{length} dev renamed {flag}"),
                // The gateway needs not be asked for, which would be in the forged name too.
                format!("neigh replace {gateway} lladdr {gateway_mac} dev renamed nud permanent"),
                format!(
                    "route add {}/{length} via {gateway} dev renamed onlink",
                    web.ip()
                ),
            ])
            .unwrap();
        let mark = scene.cluster.mark();
        let source = SocketAddr::new(friend, 0);
        let netns = scene.netns(rebel);
        let outcome = probe(netns, Protocol::Udp, Some(source), web, MOMENT).unwrap();
        assert_eq!(outcome, Outcome::Denied, "the rebel as {friend}");
        let denied = leaving(rebel, Reason::SourceAddress);
        scene.awaits_drop("a real socket", mark, denied);
    }
}

fn link_local(scene: &mut Scene) {
    let own = SocketAddr::new("fe80::77".parse().unwrap(), scene.number());
    let (_, to) = scene.ends(FRIEND, WEB, true, 53);
    let (packet, token) = scene.datagram(FRIEND, WEB, true, 53);
    scene.passes("a global source", FRIEND, WEB, &packet, &token);
    let token = scene.token();
    let packet = udp_packet(own, to, &token);
    let denied = leaving(FRIEND, Reason::SourceAddress);
    scene.is_dropped(
        "a link-local source",
        (FRIEND, WEB),
        &packet,
        &token,
        denied,
    );
}

fn loopback(scene: &mut Scene) {
    let host = &scene.cluster.node.host;
    host.sysctl("net/ipv4/conf/all/route_localnet", "1")
        .unwrap();
    for from in [STRANGER, CAGED] {
        let denied: Denied = leaving(from, Reason::Loopback);
        for to in ["127.0.0.1:53", "127.8.9.10:53", "[::1]:53"] {
            let to: SocketAddr = to.parse().unwrap();
            let (packet, token) = scene.datagram(FRIEND, WEB, to.is_ipv6(), 53);
            scene.passes("another destination", FRIEND, WEB, &packet, &token);
            let source = SocketAddr::new(scene.address(from, to.is_ipv6()), scene.number());
            let token = scene.token();
            let packet = udp_packet(source, to, &token);
            let frame = scene.ethernet(from, "host").ip(&packet);
            let what = format!("to {to}");
            scene.frames_are_dropped(&what, (from, WEB), &[frame], &token, denied);
        }
    }
}

fn destination(scene: &mut Scene) {
    for family in [false, true] {
        let (packet, token) = scene.datagram(PAIR.0, PAIR.1, family, 53);
        scene.passes("its own address", PAIR.0, PAIR.1, &packet, &token);
        let (source, _) = scene.ends(PAIR.0, PAIR.1, family, 53);
        let nobody = if family { "fd00:1::99" } else { "10.1.0.99" };
        let token = scene.token();
        let packet = udp_packet(source, SocketAddr::new(nobody.parse().unwrap(), 53), &token);
        let denied = crate::scene::reaching(PAIR.1, Reason::DestinationAddress);
        scene.is_dropped("another's address", PAIR, &packet, &token, denied);
    }
}

const PAIR: (&str, &str) = (FRIEND, WEB);
