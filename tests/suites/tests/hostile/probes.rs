//! The node's own packets on the way to a pod: filters give them a class, or send them round by an IFB.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use aya::programs::TcAttachType::Egress;
use policy_common::Reason;
use policy_ebpf::Stamp;
use policy_harness::{
    Foreign, Wiring,
    foreign::Place,
    topology::{BRIDGE, INSIDE},
    traffic::{Outcome, Protocol, Server, ping, probe},
};

use crate::{
    Case,
    Ways::All,
    scene::{OUTSIDE, STRANGER, Scene, WEB, reaching},
};

pub(crate) const CASES: &[Case] = &[
    (
        "no class that a filter gives the node's packets keeps them from a pod",
        class,
        All,
    ),
    (
        "what the node sends round by an IFB reaches a pod, and what others send does not",
        round,
        All,
    ),
];

const TC_ACT_OK: i32 = 0;
/// No rule of the scene has it.
const PORT: u16 = 8099;
/// What is not announced comes to pass before long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a packet that would come.
const AWHILE: Duration = Duration::from_millis(200);
/// For one question; the next one follows.
const ONE: Duration = Duration::from_secs(2);

/// Interfaces by which the node's packets leave on their way to a pod.
fn ways(scene: &Scene) -> Vec<String> {
    let own = scene.pod(WEB).interface.clone();
    match scene.wiring() {
        Wiring::Routed => vec![own],
        Wiring::Bridged => vec![BRIDGE.to_owned(), own],
    }
}

fn servers(scene: &Scene) -> Vec<Server> {
    let families = [false, true];
    let all = families.map(|v6| {
        let at = SocketAddr::new(scene.address(WEB, v6), PORT);
        [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| Server::start(scene.netns(WEB), protocol, at).unwrap())
    });
    all.into_iter().flatten().collect()
}

/// The node reaches the pod by every protocol, in both families.
#[track_caller]
fn reaches(scene: &Scene, what: &str) {
    let host = &scene.cluster.node.host;
    for v6 in [false, true] {
        let address = scene.address(WEB, v6);
        let to = SocketAddr::new(address, PORT);
        let asks: [(&str, &dyn Fn() -> Outcome); 3] = [
            ("TCP", &|| {
                probe(host, Protocol::Tcp, None, to, ONE).unwrap()
            }),
            ("UDP", &|| {
                probe(host, Protocol::Udp, None, to, ONE).unwrap()
            }),
            ("ping", &|| ping(host, address, ONE).unwrap()),
        ];
        for (protocol, ask) in asks {
            let deadline = Instant::now() + PATIENCE;
            while ask() != Outcome::Allowed {
                assert!(Instant::now() < deadline, "{what}: {protocol} to {address}");
            }
        }
    }
}

/// What others send is dropped, whatever they write into the packet's metadata.
fn keeps_out(scene: &mut Scene, what: &str) {
    for stamp in [0, Stamp::HOST.0] {
        let mut program = Foreign::stamping("forge_host", stamp, TC_ACT_OK).unwrap();
        for from in [STRANGER, OUTSIDE] {
            let place = Place::Clsact(1);
            let _forging = program
                .attach(scene.netns(from), INSIDE, Egress, place)
                .unwrap();
            for v6 in [false, true] {
                let (packet, token) = scene.datagram(from, WEB, v6, PORT);
                let what = format!("{what}, stamp {stamp:#x}");
                let denied = reaching(WEB, Reason::Policy);
                scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
            }
        }
    }
}

fn tc(scene: &Scene, command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    scene.cluster.node.host.exec("tc", &words).unwrap();
}

/// Filters for both families, which see every packet that leaves by an interface.
struct Filters(String);

impl Filters {
    fn add(scene: &Scene, interface: &str, action: &str) -> Self {
        let has_qdisc = {
            let arguments = ["qdisc", "show", "dev", interface, "clsact"];
            let shown = scene.cluster.node.host.exec("tc", &arguments);
            shown.is_ok_and(|text| text.contains("clsact"))
        };
        if !has_qdisc {
            tc(scene, &format!("qdisc add dev {interface} clsact"));
        }
        for (preference, family) in [(60, "ip"), (61, "ipv6")] {
            let filter = format!("filter add dev {interface} egress protocol {family}");
            let matches = format!("pref {preference} u32 match u32 0 0 {action}");
            tc(scene, &format!("{filter} {matches}"));
        }
        Self(interface.to_owned())
    }

    fn remove(self, scene: &Scene) {
        for preference in [60, 61] {
            let filter = format!("filter del dev {} egress pref {preference}", self.0);
            tc(scene, &filter);
        }
    }
}

fn class(scene: &mut Scene) {
    let _servers = servers(scene);
    let ids = scene.cluster.agent.status().unwrap().endpoints;
    let id = ids.first().unwrap().id;
    let classes = [0x10, 0x8000 | id, 0xc000 | id, Stamp::HOST.0, 0xffff];
    for interface in ways(scene) {
        for class in classes {
            let filters = Filters::add(scene, &interface, &format!("flowid 1:{class:x}"));
            let what = format!("class {class:#x} on {interface}");
            reaches(scene, &what);
            let (packet, token) = scene.datagram(OUTSIDE, WEB, false, PORT);
            let there = scene.port(WEB);
            scene.send(OUTSIDE, WEB, &packet);
            let arrives = there.sees(AWHILE, &token).unwrap();
            assert!(!arrives, "{what}: what no rule allows arrives");
            filters.remove(scene);
        }
    }
}

fn round(scene: &mut Scene) {
    let _servers = servers(scene);
    let host = &scene.cluster.node.host;
    host.ip(&["link add round0 type ifb", "link set round0 up"])
        .unwrap();
    for interface in ways(scene) {
        let action = "action mirred egress redirect dev round0";
        let filters = Filters::add(scene, &interface, action);
        let what = format!("sent round from {interface}");
        reaches(scene, &what);
        keeps_out(scene, &what);
        filters.remove(scene);
    }
    let host = &scene.cluster.node.host;
    host.ip(&["link del round0"]).unwrap();
    reaches(scene, "without it");
}
