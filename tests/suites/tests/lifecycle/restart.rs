//! Agents that end, and agents that take over.

use std::net::SocketAddr;

use policy_agent::datapath::chain;
use policy_harness::{
    Attach, Wiring,
    topology::INSIDE,
    traffic::Outcome,
    wire::{Ethernet, Port, transport::udp_packet},
};

use crate::{
    scene::{DENY_ALL, FROM_CLIENT, SILENCE, SOON, Scene, TO_WEB, addresses, in_every_setting},
    steady::Steady,
};

fn cast(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/client", "app: client", 20);
    scene.pod("other/stranger", "app: client", 30);
    scene.passes("other/stranger", "shop/web");
    scene.policy("deny", DENY_ALL);
    scene.policy("from-client", FROM_CLIENT);
    scene.policy("to-web", TO_WEB);
}

#[test]
fn an_agent_that_takes_over_interrupts_nothing_and_lets_nothing_slip() {
    in_every_setting(&[], |scene| {
        cast(scene);
        let web = [false, true].map(|v6| scene.server("shop/web", v6));
        let allowed = web.map(|to| Steady::allowed(scene.netns("shop/client"), to));
        let forbidden = [("other/stranger", web[0]), ("outside", web[1])]
            .map(|(from, to)| Steady::forbidden(scene.netns(from), to));
        let mut idle = scene.connect("shop/client", "shop/web", false);
        for _ in 0..2 {
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.start(&[]).unwrap();
            scene.cluster.agent.kill().unwrap();
            scene.cluster.agent.start(&[]).unwrap();
        }
        for traffic in allowed.into_iter().chain(forbidden) {
            assert!(traffic.end() > 100, "traffic went on all the time");
        }
        assert_eq!(idle.exchange(SOON).unwrap(), Outcome::Allowed);
        // The new agent follows the manifests.
        scene.remove_policy("to-web");
        scene.is_silent("shop/client", "shop/web");
    });
}

#[test]
fn what_was_enforced_outlives_the_agent_until_cleanup() {
    in_every_setting(&[], |scene| {
        cast(scene);
        let mut open = scene.connect("shop/client", "shop/web", true);
        for crashes in [false, true] {
            if crashes {
                scene.cluster.agent.kill().unwrap();
            } else {
                scene.cluster.agent.stop().unwrap();
            }
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
            scene.passes("shop/client", "shop/web");
            scene.is_silent("other/stranger", "shop/web");
            scene.is_silent("shop/web", "outside");
            if !crashes {
                scene.cluster.agent.start(&[]).unwrap();
            }
        }
        for _ in 0..2 {
            scene.cluster.agent.cleanup().unwrap();
            scene.passes("other/stranger", "shop/web");
            scene.passes("shop/web", "outside");
            assert!(!scene.cluster.agent.pin_path().exists());
            for pod in scene.cluster.node.pods() {
                let look = || {
                    aya_hooks().map(|hook| chain::chain(pod.ifindex, hook).unwrap().entries.len())
                };
                let left = scene.cluster.node.host.run(look).unwrap();
                assert_eq!(left, [0, 0], "programs on {}", pod.interface);
                let qdiscs = scene.netns("host").exec("tc", &["qdisc", "show"]).unwrap();
                assert!(!qdiscs.contains("clsact"), "{qdiscs}");
            }
        }
    });
}

fn aya_hooks() -> [aya::programs::TcAttachType; 2] {
    use aya::programs::TcAttachType::{Egress, Ingress};
    [Ingress, Egress]
}

#[test]
fn a_pod_that_inherits_an_interface_index_and_an_address_inherits_no_connection() {
    const EGRESS: &str =
        "{podSelector: {matchLabels: {app: old}}, policyTypes: [Egress], egress: [{}]}";
    for agent_runs in [true, false] {
        in_every_setting(&[], |scene| {
            scene.policy("deny", DENY_ALL);
            scene.policy("egress", EGRESS);
            scene.pod("shop/old", "app: old", 40);
            let ifindex = scene.cluster.pod("shop/old").unwrap().ifindex;
            let outside = Port::open(scene.netns("outside"), INSIDE).unwrap();
            let frame = Ethernet::new(
                scene.netns("outside").mac(INSIDE).unwrap(),
                scene
                    .netns("host")
                    .mac(policy_harness::topology::UPLINK)
                    .unwrap(),
            );
            // An answer of a server nobody asked, if there was no flow: sent raw.
            let ends = [false, true].map(|v6| {
                let server = SocketAddr::new(scene.address("outside", v6), 5353);
                let pod = SocketAddr::new(scene.address("shop/old", v6), 4000);
                (server, pod)
            });
            let answered = |scene: &Scene, pod: &str, words: &'static [u8], within| {
                let inside = Port::open(scene.netns(pod), INSIDE).unwrap();
                ends.map(|(server, pod)| {
                    let answer = udp_packet(server, pod, words);
                    outside.send(&frame.ip(&answer)).unwrap();
                    let wanted = |frame: &[u8]| frame.ends_with(words);
                    inside.capture(within, wanted).unwrap().is_some()
                })
            };
            assert_eq!(
                answered(scene, "shop/old", b"too early", SILENCE),
                [false; 2]
            );
            for (server, pod) in ends {
                let ask = || std::net::UdpSocket::bind(pod)?.send_to(b"question", server);
                scene.netns("shop/old").run(ask).unwrap().unwrap();
            }
            assert_eq!(answered(scene, "shop/old", b"in time", SOON), [true; 2]);

            if !agent_runs {
                scene.cluster.agent.stop().unwrap();
            }
            scene.remove_pod("shop/old");
            let texts = addresses(40);
            let texts = [texts[0].as_str(), texts[1].as_str()];
            scene
                .cluster
                .declare_pod("shop/new", "app: new", &texts)
                .unwrap();
            let parsed = texts.map(|text| text.parse().unwrap());
            let node = &mut scene.cluster.node;
            let new = node.add_pod_at("shop/new", &parsed, Some(ifindex)).unwrap();
            assert_eq!(new.ifindex, ifindex);
            if !agent_runs {
                scene.cluster.agent.start(&[]).unwrap();
            }
            let known = |agent: &mut policy_harness::agent::Agent| {
                let mut endpoints = agent.status()?.endpoints;
                endpoints.retain(|one| one.enforced);
                Ok(endpoints
                    .iter()
                    .any(|one| one.pod.as_deref() == Some("shop/new")))
            };
            scene
                .cluster
                .agent
                .wait("the new pod is enforced", known)
                .unwrap();
            assert_eq!(
                answered(scene, "shop/new", b"too late", SILENCE),
                [false; 2]
            );
            scene.serve("shop/new");
            scene.passes("host", "shop/new");
        });
    }
}

#[test]
fn what_a_run_leaves_that_ends_before_anything_is_in_force_is_cleaned_up() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    let agent = &mut scene.cluster.agent;
    let pins = agent.pin_path().to_owned();
    for (left, is_taken) in [("SANDBOXES", true), ("PORTS", false)] {
        agent.start(&[]).unwrap();
        agent.stop().unwrap();
        for pin in std::fs::read_dir(&pins).unwrap() {
            let pin = pin.unwrap();
            if pin.file_type().unwrap().is_file() && pin.file_name() != left {
                std::fs::remove_file(pin.path()).unwrap();
            }
        }
        assert_eq!(agent.cleanup().is_ok(), is_taken, "{left}");
        assert_eq!(pins.exists(), !is_taken, "{left}");
    }
    std::fs::remove_file(pins.join("PORTS")).unwrap();
}
