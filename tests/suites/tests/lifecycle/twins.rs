//! Two pods of one bridge to which their runtime gave the same hardware address.

use std::net::SocketAddr;

use policy_harness::{
    Attach, Wiring,
    topology::INSIDE,
    traffic::{Outcome, Protocol, probe},
};

use crate::scene::{FROM_CLIENT, SILENCE, SOON, Scene, eventually};

const MAC: &str = "02:aa:00:00:00:07";

#[test]
fn pods_with_one_hardware_address_are_told_apart() {
    for attach in [Attach::Tcx, Attach::Clsact] {
        let mut scene = Scene::stopped(Wiring::Bridged, attach);
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.pod("shop/twin", "app: twin", 21);
        for pod in ["shop/client", "shop/twin"] {
            let own = format!("fe80::aa:ff:fe00:7/64 dev {INSIDE} nodad");
            scene
                .netns(pod)
                .ip(&[
                    format!("link set {INSIDE} address {MAC}"),
                    format!("addr flush dev {INSIDE} scope link"),
                    format!("addr add {own}"),
                ])
                .unwrap();
        }
        scene.policy("from-client", FROM_CLIENT);
        scene.cluster.agent.start(&[]).unwrap();
        let local = link_local(&scene, "shop/web");
        let ask = |scene: &Scene, from: &str, to: SocketAddr| {
            let outcome = probe(scene.netns(from), Protocol::Udp, None, to, SILENCE);
            outcome.unwrap() == Outcome::Allowed
        };
        let web = [
            scene.server("shop/web", false),
            scene.server("shop/web", true),
        ];
        for round in 0..3 {
            for to in web {
                // Whoever spoke last has the bridge's port for both.
                eventually("the client is answered", || ask(&scene, "shop/client", to));
                for _ in 0..3 {
                    assert!(!ask(&scene, "shop/twin", to), "{to}, round {round}");
                }
            }
            // Both have the same link-local address too.
            let outcome = probe(
                scene.netns("shop/twin"),
                Protocol::Udp,
                None,
                local,
                SILENCE,
            );
            assert_eq!(outcome.unwrap(), Outcome::Denied, "round {round}");
        }
        let reached = probe(scene.netns("host"), Protocol::Tcp, None, web[0], SOON);
        assert_eq!(reached.unwrap(), Outcome::Allowed);
        let status = scene.cluster.agent.status().unwrap();
        assert!(status.unenforced.is_empty(), "{:?}", status.unenforced);
    }
}

/// Where a pod's own link-local address is asked by another: both ends have one interface of one name.
fn link_local(scene: &Scene, pod: &str) -> SocketAddr {
    let [a, b, c, d, e, f] = scene.cluster.pod(pod).unwrap().mac;
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    let [g, h, i, j] = words;
    let address = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, g, h, i, j);
    let scope = scene.netns("shop/twin").ifindex(INSIDE).unwrap();
    SocketAddr::V6(std::net::SocketAddrV6::new(address, 80, 0, scope))
}
