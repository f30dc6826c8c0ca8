//! Pods in their first moments.

use policy_harness::{
    agent::Agent,
    traffic::{Connection, Outcome},
};

use crate::{
    scene::{DENY_ALL, FROM_CLIENT, SILENCE, SOON, Scene, addresses, in_every_setting},
    steady::Steady,
};

const DENY_UNKNOWN: &[&str] = &["--unknown-endpoint", "deny"];

/// Makes a pod's interface without its manifest and waits for its programs.
fn unknown(scene: &mut Scene, name: &str, number: u8) {
    let parsed = addresses(number).map(|text| text.parse().unwrap());
    let interface = scene
        .cluster
        .node
        .add_pod(name, &parsed)
        .unwrap()
        .interface
        .clone();
    let seen = |agent: &mut Agent| {
        let mut endpoints = agent.status()?.endpoints;
        endpoints.retain(|one| one.enforced);
        Ok(endpoints
            .iter()
            .any(|one| one.interface == interface && one.pod.is_none()))
    };
    scene
        .cluster
        .agent
        .wait("its interface is enforced", seen)
        .unwrap();
    scene.serve(name);
}

#[test]
fn an_unknown_pod_talks_to_nobody_but_the_node_until_it_is_known() {
    in_every_setting(DENY_UNKNOWN, |scene| {
        scene.pod("other/peer", "app: peer", 20);
        unknown(scene, "shop/new", 50);
        scene.is_silent("shop/new", "other/peer");
        scene.is_silent("other/peer", "shop/new");
        scene.passes("host", "shop/new");
        scene.passes("shop/new", "host");
        scene.label("shop/new", "app: new", 50);
        scene.becomes("other/peer", "shop/new", Outcome::Allowed);
        scene.passes("shop/new", "other/peer");
    });
}

#[test]
fn a_pod_is_isolated_from_the_moment_it_is_known() {
    in_every_setting(DENY_UNKNOWN, |scene| {
        scene.policy("deny", DENY_ALL);
        scene.pod("other/peer", "app: peer", 20);
        unknown(scene, "shop/new", 50);
        let to = scene.server("shop/new", false);
        let from_peer = Steady::forbidden(scene.netns("other/peer"), to);
        let to = scene.server("other/peer", true);
        let from_pod = Steady::forbidden(scene.netns("shop/new"), to);
        scene.label("shop/new", "app: new", 50);
        let known = |agent: &mut Agent| {
            let mut endpoints = agent.status()?.endpoints;
            endpoints.retain(|one| one.enforced);
            Ok(endpoints
                .iter()
                .any(|one| one.pod.as_deref() == Some("shop/new")))
        };
        scene.cluster.agent.wait("the pod is known", known).unwrap();
        scene.is_silent("other/peer", "shop/new");
        assert!(from_peer.end() > 10 && from_pod.end() > 10);
        scene.remove_policy("deny");
        scene.passes("other/peer", "shop/new");
        scene.passes("shop/new", "other/peer");
    });
}

#[test]
fn what_leads_to_no_pod_is_left_alone() {
    in_every_setting(&[], |scene| {
        scene.policy("deny", DENY_ALL);
        scene.pod("shop/web", "app: web", 10);
        scene.is_silent("outside", "shop/web");
        let parsed = addresses(60).map(|text| text.parse().unwrap());
        scene.cluster.node.add_pod("container", &parsed).unwrap();
        scene.serve("container");
        scene.passes("outside", "container");
        scene.passes("container", "outside");
    });
}

/// Writes the object of a pod whose init container runs (or whose main one does, in phase
/// `Running`) and waits until it counts.
fn declare(scene: &mut Scene, phase: &str, number: Option<u8>) {
    let addresses = number
        .map(addresses)
        .map(|[v4, v6]| format!(", podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]"));
    let addresses = addresses.unwrap_or_default();
    let runs = |name: &str, is: bool| {
        let state = if is {
            "{running: {startedAt: \"2026-01-01T00:00:00Z\"}}"
        } else {
            "{waiting: {reason: PodInitializing}}"
        };
        format!(
            "{{name: {name}, image: none, imageID: \"\", ready: false, restartCount: 0, state: {state}}}"
        )
    };
    let is_pending = phase == "Pending";
    let text = format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: web, namespace: shop, labels: {{app: web}}}}\n\
         spec:\n  initContainers: [{{name: first, image: none}}]\n  containers: [{{name: main, image: none}}]\n\
         status: {{phase: {phase}{addresses}, initContainerStatuses: [{}], containerStatuses: [{}]}}\n",
        runs("first", is_pending),
        runs("main", !is_pending),
    );
    scene.cluster.apply("pod-shop-web.yaml", &text).unwrap();
}

#[test]
fn policies_hold_while_init_containers_run() {
    const SILENT: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}";
    in_every_setting(DENY_UNKNOWN, |scene| {
        scene.pod("shop/client", "app: client", 20);
        scene.pod("shop/stranger", "app: stranger", 30);
        scene.policy("from-client", FROM_CLIENT);
        scene.policy("silent", SILENT);
        declare(scene, "Pending", None);
        unknown(scene, "shop/web", 10);
        scene.is_silent("shop/client", "shop/web");
        let forbidden = [("shop/stranger", "shop/web"), ("shop/web", "shop/stranger")]
            .map(|(from, to)| Steady::forbidden(scene.netns(from), scene.server(to, false)));
        declare(scene, "Pending", Some(10));
        scene.becomes("shop/client", "shop/web", Outcome::Allowed);
        scene.is_silent("shop/stranger", "shop/web");
        scene.is_silent("shop/web", "shop/stranger");
        scene.passes("host", "shop/web");
        let mut open = [false, true].map(|v6| scene.connect("shop/client", "shop/web", v6));
        declare(scene, "Running", Some(10));
        for connection in &mut open {
            assert_eq!(connection.exchange(SOON).unwrap(), Outcome::Allowed);
        }
        scene.is_silent("shop/stranger", "shop/web");
        scene.is_silent("shop/web", "shop/stranger");
        for traffic in forbidden {
            assert!(traffic.end() > 10);
        }
    });
}

/// Connections between two pods in both families.
fn connected(scene: &Scene, from: &str, to: &str) -> [Connection; 2] {
    [false, true].map(|v6| scene.connect(from, to, v6))
}

#[test]
fn what_began_before_the_programs_came_ends_when_the_policy_forbids_it() {
    for agent_runs in [true, false] {
        in_every_setting(&[], |scene| {
            scene.pod("shop/client", "app: client", 20);
            scene.pod("shop/stranger", "app: stranger", 30);
            scene.policy("from-client", FROM_CLIENT);
            scene.label("shop/web", "app: web", 10);
            if agent_runs {
                scene.cluster.agent.freeze().unwrap();
            } else {
                scene.cluster.agent.stop().unwrap();
            }
            let parsed = addresses(10).map(|text| text.parse().unwrap());
            scene.cluster.node.add_pod("shop/web", &parsed).unwrap();
            scene.serve("shop/web");
            let mut of_client = connected(scene, "shop/client", "shop/web");
            let mut of_stranger = connected(scene, "shop/stranger", "shop/web");
            if agent_runs {
                scene.cluster.agent.thaw().unwrap();
            } else {
                scene.cluster.agent.start(&[]).unwrap();
            }
            let known = |agent: &mut Agent| {
                let mut endpoints = agent.status()?.endpoints;
                endpoints.retain(|one| one.enforced);
                let mut pods = endpoints.iter().filter_map(|one| one.pod.as_deref());
                Ok(pods.any(|pod| pod == "shop/web"))
            };
            scene.cluster.agent.wait("the pod is known", known).unwrap();
            for connection in &mut of_stranger {
                assert_eq!(connection.exchange(SILENCE).unwrap(), Outcome::Denied);
            }
            scene.is_silent("shop/stranger", "shop/web");
            for connection in &mut of_client {
                assert_eq!(connection.exchange(SOON).unwrap(), Outcome::Allowed);
            }
            // What the client says opens nothing for the stranger.
            for connection in &mut of_stranger {
                assert_eq!(connection.exchange(SILENCE).unwrap(), Outcome::Denied);
            }
        });
    }
}

#[test]
fn what_an_unknown_pod_began_before_the_programs_came_ends() {
    in_every_setting(DENY_UNKNOWN, |scene| {
        scene.pod("other/peer", "app: peer", 20);
        scene.cluster.agent.freeze().unwrap();
        let parsed = addresses(50).map(|text| text.parse().unwrap());
        scene.cluster.node.add_pod("shop/new", &parsed).unwrap();
        scene.serve("shop/new");
        let mut open = connected(scene, "shop/new", "other/peer")
            .into_iter()
            .chain(connected(scene, "other/peer", "shop/new"))
            .collect::<Vec<_>>();
        scene.cluster.agent.thaw().unwrap();
        let interface = scene.cluster.pod("shop/new").unwrap().interface.clone();
        let seen = |agent: &mut Agent| {
            let mut endpoints = agent.status()?.endpoints;
            endpoints.retain(|one| one.enforced);
            Ok(endpoints.iter().any(|one| one.interface == interface))
        };
        let what = "its interface is enforced";
        scene.cluster.agent.wait(what, seen).unwrap();
        for connection in &mut open {
            assert_eq!(connection.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        scene.is_silent("shop/new", "other/peer");
        scene.is_silent("other/peer", "shop/new");
        scene.passes("host", "shop/new");
    });
}
