//! Clients from outside behind a masquerade rule of the node: they come with the node's address,
//! and are not the node.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use policy_harness::{
    topology::UPLINK,
    traffic::{Outcome, Protocol, probe},
};

use crate::scene::{DENY_ALL, PORT, SILENCE, SOON, Scene, in_every_setting};

/// What kube-proxy and many CNIs do to traffic that is not the pods' own.
fn masquerade(scene: &Scene) {
    let rules = format!(
        "table inet disguise {{
            chain out {{
                type nat hook postrouting priority srcnat
                oifname != {UPLINK} masquerade
            }}
        }}\n"
    );
    scene.netns("host").exec("nft", &[&rules]).unwrap();
}

/// As whom a client comes to a port of the pod.
fn comes_as(scene: &Scene, from: &str, v6: bool, within: Duration) -> Option<IpAddr> {
    let any = (scene.address("shop/web", v6), 0);
    let bound = scene.netns("shop/web").run(|| UdpSocket::bind(any));
    let server = bound.unwrap().unwrap();
    let at = server.local_addr().unwrap();
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let ask = || UdpSocket::bind(any)?.send_to(b"who am I?", at);
    scene.netns(from).run(ask).unwrap().unwrap();
    server.set_read_timeout(Some(within)).unwrap();
    let (_, client) = server.recv_from(&mut [0; 16]).ok()?;
    Some(client.ip())
}

#[test]
fn a_client_that_the_node_masquerades_is_not_taken_for_the_node() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        masquerade(scene);
        let node = [false, true].map(|v6| {
            let clients = ["outside", "host"].map(|from| comes_as(scene, from, v6, SOON));
            assert_eq!(clients[0], clients[1], "both come with the same address");
            let client = clients[0].unwrap();
            assert_ne!(client, scene.address("outside", v6));
            client
        });
        scene.policy("deny", DENY_ALL);
        for (v6, node) in [false, true].into_iter().zip(node) {
            assert_eq!(comes_as(scene, "host", v6, SOON), Some(node));
            assert_eq!(comes_as(scene, "outside", v6, SILENCE), None);
        }
        scene.is_silent("outside", "shop/web");
        scene.passes("host", "shop/web");
        scene.passes("shop/web", "host");

        // To whoever comes with the node's address a block of that address applies.
        let [v4, v6] = node;
        let blocks = format!("{{ipBlock: {{cidr: {v4}/32}}}}, {{ipBlock: {{cidr: \"{v6}/128\"}}}}");
        let spec = format!(
            "{{podSelector: {{}}, policyTypes: [Ingress, Egress], ingress: [{{from: [{blocks}]}}]}}"
        );
        scene.policy("from-node-address", &spec);
        scene.passes("outside", "shop/web");
        let mut open = [false, true].map(|v6| scene.connect("outside", "shop/web", v6));
        scene.remove_policy("from-node-address");
        for connection in &mut open {
            assert_eq!(connection.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        scene.is_silent("outside", "shop/web");
        for v6 in [false, true] {
            let to = (scene.address("shop/web", v6), PORT).into();
            let host = scene.netns("host");
            let probed = probe(host, Protocol::Tcp, None, to, SOON).unwrap();
            assert_eq!(probed, Outcome::Allowed, "a probe of the node, IPv6: {v6}");
        }
    });
}
