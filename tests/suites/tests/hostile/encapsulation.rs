//! Tunnel packets that a node would unpack: what is inside them has a source of the pod's choice.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use policy_common::Reason;
use policy_harness::{
    topology::{HOST_V4, HOST_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK},
    traffic::{Outcome, Protocol, Server, probe},
    wire::{Ethernet, ip, transport::udp_packet},
};

use crate::{
    Case,
    Ways::All,
    scene::{FRIEND, OUTSIDE, PINGER, SOON, STRANGER, Scene, WEB, leaving},
};

pub(crate) const CASES: &[Case] = &[
    ("VXLAN of a pod to its own node is dropped", vxlan, All),
    (
        "IP-in-IP and GRE of a pod to its own node are dropped",
        protocols,
        All,
    ),
    (
        "tunnel packets of a pod to another node are dropped while its object says where it is",
        other_node,
        All,
    ),
];

const VXLAN_PORT: u16 = 8472;

/// A datagram that `web` would accept, if it came from the friend.
fn inner(scene: &mut Scene) -> (Vec<u8>, Vec<u8>) {
    scene.datagram(FRIEND, WEB, false, 53)
}

fn vxlan(scene: &mut Scene) {
    let host = &scene.cluster.node.host;
    host.ip(&[
        format!(
            "link add vx0 type vxlan id 7 dstport {VXLAN_PORT} local {HOST_V4} dev {UPLINK} \
             udp6zerocsumrx"
        ),
        "link set vx0 address 02:00:00:00:07:07 up".into(),
    ])
    .unwrap();
    let own = scene.address(STRANGER, false);
    let denied = leaving(STRANGER, Reason::Encapsulation);
    for to in [HOST_V4, "169.254.1.1"] {
        let to = SocketAddr::new(to.parse().unwrap(), VXLAN_PORT);
        // The device is known as soon as netlink has told of it.
        let deadline = Instant::now() + SOON;
        loop {
            let mark = scene.cluster.mark();
            let source = SocketAddr::new(own, scene.number());
            scene.send(STRANGER, "host", &udp_packet(source, to, b"not even VXLAN"));
            let within = Duration::from_millis(300);
            if scene
                .cluster
                .dropped(mark, within, |drop| drop.is(Reason::Encapsulation))
                .is_some()
            {
                break;
            }
            assert!(Instant::now() < deadline, "the tunnel's port is not known");
        }
        let (packet, token) = inner(scene);
        let frame = Ethernet::new([2, 0, 0, 0, 7, 8], [2, 0, 0, 0, 7, 7]).ip(&packet);
        let payload = [vec![8, 0, 0, 0, 0, 0, 7, 0], frame].concat();
        let source = SocketAddr::new(own, scene.number());
        let outer = udp_packet(source, to, &payload);
        let frame = scene.ethernet(STRANGER, "host").ip(&outer);
        scene.frames_are_dropped("VXLAN", (STRANGER, WEB), &[frame], &token, denied);
    }
    scene.cluster.node.host.ip(&["link del vx0"]).unwrap();
    // Without the device the port is one like any other.
    let server = SocketAddr::new(HOST_V4.parse().unwrap(), VXLAN_PORT);
    let _server = Server::start(&scene.cluster.node.host, Protocol::Udp, server).unwrap();
    let outcome = probe(scene.netns(STRANGER), Protocol::Udp, None, server, SOON).unwrap();
    assert_eq!(outcome, Outcome::Allowed, "the port of a removed device");
}

fn protocols(scene: &mut Scene) {
    const IPIP: u8 = 4;
    const IPV6: u8 = 41;
    const GRE: u8 = 47;
    let denied = leaving(STRANGER, Reason::Encapsulation);
    for to in [
        HOST_V4,
        HOST_V6,
        "169.254.1.1",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
    ] {
        let to: IpAddr = to.parse().unwrap();
        for (protocol, header) in [(IPIP, vec![]), (IPV6, vec![]), (GRE, vec![0, 0, 8, 0])] {
            let (packet, token) = inner(scene);
            let payload = [header.clone(), packet].concat();
            let own = scene.address(STRANGER, to.is_ipv6());
            let outer = ip::packet(own, to, protocol, &payload);
            let frame = scene.ethernet(STRANGER, "host").ip(&outer);
            let what = format!("protocol {protocol} to {to}");
            scene.frames_are_dropped(&what, (STRANGER, WEB), &[frame], &token, denied);

            // Between pods it is a protocol like any other.
            let token = scene.token();
            let (own, web) = (
                scene.address(PINGER, to.is_ipv6()),
                scene.address(WEB, to.is_ipv6()),
            );
            let outer = ip::packet(own, web, protocol, &[header, token.clone()].concat());
            scene.passes(&what, PINGER, WEB, &outer, &token);
        }
    }
}

fn other_node(scene: &mut Scene) {
    const IPIP: u8 = 4;
    let node = format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: other}}, status: {{addresses: [\
         {{type: Hostname, address: other}}, {{type: InternalIP, address: {OUTSIDE_V4}}}, \
         {{type: ExternalIP, address: '{OUTSIDE_V6}'}}]}}}}"
    );
    for is_known in [false, true, false] {
        if is_known {
            scene.cluster.apply("node.yaml", &node).unwrap();
        } else if scene.cluster.manifests().join("node.yaml").exists() {
            scene.cluster.remove("node.yaml").unwrap();
        }
        for to in [OUTSIDE_V4, OUTSIDE_V6] {
            let to: IpAddr = to.parse().unwrap();
            let token = scene.token();
            let own = scene.address(PINGER, to.is_ipv6());
            let packet = ip::packet(own, to, IPIP, &token);
            let what = format!("a tunnel to {to}");
            if is_known {
                let denied = leaving(PINGER, Reason::Encapsulation);
                scene.is_dropped(&what, (PINGER, OUTSIDE), &packet, &token, denied);
            } else {
                scene.passes(&what, PINGER, OUTSIDE, &packet, &token);
            }
        }
    }
}
