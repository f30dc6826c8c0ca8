//! What an agent knew of whose an interface is, the next one knows too: who removes links of the node and
//! makes others takes no other pod's name, whenever the agent starts again.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use aya::maps::{HashMap, MapData};
use policy_agent::agent::{EndpointStatus, UnenforcedInterface};
use policy_harness::{
    Attach, Netns, Wiring,
    cluster::pod_manifest,
    topology::{BRIDGE, INSIDE},
    wire::{Ethernet, Port, transport::udp_packet},
};

use crate::scene::{
    DENY_ALL, FROM_CLIENT, SILENCE, Scene, addresses, eventually, in_every_setting,
};

/// Longer than what comes with a pod's sandbox may take.
const SET_UP: Duration = Duration::from_millis(2_500);

/// A web server, the only client that may reach it, and a pod that may not.
fn cast(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/client", "app: client", 20);
    scene.pod("shop/evil", "app: evil", 30);
    scene.policy("deny", "{podSelector: {matchLabels: {app: web}}}");
    scene.policy("from-client", FROM_CLIENT);
    scene.passes("shop/client", "shop/web");
}

/// The pod makes a link into the node, whose inner end has the addresses of a number.
fn makes_link(scene: &Scene, pod: &str, number: u8) {
    let host = scene.netns("host");
    let [v4, v6] = addresses(number);
    scene
        .netns(pod)
        .ip(&[
            format!(
                "link add in0 type veth peer name out0 netns {}",
                host.name()
            ),
            "link set in0 up".to_owned(),
            format!("addr add {v4}/32 dev in0"),
            format!("addr add {v6}/128 dev in0 nodad"),
        ])
        .unwrap();
    let mut outer = vec!["link set out0 up".to_owned()];
    if scene.cluster.node.wiring() == Wiring::Bridged {
        outer.push(format!("link set out0 master {BRIDGE}"));
    }
    host.ip(&outer).unwrap();
}

fn loses_interface(scene: &Scene, pod: &str) {
    let interface = &scene.cluster.pod(pod).unwrap().interface;
    let host = scene.netns("host");
    host.ip(&[format!("link del {interface}")]).unwrap();
}

fn endpoint(scene: &Scene, interface: &str) -> Option<EndpointStatus> {
    let all = scene.cluster.agent.status().unwrap().endpoints;
    all.into_iter().find(|one| one.interface == interface)
}

fn shown(scene: &Scene, interface: &str) -> Option<UnenforcedInterface> {
    let all = scene.cluster.agent.status().unwrap().unenforced;
    all.into_iter().find(|one| one.interface == interface)
}

/// The interface is enforced, and nobody's, for this reason.
#[track_caller]
fn is_nobodys(scene: &Scene, interface: &str, reason: &str) {
    eventually(&format!("{interface} is nobody's: {reason}"), || {
        endpoint(scene, interface).is_some_and(|one| {
            one.enforced
                && one.pod.is_none()
                && one.problem.is_some_and(|problem| problem.contains(reason))
        })
    });
}

/// Whether a datagram with the source of a number gets from a pod's own link to the web server.
fn reaches_web(scene: &Scene, from: &str, number: u8, v6: bool) -> bool {
    let words: &[u8] = b"in another's name";
    let source: IpAddr = addresses(number)[usize::from(v6)].parse().unwrap();
    let packet = udp_packet(
        SocketAddr::new(source, 4000),
        SocketAddr::new(scene.address("shop/web", v6), 80),
        words,
    );
    let web = scene.cluster.pod("shop/web").unwrap();
    let next = match scene.cluster.node.wiring() {
        Wiring::Routed => scene.netns("host").mac("out0").unwrap(),
        Wiring::Bridged => web.mac,
    };
    let inside = Port::open(&web.netns, INSIDE).unwrap();
    let from = scene.netns(from);
    let outside = Port::open(from, "in0").unwrap();
    let frame = Ethernet::new(from.mac("in0").unwrap(), next).ip(&packet);
    outside.send(&frame).unwrap();
    inside.sees(SILENCE, words).unwrap()
}

#[track_caller]
fn has_no_name(scene: &Scene) {
    is_nobodys(scene, "out0", "shop/client");
    for v6 in [false, true] {
        assert!(!reaches_web(scene, "shop/evil", 20, v6), "v6: {v6}");
    }
}

#[test]
fn a_link_with_the_address_of_a_pod_that_lost_its_own_is_nobodys_in_every_later_run() {
    in_every_setting(&[], |scene| {
        cast(scene);
        loses_interface(scene, "shop/client");
        makes_link(scene, "shop/evil", 20);
        has_no_name(scene);
        for crashes in [false, true] {
            if crashes {
                scene.cluster.agent.kill().unwrap();
            } else {
                scene.cluster.agent.stop().unwrap();
            }
            scene.cluster.agent.start(&[]).unwrap();
            has_no_name(scene);
        }
        // What is whose it was goes on.
        scene.is_silent("shop/evil", "shop/web");
        scene.passes("shop/web", "outside");
    });
}

#[test]
fn a_pod_whose_own_interface_is_gone_too_keeps_no_name_but_its_own() {
    for agent_runs in [true, false] {
        in_every_setting(&[], |scene| {
            cast(scene);
            if !agent_runs {
                scene.cluster.agent.stop().unwrap();
            }
            loses_interface(scene, "shop/client");
            loses_interface(scene, "shop/evil");
            if agent_runs {
                eventually("they are gone", || {
                    scene.cluster.agent.status().unwrap().endpoints.len() == 1
                });
                scene.cluster.agent.stop().unwrap();
            }
            makes_link(scene, "shop/evil", 20);
            for _ in 0..2 {
                scene.cluster.agent.start(&[]).unwrap();
                has_no_name(scene);
                scene.cluster.agent.stop().unwrap();
            }
        });
    }
}

#[test]
fn an_interface_whose_other_end_moved_is_nobodys_though_no_agent_ran() {
    for agent_runs in [true, false] {
        in_every_setting(&[], |scene| {
            cast(scene);
            let interface = scene.cluster.pod("shop/client").unwrap().interface.clone();
            let accomplice = Netns::new("lifecycle-accomplice").unwrap();
            if !agent_runs {
                scene.cluster.agent.stop().unwrap();
            }
            let away = format!("link set {INSIDE} netns {}", accomplice.name());
            scene.netns("shop/client").ip(&[away]).unwrap();
            if agent_runs {
                is_nobodys(scene, &interface, "moved");
                scene.cluster.agent.stop().unwrap();
            }
            for _ in 0..2 {
                scene.cluster.agent.start(&[]).unwrap();
                is_nobodys(scene, &interface, "moved");
                scene.cluster.agent.stop().unwrap();
            }
        });
    }
}

#[test]
fn a_link_that_was_added_to_a_running_pod_is_shown_by_later_runs_too() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/evil", "app: evil", 30);
        scene.pod("shop/other", "app: other", 31);
        scene.policy("deny", DENY_ALL);
        thread::sleep(SET_UP);
        makes_link(scene, "shop/evil", 77);
        eventually("it is shown", || shown(scene, "out0").is_some());
        scene.cluster.agent.stop().unwrap();
        // Another one is added while no agent runs.
        let host = scene.netns("host").name().to_owned();
        scene
            .netns("shop/other")
            .ip(&[format!(
                "link add in1 type veth peer name out1 netns {host}"
            )])
            .unwrap();
        for _ in 0..2 {
            scene.cluster.agent.start(&[]).unwrap();
            for (link, pod) in [("out0", "shop/evil"), ("out1", "shop/other")] {
                eventually("it is shown", || shown(scene, link).is_some());
                assert_eq!(shown(scene, link).unwrap().pod.as_deref(), Some(pod));
            }
            scene.cluster.agent.kill().unwrap();
        }
    });
}

#[test]
fn a_pod_that_runs_on_without_its_interface_is_shown_by_later_runs_too() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 30);
        scene.pod("shop/b", "app: b", 31);
        let lost = ["shop/a", "shop/b"].map(|pod| {
            let pod = scene.cluster.pod(pod).unwrap();
            (pod.name.clone(), pod.interface.clone())
        });
        loses_interface(scene, "shop/a");
        eventually("it is gone", || {
            scene.cluster.agent.status().unwrap().endpoints.len() == 1
        });
        scene.cluster.agent.stop().unwrap();
        loses_interface(scene, "shop/b");
        for _ in 0..2 {
            scene.cluster.agent.start(&[]).unwrap();
            for (pod, interface) in &lost {
                eventually("it is shown", || shown(scene, interface).is_some());
                assert_eq!(shown(scene, interface).unwrap().pod.as_ref(), Some(pod));
            }
            scene.cluster.agent.stop().unwrap();
        }
    });
}

#[test]
fn without_its_memory_an_agent_takes_nobody_for_a_pod_that_was_not_its_interface_for_certain() {
    in_every_setting(&[], |scene| {
        cast(scene);
        loses_interface(scene, "shop/client");
        eventually("it is gone", || {
            scene.cluster.agent.status().unwrap().endpoints.len() == 2
        });
        scene.cluster.agent.stop().unwrap();
        makes_link(scene, "shop/evil", 20);
        let pin = scene.cluster.agent.pin_path().join("SANDBOXES");
        std::fs::remove_file(&pin).unwrap();
        let other: HashMap<MapData, u32, u32> = HashMap::create(1, 0).unwrap();
        other.pin(&pin).unwrap();
        for _ in 0..2 {
            scene.cluster.agent.start(&[]).unwrap();
            has_no_name(scene);
            scene.is_silent("shop/evil", "shop/web");
            scene.passes("shop/web", "outside");
            scene.cluster.agent.kill().unwrap();
        }
        scene.cluster.agent.start(&[]).unwrap();
        // New pods are found as ever.
        scene.pod("shop/new", "app: client", 40);
        scene.passes("shop/new", "shop/web");
        eventually("it is said", || {
            let log = scene.cluster.agent.log();
            log.contains("what an earlier run remembered of interfaces cannot be read")
        });
    });
}

#[test]
fn who_has_many_addresses_takes_none_anew_while_no_agent_runs() {
    for (number, attach, reason) in [
        (4, Attach::Tcx, "after others had been seen"),
        (12, Attach::Clsact, "could not be kept or read"),
    ] {
        let mut scene = Scene::stopped(Wiring::Routed, attach);
        cast_aside(&mut scene);
        // Nobody's pod, with addresses of both families; IPv6 comes last in every list.
        let [_, first] = addresses(100);
        let parsed = [first.parse().unwrap()];
        let node = &mut scene.cluster.node;
        let interface = node
            .add_pod("shop/nobody", &parsed)
            .unwrap()
            .interface
            .clone();
        let more = (101..101 + number)
            .map(|one| format!("addr add {}/32 dev {INSIDE}", addresses(one)[0]));
        scene
            .netns("shop/nobody")
            .ip(&more.collect::<Vec<_>>())
            .unwrap();
        scene.cluster.agent.start(&[]).unwrap();
        thread::sleep(SET_UP);
        scene.cluster.agent.stop().unwrap();
        let [_, taken] = addresses(40);
        scene
            .netns("shop/nobody")
            .ip(&[
                format!("addr del {first}/128 dev {INSIDE}"),
                format!("addr add {taken}/128 dev {INSIDE} nodad"),
            ])
            .unwrap();
        let text = pod_manifest("shop", "late", "app: client", &[&taken]);
        scene.cluster.write("pod-shop-late.yaml", &text).unwrap();
        scene.cluster.agent.start(&[]).unwrap();
        is_nobodys(&scene, &interface, reason);
    }
}

/// A policy, and a pod that it isolates, before any agent runs.
fn cast_aside(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.policy("deny", "{podSelector: {matchLabels: {app: web}}}");
    scene.policy("from-client", FROM_CLIENT);
}
