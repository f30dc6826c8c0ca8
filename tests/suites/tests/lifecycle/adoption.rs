//! Connections that were open before their pod's first policy, where the node tracks connections.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use policy_harness::{
    topology::UPLINK,
    traffic::{Connection, Outcome},
};

use crate::scene::{DENY_ALL, PORT, SILENCE, SOON, Scene, in_every_setting};

const NOTHING_IN: &str = "{podSelector: {}, policyTypes: [Ingress]}";
const NOTHING_OUT: &str = "{podSelector: {}, policyTypes: [Egress]}";
/// An address that only the node knows: it leads to the neighbour.
const SERVICE_V4: &str = "192.0.2.77";
const SERVICE_V6: &str = "2001:db8:ff::77";

/// Rules that ask for a connection's state, as those of most nodes do, and a translated address.
fn track(scene: &Scene) {
    let [v4, v6] = [false, true].map(|v6| scene.address("outside", v6));
    let rules = format!(
        "table inet tracking {{
            chain forward {{
                type filter hook forward priority 0
                ct state established accept
            }}
            chain before {{
                type nat hook prerouting priority dstnat
                ip daddr {SERVICE_V4} dnat ip to {v4}
                ip6 daddr {SERVICE_V6} dnat ip6 to {v6}
            }}
            chain after {{
                type nat hook postrouting priority srcnat
                oifname {UPLINK} masquerade
            }}
        }}\n"
    );
    scene.netns("host").exec("nft", &[&rules]).unwrap();
}

/// Opened by the pod, by its own name and by a translated one, and opened by its peer; both families.
struct Open {
    by_pod: Vec<Connection>,
    by_peer: Vec<Connection>,
}

impl Open {
    fn of(scene: &Scene, pod: &str) -> Self {
        let translated = [SERVICE_V4, SERVICE_V6].map(|address| {
            let at = SocketAddr::new(address.parse().unwrap(), PORT);
            let open = Connection::open(scene.netns(pod), None, at, SOON).unwrap();
            let mut open = open.unwrap();
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
            open
        });
        let between = |from, to| [false, true].map(|v6| scene.connect(from, to, v6));
        let by_pod = between(pod, "outside").into_iter().chain(translated);
        Self {
            by_pod: by_pod.collect(),
            by_peer: between("outside", pod).into(),
        }
    }

    #[track_caller]
    fn are(&mut self, by_pod: Outcome, by_peer: Outcome) {
        for (connections, wanted) in [(&mut self.by_pod, by_pod), (&mut self.by_peer, by_peer)] {
            for connection in connections {
                let within = if wanted == Outcome::Allowed {
                    SOON
                } else {
                    SILENCE
                };
                let at = connection.local().unwrap();
                assert_eq!(connection.exchange(within).unwrap(), wanted, "from {at}");
            }
        }
    }
}

#[test]
fn the_first_policy_cuts_only_what_its_rules_forbid() {
    for (spec, by_pod, by_peer) in [
        (NOTHING_IN, Outcome::Allowed, Outcome::Denied),
        (NOTHING_OUT, Outcome::Denied, Outcome::Allowed),
        (DENY_ALL, Outcome::Denied, Outcome::Denied),
    ] {
        in_every_setting(&[], |scene| {
            track(scene);
            scene.pod("shop/web", "app: web", 10);
            let mut open = Open::of(scene, "shop/web");
            scene.policy("first", spec);
            open.are(by_pod, by_peer);
            // What was cut is given back, and what was kept stays, when the policy goes.
            scene.remove_policy("first");
            open.are(Outcome::Allowed, Outcome::Allowed);
        });
    }
}

#[test]
fn a_first_start_cuts_only_what_the_rules_forbid() {
    for (spec, by_pod, by_peer) in [
        (NOTHING_IN, Outcome::Allowed, Outcome::Denied),
        (NOTHING_OUT, Outcome::Denied, Outcome::Allowed),
    ] {
        in_every_setting(&[], |scene| {
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.cleanup().unwrap();
            track(scene);
            scene.pod("shop/web", "app: web", 10);
            let policy = crate::scene::policy("shop", "first", spec);
            scene.cluster.write("policy-first.yaml", &policy).unwrap();
            let mut open = Open::of(scene, "shop/web");
            scene.cluster.agent.start(&[]).unwrap();
            open.are(by_pod, by_peer);
            // Its flows are known now: nothing is cut by the next one.
            scene.cluster.agent.kill().unwrap();
            open.are(by_pod, by_peer);
            scene.cluster.agent.start(&[]).unwrap();
            open.are(by_pod, by_peer);
        });
    }
}

#[test]
fn a_denial_that_comes_before_the_rules_that_allow_cuts_nothing() {
    in_every_setting(&[], |scene| {
        track(scene);
        scene.pod("shop/web", "app: web", 10);
        let mut open = Open::of(scene, "shop/web");
        scene.policy("deny", DENY_ALL);
        open.are(Outcome::Denied, Outcome::Denied);
        scene.policy(
            "allow",
            "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}",
        );
        open.are(Outcome::Allowed, Outcome::Allowed);
    });
}

#[test]
fn a_stream_of_datagrams_that_a_pod_asked_for_goes_on() {
    in_every_setting(&[], |scene| {
        scene.cluster.agent.stop().unwrap();
        scene.cluster.agent.cleanup().unwrap();
        track(scene);
        scene.pod("shop/web", "app: web", 10);
        for (name, v6) in [("first", false), ("second", true)] {
            let bind = |pod: &str, port| {
                let at = (scene.address(pod, v6), port);
                let bound = scene.netns(pod).run(|| UdpSocket::bind(at));
                bound.unwrap().unwrap()
            };
            let (pod, sender) = (bind("shop/web", 0), bind("outside", 5000));
            let stranger = bind("outside", 5001);
            let hears = |socket: &UdpSocket, within: Duration| {
                socket.set_read_timeout(Some(within)).unwrap();
                socket.recv_from(&mut [0; 16]).ok().map(|(_, from)| from)
            };
            pod.send_to(b"begin", sender.local_addr().unwrap()).unwrap();
            let client = hears(&sender, SOON).unwrap();
            sender.send_to(b"one", client).unwrap();
            hears(&pod, SOON).unwrap();
            let policy = crate::scene::policy("shop", name, NOTHING_IN);
            scene.cluster.write("policy-first.yaml", &policy).unwrap();
            scene.cluster.agent.start(&[]).unwrap();
            sender.send_to(b"two", client).unwrap();
            hears(&pod, SOON).unwrap();
            // Nobody else joins in.
            stranger
                .send_to(b"three", pod.local_addr().unwrap())
                .unwrap();
            assert_eq!(hears(&pod, SILENCE), None);
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.cleanup().unwrap();
        }
    });
}
