//! Addresses that two pods claim, or that are seen behind two interfaces: nobody gets the rights of
//! somebody else.

use std::net::{IpAddr, SocketAddr};

use policy_common::Reason;
use policy_harness::{
    Wiring,
    agent::Agent,
    topology::INSIDE,
    traffic::{Outcome, Protocol, probe},
    wire::{Ethernet, Port, transport::udp_packet},
};

use crate::scene::{FROM_CLIENT, SILENCE, SOON, Scene, addresses, eventually, in_every_setting};

/// Writes the object of a running pod and waits until it counts; it has no interface.
fn declare(scene: &mut Scene, name: &str, labels: &str, number: u8, started: &str) {
    let [v4, v6] = addresses(number);
    let (namespace, pod) = name.split_once('/').unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: {pod}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: main, image: none}}]}}\n\
         status: {{phase: Running, startTime: \"{started}\", podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n"
    );
    scene.cluster.apply(&file(name), &text).unwrap();
}

fn file(name: &str) -> String {
    format!("pod-{}.yaml", name.replace('/', "-"))
}

/// Whether `status` says that the address of a number belongs to one pod and not to another.
fn is_said(scene: &Scene, number: u8, winner: &str, loser: &str) -> bool {
    let [v4, v6] = addresses(number);
    let conflicts = scene.cluster.agent.status().unwrap().conflicts;
    [v4, v6].iter().all(|address| {
        let wanted = format!("{address} belongs to {winner}, not to {loser}");
        conflicts.contains(&wanted)
    })
}

/// Gives a pod an interface whose other end has the addresses of a number, without a route.
fn interface(scene: &mut Scene, name: &str, number: u8) -> String {
    let node = &mut scene.cluster.node;
    let interface = node.add_pod(name, &[]).unwrap().interface.clone();
    let [v4, v6] = addresses(number);
    let pod = scene.netns(name);
    pod.ip(&[
        format!("addr add {v4}/24 dev {INSIDE}"),
        format!("addr add {v6}/64 dev {INSIDE} nodad"),
    ])
    .unwrap();
    interface
}

/// Waits until an interface is one of this pod, or of none that is known.
fn awaits(scene: &mut Scene, interface: &str, pod: Option<&str>) {
    let is_so = |agent: &mut Agent| {
        let mut endpoints = agent.status()?.endpoints;
        endpoints.retain(|one| one.enforced);
        let mut found = endpoints.iter();
        Ok(found.any(|one| one.interface == interface && one.pod.as_deref() == pod))
    };
    let what = format!("{interface} is of {pod:?}");
    scene.cluster.agent.wait(&what, is_so).unwrap();
}

/// Whether a datagram with the source of a number gets from a pod to the web server.
fn reaches_web(scene: &Scene, from: &str, number: u8, v6: bool, words: &[u8]) -> bool {
    let source: IpAddr = addresses(number)[usize::from(v6)].parse().unwrap();
    let packet = udp_packet(
        SocketAddr::new(source, 4000),
        SocketAddr::new(scene.address("shop/web", v6), 81),
        words,
    );
    let (pod, web) = (
        scene.cluster.pod(from).unwrap(),
        scene.cluster.pod("shop/web").unwrap(),
    );
    let next = match scene.cluster.node.wiring() {
        Wiring::Routed => pod.gateway,
        Wiring::Bridged => web.mac,
    };
    let inside = Port::open(&web.netns, INSIDE).unwrap();
    let outside = Port::open(&pod.netns, INSIDE).unwrap();
    outside
        .send(&Ethernet::new(pod.mac, next).ip(&packet))
        .unwrap();
    inside.sees(SILENCE, words).unwrap()
}

#[test]
fn an_object_that_claims_the_address_of_a_running_pod_gives_it_no_rights() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/peer", "app: other", 20);
        declare(scene, "shop/peer", "app: other", 20, "2026-01-02T00:00:00Z");
        scene.policy("from-client", FROM_CLIENT);
        scene.is_silent("shop/peer", "shop/web");
        scene.passes("shop/peer", "outside");
        // Who started earlier loses, and takes nothing along when it goes.
        declare(
            scene,
            "shop/rival",
            "app: client",
            20,
            "2026-01-01T00:00:00Z",
        );
        assert!(is_said(scene, 20, "shop/peer", "shop/rival"));
        scene.is_silent("shop/peer", "shop/web");
        scene.passes("shop/peer", "outside");
        scene.cluster.remove(&file("shop/rival")).unwrap();
        scene.is_silent("shop/peer", "shop/web");
        scene.passes("shop/peer", "outside");
        // Who started later wins: the address is not the peer's any more, so it may not speak with
        // it, to nobody.
        declare(
            scene,
            "shop/rival",
            "app: client",
            20,
            "2026-01-03T00:00:00Z",
        );
        assert!(is_said(scene, 20, "shop/rival", "shop/peer"));
        let mark = scene.cluster.mark();
        scene.is_silent("shop/peer", "shop/web");
        scene.is_silent("shop/peer", "outside");
        let dropped = scene.cluster.dropped(mark, SOON, |drop| {
            drop.is(Reason::SourceAddress) && drop.pod.as_deref() == Some("shop/peer")
        });
        assert!(dropped.is_some());
        scene.cluster.remove(&file("shop/rival")).unwrap();
        scene.is_silent("shop/peer", "shop/web");
        scene.passes("shop/peer", "outside");
    });
}

#[test]
fn two_running_pods_with_interfaces_of_one_address_do_not_share_their_rights() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/peer", "app: other", 20);
        declare(scene, "shop/peer", "app: other", 20, "2026-01-02T00:00:00Z");
        scene.policy("from-client", FROM_CLIENT);
        declare(
            scene,
            "shop/twin",
            "app: client",
            20,
            "2026-01-03T00:00:00Z",
        );
        let twin = interface(scene, "shop/twin", 20);
        awaits(scene, &twin, Some("shop/twin"));
        for v6 in [false, true] {
            assert!(reaches_web(scene, "shop/twin", 20, v6, b"with its rights"));
            assert!(!reaches_web(scene, "shop/peer", 20, v6, b"with another's"));
        }
        // The winner goes: what is its interface no more has no rights, the other its own again.
        scene.cluster.remove(&file("shop/twin")).unwrap();
        awaits(scene, &twin, None);
        for name in ["shop/web", "host"] {
            // Where the address was last seen is no longer where it is.
            scene.netns(name).ip(&["neigh flush all"]).unwrap();
        }
        scene.passes("shop/peer", "outside");
        scene.label("shop/peer", "app: client", 20);
        scene.passes("shop/peer", "shop/web");
        for v6 in [false, true] {
            assert!(!reaches_web(
                scene,
                "shop/twin",
                20,
                v6,
                b"whose pod is gone"
            ));
        }
    });
}

#[test]
fn an_interface_that_may_be_of_two_pods_is_of_neither_until_one_is_left() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        for name in ["shop/one", "shop/two"] {
            scene.label(name, "app: any", 20);
        }
        let parsed = addresses(20).map(|text| text.parse().unwrap());
        let node = &mut scene.cluster.node;
        let of_both = node.add_pod("shop/one", &parsed).unwrap().interface.clone();
        awaits(scene, &of_both, None);
        scene.serve("shop/one");
        let status = scene.cluster.agent.status().unwrap();
        let problem = status.endpoints.iter().find(|one| one.interface == of_both);
        let problem = problem.unwrap().problem.clone().unwrap();
        assert!(
            problem.contains("shop/one") && problem.contains("shop/two"),
            "{problem}"
        );
        eventually("it is said", || {
            scene.cluster.agent.log().contains(&problem)
        });
        for other in ["shop/web", "outside"] {
            scene.is_silent("shop/one", other);
            scene.is_silent(other, "shop/one");
        }
        scene.passes("host", "shop/one");
        scene.cluster.remove(&file("shop/two")).unwrap();
        awaits(scene, &of_both, Some("shop/one"));
        scene.passes("shop/one", "shop/web");
        scene.passes("outside", "shop/one");
    });
}

#[test]
fn two_interfaces_with_the_addresses_of_one_pod_are_of_nobody() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let parsed = addresses(20).map(|text| text.parse().unwrap());
        let node = &mut scene.cluster.node;
        let first = node.add_pod("shop/one", &parsed).unwrap().interface.clone();
        scene.serve("shop/one");
        let second = interface(scene, "imposter", 20);
        scene.label("shop/one", "app: any", 20);
        for interface in [&first, &second] {
            awaits(scene, interface, None);
        }
        scene.is_silent("shop/one", "shop/web");
        for v6 in [false, true] {
            assert!(!reaches_web(scene, "imposter", 20, v6, b"of an imposter"));
            let to = scene.server("shop/one", v6);
            let outcome = probe(scene.netns("outside"), Protocol::Udp, None, to, SILENCE);
            assert_eq!(outcome.unwrap(), Outcome::Denied);
        }
        scene.cluster.node.remove_pod("imposter").unwrap();
        awaits(scene, &first, Some("shop/one"));
        scene.passes("shop/one", "shop/web");
    });
}
