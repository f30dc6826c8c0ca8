//! The flow table when it runs short.

use std::net::SocketAddr;

use policy_agent::datapath::{PinDir, fill};
use policy_common::names;
use policy_harness::{
    topology::INSIDE,
    traffic::{Connection, Outcome},
    wire::{Ethernet, Port, Tcp, transport::flag},
};

use crate::scene::{
    DENY_ALL, FROM_CLIENT, SILENCE, SOON, Scene, TO_WEB, eventually, in_every_setting,
};

/// Egress of `app: hog` to everybody.
const HOG: &str = "{podSelector: {matchLabels: {app: hog}}, policyTypes: [Egress], egress: [{}]}";

fn cast(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/client", "app: client", 20);
    scene.pod("shop/hog", "app: hog", 30);
    scene.policy("deny", DENY_ALL);
    scene.policy("from-client", FROM_CLIENT);
    scene.policy("to-web", TO_WEB);
    scene.policy("hog", HOG);
}

fn flows(scene: &Scene) -> u64 {
    let pins = PinDir::new(scene.cluster.agent.pin_path());
    let tables = fill(&pins).unwrap();
    let table = tables.iter().find(|table| table.name == names::FLOWS_V4);
    table.unwrap().entries
}

#[test]
fn a_flood_takes_neither_idle_connections_nor_room_from_its_own_pod_or_others() {
    in_every_setting(&["--max-pod-opened-flows", "64"], |scene| {
        cast(scene);
        let mut own = scene.connect("shop/hog", "outside", false);
        let mut others = scene.connect("shop/client", "shop/web", false);
        let pod = scene.cluster.pod("shop/hog").unwrap();
        let port = Port::open(&pod.netns, INSIDE).unwrap();
        let frame = Ethernet::new(pod.mac, pod.gateway);
        let nobody: SocketAddr = "192.0.2.99:9".parse().unwrap();
        for number in 0..4000 {
            let source = SocketAddr::new(scene.address("shop/hog", false), 10_000 + number);
            let syn = Tcp::new(flag::SYN).packet(source, nobody);
            port.send(&frame.ip(&syn)).unwrap();
        }
        eventually("the flood fills what the pod may have", || {
            flows(scene) >= 60
        });
        assert!(flows(scene) <= 72, "and no more: {}", flows(scene));
        assert_eq!(own.exchange(SOON).unwrap(), Outcome::Allowed);
        assert_eq!(others.exchange(SOON).unwrap(), Outcome::Allowed);
        scene.passes("shop/hog", "outside");
        scene.passes("shop/client", "shop/web");
    });
}

#[test]
fn a_pod_holds_at_most_a_quarter_of_the_table_and_gets_room_when_its_connections_end() {
    in_every_setting(&["--max-flows", "64"], |scene| {
        cast(scene);
        let mut old = scene.connect("shop/client", "shop/web", false);
        let outside = scene.server("outside", false);
        let open = |scene: &Scene| {
            let opened = Connection::open(scene.netns("shop/hog"), None, outside, SILENCE);
            opened.unwrap()
        };
        let mut held = Vec::new();
        // What is refused is not answered: there is no room left, twice in a row.
        while let Some(connection) = open(scene).or_else(|| open(scene)) {
            held.push(connection);
            assert!(held.len() <= 16, "more than a quarter of the table");
        }
        assert!(held.len() >= 4, "{} connections were opened", held.len());
        for connection in &mut held {
            assert_eq!(connection.exchange(SOON).unwrap(), Outcome::Allowed);
        }
        assert_eq!(old.exchange(SOON).unwrap(), Outcome::Allowed);
        scene.passes("shop/client", "shop/web");
        held.clear();
        eventually("there is room again", || open(scene).is_some());
        assert_eq!(old.exchange(SOON).unwrap(), Outcome::Allowed);
    });
}
