//! Pods, namespaces and addresses that change: a verdict follows who somebody is now.

use policy_harness::traffic::Outcome;

use crate::scene::{
    FROM_CLIENT, SILENCE, SOON, Scene, addresses, in_every_setting, namespace, policy,
};

#[test]
fn an_address_has_the_rights_of_the_pod_that_has_it_now() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/first", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        scene.passes("shop/first", "shop/web");
        scene.remove_pod("shop/first");
        scene.pod("shop/second", "app: other", 20);
        scene.is_silent("shop/second", "shop/web");
        scene.remove_pod("shop/second");
        // The same name again, with other labels and another address.
        scene.pod("shop/first", "app: other", 21);
        scene.is_silent("shop/first", "shop/web");
        scene.remove_pod("shop/first");
        scene.pod("shop/first", "app: client", 22);
        scene.passes("shop/first", "shop/web");
    });
}

#[test]
fn new_labels_of_a_peer_alone_change_its_rights_also_on_open_connections() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/peer", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        let mut open = [false, true].map(|v6| scene.connect("shop/peer", "shop/web", v6));
        scene.label("shop/peer", "app: other", 20);
        scene.is_silent("shop/peer", "shop/web");
        for connection in &mut open {
            assert_eq!(connection.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        scene.label("shop/peer", "app: client", 20);
        for connection in &mut open {
            assert_eq!(connection.exchange(SOON).unwrap(), Outcome::Allowed);
        }
        // A label of its own frees a pod of the policy that selected it.
        scene.label("shop/web", "app: free", 10);
        scene.passes("outside", "shop/web");
        scene.label("shop/web", "app: web", 10);
        scene.is_silent("outside", "shop/web");
    });
}

#[test]
fn a_namespace_counts_with_the_labels_that_it_has_now() {
    const FROM_PROJECT: &str = "{podSelector: {}, policyTypes: [Ingress], \
         ingress: [{from: [{namespaceSelector: {matchLabels: {project: x}}}]}]}";
    in_every_setting(&[], |scene| {
        let project = namespace("team", "project: x");
        scene.pod("shop/web", "app: web", 10);
        scene.pod("team/peer", "app: any", 20);
        scene.policy("from-project", FROM_PROJECT);
        scene.is_silent("team/peer", "shop/web");
        for _ in 0..2 {
            scene.cluster.apply("team.yaml", &project).unwrap();
            scene.passes("team/peer", "shop/web");
            let mut open = scene.connect("team/peer", "shop/web", false);
            let other = namespace("team", "project: other");
            scene.cluster.apply("team.yaml", &other).unwrap();
            scene.is_silent("team/peer", "shop/web");
            assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
            scene.cluster.apply("team.yaml", &project).unwrap();
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
            scene.cluster.remove("team.yaml").unwrap();
            scene.is_silent("team/peer", "shop/web");
        }
    });
}

/// Orders of four files.
const ORDERS: [[usize; 4]; 6] = [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [1, 3, 0, 2],
    [2, 0, 3, 1],
    [0, 3, 2, 1],
    [2, 1, 0, 3],
];

#[test]
fn objects_lead_to_the_same_verdicts_in_whatever_order_they_come() {
    const FROM_TEAM: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], \
         ingress: [{from: [{namespaceSelector: {matchLabels: {project: x}}, \
         podSelector: {matchLabels: {app: client}}}]}]}";
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: none", 10);
        scene.pod("team/client", "app: none", 20);
        scene.pod("team/stranger", "app: stranger", 30);
        scene.passes("team/stranger", "shop/web");
        for order in ORDERS {
            for step in order {
                match step {
                    0 => scene.label("shop/web", "app: web", 10),
                    1 => scene.label("team/client", "app: client", 20),
                    2 => apply(scene, "team.yaml", &namespace("team", "project: x")),
                    _ => apply(scene, "policy.yaml", &policy("shop", "team", FROM_TEAM)),
                }
            }
            scene.passes("team/client", "shop/web");
            scene.is_silent("team/stranger", "shop/web");
            for step in order {
                match step {
                    0 => scene.label("shop/web", "app: none", 10),
                    1 => scene.label("team/client", "app: none", 20),
                    2 => scene.cluster.remove("team.yaml").unwrap(),
                    _ => scene.cluster.remove("policy.yaml").unwrap(),
                }
            }
            scene.passes("team/stranger", "shop/web");
        }
    });
}

fn apply(scene: &mut Scene, file: &str, text: &str) {
    scene.cluster.apply(file, text).unwrap();
}

#[test]
fn two_pods_that_claim_one_address_are_told_apart_and_the_loser_takes_nothing_along() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/peer", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        scene.passes("shop/peer", "shop/web");
        // A finished pod with the address of a running one, and its end.
        let [v4, v6] = addresses(20);
        let finished = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: done, namespace: shop, labels: {{app: other}}}}\n\
             spec: {{containers: [{{name: main, image: none}}]}}\n\
             status: {{phase: Succeeded, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n"
        );
        scene.cluster.apply("done.yaml", &finished).unwrap();
        scene.passes("shop/peer", "shop/web");
        scene.cluster.remove("done.yaml").unwrap();
        scene.passes("shop/peer", "shop/web");
    });
}
