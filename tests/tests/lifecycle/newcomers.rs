//! Pods in their first moments.

use policy_tests::harness::traffic::Outcome;

use crate::scene::{DENY_ALL, Scene, addresses, in_every_setting};

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
    let seen = |agent: &mut policy_tests::harness::agent::Agent| {
        let endpoints = agent.status()?.endpoints;
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
        let from_peer = crate::steady::Steady::forbidden(scene.netns("other/peer"), to);
        let to = scene.server("other/peer", true);
        let from_pod = crate::steady::Steady::forbidden(scene.netns("shop/new"), to);
        scene.label("shop/new", "app: new", 50);
        let known = |agent: &mut policy_tests::harness::agent::Agent| {
            let endpoints = agent.status()?.endpoints;
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
