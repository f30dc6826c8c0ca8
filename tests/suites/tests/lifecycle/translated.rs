//! What the node translates (host ports, node ports): a pod with closed egress reaches by it whom its
//! policies allow, and nobody else.

use std::net::SocketAddr;

use policy_harness::{
    Wiring,
    topology::BRIDGE,
    traffic::{Connection, Outcome, Protocol, probe},
};

use crate::scene::{
    DENY_ALL, SILENCE, SOON, Scene, TO_WEB, addresses, eventually, in_every_setting,
};

const CLIENT: &str = "shop/client";
/// A port of the node for each pod, and the number of the pod's addresses.
const WEB: (u16, u8) = (8080, 10);
const OTHER: (u16, u8) = (8081, 11);
const ITSELF: (u16, u8) = (8082, 12);

/// As container runtimes and kube-proxy do it; masquerading where the answer would find another way.
fn translate(scene: &Scene) {
    let node = &scene.cluster.node;
    if node.wiring() == Wiring::Bridged {
        // Else a bridge that translates gives no port what came by it.
        let port = &node.pod(CLIENT).unwrap().interface;
        let hairpin = format!("link set {port} type bridge_slave hairpin on");
        node.host.ip(&[hairpin]).unwrap();
    }
    let ports = [WEB, OTHER, ITSELF].map(|(port, number)| {
        let [v4, v6] = addresses(number);
        let to = format!("fib daddr type local meta l4proto {{ tcp, udp }} th dport {port} dnat");
        format!("{to} ip to {v4}:80\n{to} ip6 to [{v6}]:80\n")
    });
    let rules = format!(
        "table inet host_ports {{
            chain in {{
                type nat hook prerouting priority dstnat
                {}
            }}
            chain out {{
                type nat hook postrouting priority srcnat
                oifname {BRIDGE} masquerade
                meta l4proto {{ tcp, udp }} ct original proto-dst {} masquerade
            }}
        }}\n",
        ports.concat(),
        ITSELF.0,
    );
    scene.netns("host").exec("nft", &[&rules]).unwrap();
}

fn at(scene: &Scene, (port, _): (u16, u8), v6: bool) -> SocketAddr {
    SocketAddr::new(scene.address("host", v6), port)
}

/// Whether both protocols pass in both families by a port of the node.
#[track_caller]
fn reaches(scene: &Scene, port: (u16, u8), wanted: Outcome) {
    for v6 in [false, true] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let within = match wanted {
                Outcome::Allowed => SOON,
                Outcome::Denied => SILENCE,
            };
            let to = at(scene, port, v6);
            let outcome = probe(scene.netns(CLIENT), protocol, None, to, within).unwrap();
            assert_eq!(outcome, wanted, "{protocol:?} to {to}");
        }
    }
}

fn connect(scene: &Scene, port: (u16, u8)) -> [Connection; 2] {
    [false, true].map(|v6| {
        let to = at(scene, port, v6);
        let mut open = Connection::open(scene.netns(CLIENT), None, to, SOON)
            .unwrap()
            .unwrap();
        assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        open
    })
}

#[test]
fn closed_egress_is_judged_at_the_pod_to_which_the_node_translates() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", WEB.1);
        scene.pod("shop/other", "app: other", OTHER.1);
        scene.pod(CLIENT, "app: client", ITSELF.1);
        translate(scene);
        for port in [WEB, OTHER, ITSELF] {
            reaches(scene, port, Outcome::Allowed);
        }
        let [mut web, mut other] = [WEB, OTHER].map(|port| connect(scene, port));

        scene.policy("to-web", TO_WEB);
        for open in &mut web {
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        }
        for open in &mut other {
            assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        reaches(scene, WEB, Outcome::Allowed);
        reaches(scene, ITSELF, Outcome::Allowed);
        let mark = scene.cluster.mark();
        reaches(scene, OTHER, Outcome::Denied);
        let dropped = scene.cluster.dropped(mark, SOON, |drop| {
            drop.direction == "egress" && drop.pod.as_deref() == Some(CLIENT)
        });
        assert!(dropped.is_some(), "whose egress it was is said");
        // The node itself, whatever else it translates.
        scene.passes(CLIENT, "host");
        scene.passes(CLIENT, "shop/web");
        scene.is_silent(CLIENT, "shop/other");

        scene.policy("nothing", DENY_ALL);
        scene.remove_policy("to-web");
        for port in [WEB, OTHER] {
            reaches(scene, port, Outcome::Denied);
        }
        for open in &mut web {
            assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        scene.passes(CLIENT, "host");

        scene.remove_policy("nothing");
        for open in web.iter_mut().chain(&mut other) {
            eventually("the connection goes on", || {
                open.exchange(SOON).unwrap() == Outcome::Allowed
            });
        }
        reaches(scene, OTHER, Outcome::Allowed);
    });
}
