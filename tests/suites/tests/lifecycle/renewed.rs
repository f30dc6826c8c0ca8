//! Indexes and numbers that mean something else than when they were written down: the node's own network
//! namespace is another one, or the kernel gave a pod's number to the next while no agent ran.

use std::{collections::BTreeMap, net::IpAddr};

use policy_agent::datapath::{PinDir, fill};
use policy_harness::topology::{BRIDGE, INSIDE, Node};

use crate::scene::{FROM_CLIENT, Scene, addresses, eventually, in_every_setting};

const PODS: [(&str, &str, u8); 3] = [
    ("shop/web", "app: web", 10),
    ("shop/client", "app: client", 20),
    ("shop/evil", "app: evil", 30),
];

/// A web server, the only client that may reach it, and a pod that may not.
fn cast(scene: &mut Scene) {
    for (name, labels, number) in PODS {
        scene.pod(name, labels, number);
    }
    scene.policy("deny", "{podSelector: {matchLabels: {app: web}}}");
    scene.policy("from-client", FROM_CLIENT);
    is_right(scene);
}

#[track_caller]
fn is_right(scene: &Scene) {
    scene.passes("shop/client", "shop/web");
    scene.is_silent("shop/evil", "shop/web");
}

/// The pods come up again: each with the index that the next one's interface had.
fn come_up_in_another_order(scene: &mut Scene, indexes: &BTreeMap<&str, u32>) {
    for (place, (name, _, number)) in PODS.iter().enumerate().rev() {
        let parsed: Vec<IpAddr> = addresses(*number)
            .iter()
            .map(|one| one.parse().unwrap())
            .collect();
        let (other, ..) = PODS[(place + 1) % PODS.len()];
        let index = indexes.get(other).copied();
        let node = &mut scene.cluster.node;
        node.add_pod_at(name, &parsed, index).unwrap();
    }
}

fn indexes(scene: &Scene) -> BTreeMap<&'static str, u32> {
    let index = |name| scene.cluster.pod(name).unwrap().ifindex;
    PODS.iter().map(|(name, ..)| (*name, index(name))).collect()
}

/// Every pod is behind the interface that leads to it.
#[track_caller]
fn everybody_is_known(scene: &Scene) {
    for (name, ..) in PODS {
        let interface = &scene.cluster.pod(name).unwrap().interface;
        eventually(&format!("{name} is behind {interface}"), || {
            let all = scene.cluster.agent.status().unwrap().endpoints;
            all.iter().any(|one| {
                one.enforced && one.interface == *interface && one.pod.as_deref() == Some(name)
            })
        });
    }
}

/// The kernel ends namespaces when it finds the time; the next start forgets what was in them.
#[track_caller]
fn nothing_is_left_elsewhere(scene: &mut Scene) {
    let elsewhere = scene.cluster.agent.pin_path().join("elsewhere");
    eventually("nothing is left elsewhere", || {
        let is_empty = std::fs::read_dir(&elsewhere).unwrap().next().is_none();
        if !is_empty {
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.start(&[]).unwrap();
        }
        is_empty
    });
}

/// The node's namespace is another one, with pods at the indexes of others. Returns the one before.
fn renew(
    scene: &mut Scene,
    keeps: bool,
) -> Option<(Node, Vec<(String, policy_harness::traffic::Server)>)> {
    let at = indexes(scene);
    let old = scene.cluster.renew_node().unwrap();
    let servers = std::mem::take(&mut scene.servers);
    let old = keeps.then_some((old, servers));
    scene.serve("host");
    scene.serve("outside");
    come_up_in_another_order(scene, &at);
    for (name, ..) in PODS {
        scene.serve(name);
    }
    old
}

#[test]
fn what_was_decided_in_another_namespace_of_the_node_is_not_believed() {
    for crashes in [false, true] {
        in_every_setting(&[], |scene| {
            cast(scene);
            let flows = |scene: &Scene| {
                let all = fill(&PinDir::new(scene.cluster.agent.pin_path())).unwrap();
                let flows = all.into_iter().filter(|one| one.name.starts_with("FLOWS"));
                flows.map(|one| one.entries).sum::<u64>()
            };
            assert!(flows(scene) > 0);
            if crashes {
                scene.cluster.agent.kill().unwrap();
            } else {
                scene.cluster.agent.stop().unwrap();
            }
            renew(scene, false);
            scene.cluster.agent.start(&[]).unwrap();
            assert_eq!(flows(scene), 0, "they were of other pods");
            everybody_is_known(scene);
            is_right(scene);
            let status = scene.cluster.agent.status().unwrap();
            let why = status.agent.decided_anew.unwrap();
            assert!(why.contains("another network namespace"), "{why}");
            eventually("it is said", || scene.cluster.agent.log().contains(&why));
            // From now on it is this one's.
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.start(&[]).unwrap();
            assert_eq!(
                scene.cluster.agent.status().unwrap().agent.decided_anew,
                None
            );
            everybody_is_known(scene);
            is_right(scene);
            nothing_is_left_elsewhere(scene);
        });
    }
}

#[test]
fn a_namespace_of_the_node_that_lives_on_stays_closed_and_may_come_back() {
    in_every_setting(&[], |scene| {
        cast(scene);
        scene.cluster.agent.stop().unwrap();
        let (old, servers) = renew(scene, true).unwrap();
        scene.cluster.agent.start(&[]).unwrap();
        everybody_is_known(scene);
        is_right(scene);
        // What is enforced there stays.
        let new = std::mem::replace(&mut scene.cluster.node, old);
        let new_servers = std::mem::replace(&mut scene.servers, servers);
        scene.is_silent("shop/evil", "shop/web");
        scene.cluster.agent.stop().unwrap();
        drop((new, new_servers));
        scene.cluster.agent.move_to(&scene.cluster.node.host);
        scene.cluster.agent.start(&[]).unwrap();
        everybody_is_known(scene);
        is_right(scene);
        nothing_is_left_elsewhere(scene);
    });
}

#[test]
fn pods_that_were_made_anew_in_the_numbers_of_others_are_known_at_once() {
    let case = |scene: &mut Scene, coincide: bool| {
        cast(scene);
        scene.cluster.agent.stop().unwrap();
        let at = if coincide {
            indexes(scene)
        } else {
            BTreeMap::new()
        };
        let numbers = |scene: &Scene| {
            let host = scene.netns("host").name().to_owned();
            let list = std::process::Command::new("ip")
                .args(["-n", &host, "netns", "list-id"])
                .output();
            String::from_utf8_lossy(&list.unwrap().stdout)
                .lines()
                .count()
        };
        let before = numbers(scene);
        for (name, ..) in PODS {
            scene.servers.retain(|(of, _)| of != name);
            scene.cluster.node.remove_pod(name).unwrap();
        }
        eventually("their numbers are free", || {
            numbers(scene) <= before - PODS.len()
        });
        come_up_in_another_order(scene, &at);
        assert_eq!(numbers(scene), before);
        for (name, ..) in PODS {
            scene.serve(name);
        }
        scene.cluster.agent.start(&[]).unwrap();
        everybody_is_known(scene);
        is_right(scene);
    };
    for coincide in [false, true] {
        in_every_setting(&[], |scene| case(scene, coincide));
    }
}

#[test]
fn who_made_its_link_anew_in_its_own_namespace_takes_no_other_name_by_it() {
    in_every_setting(&[], |scene| {
        cast(scene);
        scene.cluster.agent.stop().unwrap();
        let host = scene.netns("host").name().to_owned();
        let evil = scene.cluster.pod("shop/evil").unwrap();
        let (interface, index) = (evil.interface.clone(), evil.ifindex);
        // The client is gone; its object stays, and evil takes its address on a link with its own old index.
        scene.servers.retain(|(of, _)| of != "shop/client");
        scene.cluster.node.remove_pod("shop/client").unwrap();
        let [v4, v6] = addresses(20);
        scene
            .netns("shop/evil")
            .ip(&[
                format!("link del {INSIDE}"),
                format!(
                    "link add {INSIDE} index 2 type veth peer name {interface} index {index} netns {host}"
                ),
                format!("addr add {v4}/32 dev {INSIDE}"),
                format!("addr add {v6}/128 dev {INSIDE} nodad"),
                format!("link set {INSIDE} up"),
            ])
            .unwrap();
        let mut outer = vec![format!("link set {interface} up")];
        if scene.cluster.node.wiring() == policy_harness::Wiring::Bridged {
            outer.push(format!("link set {interface} master {BRIDGE}"));
        }
        scene.netns("host").ip(&outer).unwrap();
        for _ in 0..2 {
            scene.cluster.agent.start(&[]).unwrap();
            let all = scene.cluster.agent.status().unwrap().endpoints;
            let shown = all.iter().find(|one| one.interface == interface);
            assert_ne!(shown.unwrap().pod.as_deref(), Some("shop/client"));
            scene.cluster.agent.stop().unwrap();
        }
    });
}
