//! What only a bridge lets pods try: each other's link-local addresses, a router's, and whose port a
//! hardware address is behind.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use policy_common::Reason;
use policy_harness::{
    Netns,
    topology::{BRIDGE, INSIDE},
    wire::{Ethernet, Port, arp, transport::udp_packet},
};

use crate::{
    Case,
    Ways::Bridged,
    scene::{FRIEND, SILENCE, SOON, STRANGER, Scene, WEB, leaving, link_local, reaching},
};

pub(crate) const CASES: &[Case] = &[
    (
        "a block that has every address has no link-local one of a pod, in neither direction",
        every_address,
        Bridged,
    ),
    (
        "a router's link-local address is one outside, to which nothing is sent by a block",
        router,
        Bridged,
    ),
    (
        "a bridge learns no address from frames that a pod forges",
        learning,
        Bridged,
    ),
];

/// The stranger may send and receive everything but what is other pods', at this port.
const EVERYTHING: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: everything, namespace: shop}
spec:
  podSelector: {matchLabels: {app: stranger}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{ipBlock: {cidr: '::/0', except: ['fd00:1::/64']}}]
    ports: [{protocol: UDP, port: 5353}]
  egress:
  - to: [{ipBlock: {cidr: '::/0', except: ['fd00:1::/64']}}]
    ports: [{protocol: UDP, port: 5353}]
";

fn datagram(scene: &mut Scene, (from, to): (Ipv6Addr, Ipv6Addr), port: u16) -> (Vec<u8>, Vec<u8>) {
    let source = SocketAddr::new(from.into(), scene.number());
    let token = scene.token();
    let packet = udp_packet(source, SocketAddr::new(to.into(), port), &token);
    (packet, token)
}

fn every_address(scene: &mut Scene) {
    scene.cluster.apply("everything.yaml", EVERYTHING).unwrap();
    let [own, friend, web] = [STRANGER, FRIEND, WEB].map(|pod| link_local(scene, pod));
    let own_global = match scene.address(STRANGER, true) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("it was asked for IPv6"),
    };
    // To a pod by its link-local address, from either of the stranger's.
    for source in [own, own_global] {
        for (to, pod) in [(friend, FRIEND), (web, WEB)] {
            let (packet, token) = datagram(scene, (source, to), 5353);
            let denied = leaving(STRANGER, Reason::Policy);
            let what = format!("from {source} to {to}");
            scene.is_dropped(&what, (STRANGER, pod), &packet, &token, denied);
        }
    }
    // From a pod, to either of the stranger's.
    for to in [own, own_global] {
        let (packet, token) = datagram(scene, (friend, to), 5353);
        // A link-local source stays on its link.
        let denied = reaching(STRANGER, Reason::Policy);
        if to == own {
            scene.is_dropped("from a pod", (FRIEND, STRANGER), &packet, &token, denied);
        }
    }
    scene.cluster.remove("everything.yaml").unwrap();
    let (packet, token) = datagram(scene, (friend, own), 5353);
    scene.passes("without the policy", FRIEND, STRANGER, &packet, &token);
}

/// A machine on a port of the bridge that is no pod's.
fn beside(scene: &Scene) -> (Netns, Ipv6Addr) {
    let router = Netns::new("router").unwrap();
    let host = &scene.cluster.node.host;
    host.ip(&[
        format!(
            "link add r0 type veth peer name {INSIDE} netns {}",
            router.name()
        ),
        format!("link set r0 master {BRIDGE} up"),
    ])
    .unwrap();
    router
        .ip(&[
            format!("link set {INSIDE} up"),
            format!("addr add fe80::99/64 dev {INSIDE} nodad"),
        ])
        .unwrap();
    (router, "fe80::99".parse().unwrap())
}

fn router(scene: &mut Scene) {
    let (router, address) = beside(scene);
    let mac = router.mac(INSIDE).unwrap();
    let own = link_local(scene, STRANGER);
    let there = Port::open(&router, INSIDE).unwrap();
    let here = scene.port(STRANGER);
    let pod_mac = scene.pod(STRANGER).mac;
    let to_router = Ethernet::new(pod_mac, mac);
    let to_pod = Ethernet::new(mac, pod_mac);
    // Free, it reaches the router and is reached.
    let (packet, token) = datagram(scene, (own, address), 5353);
    let deadline = Instant::now() + SOON;
    // The bridge forwards to a new port when it finds the time.
    while !there.sees(SILENCE, &token).unwrap() {
        assert!(Instant::now() < deadline, "the router");
        here.send(&to_router.ip(&packet)).unwrap();
    }
    let (packet, token) = datagram(scene, (address, own), 5353);
    there.send(&to_pod.ip(&packet)).unwrap();
    assert!(here.sees(SOON, &token).unwrap(), "the pod");

    scene.cluster.apply("everything.yaml", EVERYTHING).unwrap();
    // What is no pod's and not the node's is nobody that a block could mean on the way out.
    let mark = scene.cluster.mark();
    let (packet, token) = datagram(scene, (own, address), 5353);
    here.send(&to_router.ip(&packet)).unwrap();
    scene.awaits_drop("to the router", mark, leaving(STRANGER, Reason::Policy));
    assert!(!there.sees(SILENCE, &token).unwrap(), "the router");
    let mark = scene.cluster.mark();
    let (packet, token) = datagram(scene, (address, own), 54);
    there.send(&to_pod.ip(&packet)).unwrap();
    scene.awaits_drop("another port", mark, reaching(STRANGER, Reason::Policy));
    assert!(!here.sees(SILENCE, &token).unwrap(), "another port");
    let (packet, token) = datagram(scene, (address, own), 5353);
    there.send(&to_pod.ip(&packet)).unwrap();
    assert!(here.sees(SOON, &token).unwrap(), "the block has it");
    scene.cluster.remove("everything.yaml").unwrap();
}

/// The interface of the host behind which the bridge has learnt an address.
fn learnt(scene: &Scene, mac: [u8; 6]) -> Vec<String> {
    let wanted = mac.map(|byte| format!("{byte:02x}")).join(":");
    let host = &scene.cluster.node.host;
    let all = host.exec("bridge", &["fdb", "show", "br", BRIDGE]).unwrap();
    let lines = all.lines().filter(|line| line.starts_with(&wanted));
    lines
        .filter_map(|line| line.split(' ').nth(2).map(str::to_owned))
        .collect()
}

fn learning(scene: &mut Scene) {
    let web = scene.pod(WEB).mac;
    let interface = scene.pod(WEB).interface.clone();
    // Its own frames tell the bridge where it is.
    let (packet, token) = scene.datagram(WEB, FRIEND, false, 9);
    scene.passes("its own", WEB, FRIEND, &packet, &token);
    assert_eq!(learnt(scene, web), [&*interface]);
    let gateway = scene.pod(STRANGER).gateway;
    let port = scene.port(STRANGER);
    for v6 in [false, true] {
        let (packet, _) = scene.datagram(STRANGER, FRIEND, v6, 53);
        for destination in [gateway, [0xff; 6], scene.pod(FRIEND).mac] {
            let frame = Ethernet::new(web, destination).ip(&packet);
            for _ in 0..200 {
                port.send(&frame).unwrap();
            }
            let (packet, token) = scene.datagram(FRIEND, WEB, v6, 53);
            scene.passes("to the victim", FRIEND, WEB, &packet, &token);
        }
    }
    // Whatever a frame carries, also what no policy judges.
    let own = scene.pod(STRANGER).mac;
    let address = |pod| match scene.address(pod, false) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("it was asked for IPv4"),
    };
    let question = arp(1, (own, address(STRANGER)), ([0; 6], address(FRIEND)));
    for ethertype in [
        0x88b5, 0x8100, 0x88a8, 0x0004, 0x86dd, 0x0806, 0x88cc, 0x8847,
    ] {
        for payload in [&question[..], &[], &[0; 60]] {
            let frame = Ethernet::new(web, [0xff; 6]).frame(ethertype, payload);
            for _ in 0..20 {
                port.send(&frame).unwrap();
            }
        }
    }
    let (packet, token) = scene.datagram(FRIEND, WEB, false, 53);
    scene.passes("to the victim", FRIEND, WEB, &packet, &token);
    assert_eq!(learnt(scene, web), [&*interface]);
}
