//! Policy changes and the connections that are open then.

use std::{io::ErrorKind, net::UdpSocket};

use policy_harness::traffic::Outcome;

use crate::scene::{DENY_ALL, FROM_CLIENT, SILENCE, SOON, TO_WEB, in_every_setting};

/// Isolates one direction of one pod; nothing is allowed.
const NOT_IN: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}";
const NOT_OUT: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}";

#[test]
fn a_change_cuts_open_connections_at_once_and_gives_them_back() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        scene.policy("to-web", TO_WEB);
        let mut open = [false, true].map(|v6| scene.connect("shop/client", "shop/web", v6));
        // Opened in the other direction: rules about the client's connections do not touch it.
        let mut reverse = scene.connect("shop/web", "shop/client", false);
        for (name, spec) in [("in", NOT_IN), ("out", NOT_OUT)] {
            let (base, rule) = match name {
                "in" => ("from-client", FROM_CLIENT),
                _ => ("to-web", TO_WEB),
            };
            // Two denials make no difference: only what allows goes.
            scene.policy(name, spec);
            for connection in &mut open {
                assert_eq!(
                    connection.exchange(SOON).unwrap(),
                    Outcome::Allowed,
                    "{name}"
                );
            }
            scene.remove_policy(base);
            for connection in &mut open {
                assert_eq!(
                    connection.exchange(SILENCE).unwrap(),
                    Outcome::Denied,
                    "{name}"
                );
            }
            scene.is_silent("shop/client", "shop/web");
            assert_eq!(reverse.exchange(SOON).unwrap(), Outcome::Allowed, "{name}");
            scene.policy(base, rule);
            for connection in &mut open {
                assert_eq!(
                    connection.exchange(SOON).unwrap(),
                    Outcome::Allowed,
                    "{name}"
                );
            }
            scene.remove_policy(name);
        }
    });
}

#[test]
fn the_other_side_does_not_reopen_a_forbidden_datagram_flow() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        for v6 in [false, true] {
            let (client_at, web_at) = (
                (scene.address("shop/client", v6), 4000),
                (scene.address("shop/web", v6), 81),
            );
            let handles = ["shop/client", "shop/web"].map(|pod| scene.netns(pod).handle());
            let bind = |pod: usize, at| {
                let socket = handles[pod].run(|| UdpSocket::bind(at)).unwrap().unwrap();
                socket.set_read_timeout(Some(SOON)).unwrap();
                socket
            };
            let (client, web) = (bind(0, client_at), bind(1, web_at));
            let says = |from: &UdpSocket, to: &UdpSocket, within, word: u8| {
                from.send_to(&[word], to.local_addr().unwrap()).unwrap();
                to.set_read_timeout(Some(within)).unwrap();
                match to.recv(&mut [0; 8]) {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(says(&client, &web, SOON, 1) && says(&web, &client, SOON, 2));
            // Egress of web and everything of the client stay free: without a tombstone its next
            // datagram would be the first one of a new flow.
            scene.policy("from-client", NOT_IN);
            assert!(!says(&client, &web, SILENCE, 3), "the flow is forbidden");
            assert!(!says(&web, &client, SILENCE, 4), "its answers are too");
            assert!(!says(&client, &web, SILENCE, 5), "and nothing was reopened");
            // Another pair of ports shows that web may speak.
            let other = bind(1, (web_at.0, 82));
            assert!(says(&other, &client, SOON, 6));
            assert!(says(&client, &other, SOON, 7), "the answer to it passes");
            scene.policy("from-client", FROM_CLIENT);
            assert!(says(&client, &web, SOON, 8) && says(&web, &client, SOON, 9));
        }
    });
}

#[test]
fn the_first_policy_cuts_what_it_forbids() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("other/stranger", "app: client", 30);
        let mut open = scene.connect("other/stranger", "shop/web", false);
        scene.policy("deny", DENY_ALL);
        assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
        scene.remove_policy("deny");
        assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
    });
}
