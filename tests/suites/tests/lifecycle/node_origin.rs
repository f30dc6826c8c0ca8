//! The node's own traffic: known by where it comes from, not by its address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use policy_harness::{
    topology::{BRIDGE, HOST_V4, HOST_V6, INSIDE, UPLINK},
    traffic::{Outcome, Protocol, Server, ping, probe},
    wire::{Ethernet, Port, Tcp, transport::flag},
};

use crate::scene::{DENY_ALL, PORT, SILENCE, SOON, Scene, eventually, in_every_setting};

/// Nobody.
const USER: libc::uid_t = 65_534;

#[test]
fn the_node_reaches_an_isolated_pod_from_every_address_and_as_every_user() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.passes("outside", "shop/web");
        scene.policy("deny", DENY_ALL);
        scene.is_silent("outside", "shop/web");
        scene.is_silent("shop/web", "outside");
        scene.passes("host", "shop/web");
        scene.passes("shop/web", "host");

        let link = match scene.cluster.node.wiring() {
            policy_harness::Wiring::Routed => {
                scene.cluster.pod("shop/web").unwrap().interface.clone()
            }
            policy_harness::Wiring::Bridged => BRIDGE.to_owned(),
        };
        let scope = scene.netns("host").ifindex(&link).unwrap();
        let local = SocketAddr::V6(std::net::SocketAddrV6::new(
            "fe80::1".parse().unwrap(),
            0,
            0,
            scope,
        ));
        let of = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        for source in [of(HOST_V4), of("169.254.1.1"), of(HOST_V6), local] {
            let to = scene.server("shop/web", source.is_ipv6());
            let outcome = probe(scene.netns("host"), Protocol::Tcp, Some(source), to, SOON);
            assert_eq!(outcome.unwrap(), Outcome::Allowed, "from {source}");
        }
        for v6 in [false, true] {
            let to = scene.server("shop/web", v6);
            let reached = as_user(scene, to).unwrap();
            assert!(reached, "a process of another user reaches {to}");
            let echo = ping(scene.netns("host"), to.ip(), SOON).unwrap();
            assert_eq!(echo, Outcome::Allowed);
        }
    });
}

/// Connects from the host as somebody who is not root.
#[expect(
    unsafe_code,
    reason = "libc's own call changes the user of every thread"
)]
fn as_user(scene: &Scene, to: SocketAddr) -> io::Result<bool> {
    let connect = || {
        // SAFETY: the call takes numbers only; it changes this thread alone, which ends here.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) };
        if changed != 0 {
            return Err(io::Error::last_os_error());
        }
        std::net::TcpStream::connect_timeout(&to, SOON).map(|_| true)
    };
    scene.netns("host").run(connect).unwrap()
}

#[test]
fn a_block_neither_gives_nor_takes_the_nodes_access() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let spec = |except_v4: &str, except_v6: &str| {
            let blocks = format!(
                "[{{ipBlock: {{cidr: 192.0.2.0/24, except: [{except_v4}/32]}}}}, \
                 {{ipBlock: {{cidr: \"2001:db8:ff::/64\", except: [\"{except_v6}/128\"]}}}}]"
            );
            format!(
                "{{podSelector: {{}}, policyTypes: [Ingress, Egress], \
                 ingress: [{{from: {blocks}}}], egress: [{{to: {blocks}}}]}}"
            )
        };
        for (without, outcome) in [("host", Outcome::Allowed), ("outside", Outcome::Denied)] {
            let [v4, v6] = [false, true].map(|v6| scene.address(without, v6).to_string());
            scene.policy("block", &spec(&v4, &v6));
            scene.passes("host", "shop/web");
            scene.passes("shop/web", "host");
            for (from, to) in [("outside", "shop/web"), ("shop/web", "outside")] {
                match outcome {
                    Outcome::Allowed => scene.passes(from, to),
                    Outcome::Denied => scene.is_silent(from, to),
                }
            }
        }
    });
}

#[test]
fn an_address_is_the_nodes_for_as_long_as_the_node_has_it() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let roaming: [(IpAddr, u8); 2] = [
            ("192.0.2.77".parse().unwrap(), 24),
            ("2001:db8:ff::77".parse().unwrap(), 64),
        ];
        for (address, length) in roaming {
            let to = SocketAddr::new(address, PORT);
            let ask = |within| {
                let pod = scene.netns("shop/web");
                probe(pod, Protocol::Udp, None, to, within).unwrap()
            };
            let nodad = if address.is_ipv6() { "nodad" } else { "" };
            let host = scene.netns("host");
            host.ip(&[format!("addr add {address}/{length} dev {UPLINK} {nodad}")])
                .unwrap();
            let at_host = Server::start(host, Protocol::Udp, to).unwrap();
            eventually("the pod reaches the node's new address", || {
                ask(SILENCE) == Outcome::Allowed
            });
            drop(at_host);
            host.ip(&[format!("addr del {address}/{length} dev {UPLINK}")])
                .unwrap();
            let outside = scene.netns("outside");
            outside
                .ip(&[format!("addr add {address}/{length} dev {INSIDE} {nodad}")])
                .unwrap();
            let _outside = Server::start(outside, Protocol::Udp, to).unwrap();
            let from_host = probe(host, Protocol::Udp, None, to, SOON).unwrap();
            assert_eq!(from_host, Outcome::Allowed, "the outside has it now");
            eventually("the pod does not reach it outside", || {
                ask(SILENCE) == Outcome::Denied
            });
        }
    });
}

#[test]
fn what_comes_from_outside_with_the_nodes_address_is_not_the_node() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let host = scene.netns("host");
        for scope in ["all", UPLINK] {
            let key = format!("net/ipv4/conf/{scope}/accept_local");
            host.sysctl(&key, "1").unwrap();
        }
        let outside = Port::open(scene.netns("outside"), INSIDE).unwrap();
        let inside = Port::open(scene.netns("shop/web"), INSIDE).unwrap();
        let frame = Ethernet::new(
            scene.netns("outside").mac(INSIDE).unwrap(),
            host.mac(UPLINK).unwrap(),
        );
        let ends =
            [false, true].map(|v6| (scene.address("host", v6), scene.server("shop/web", v6)));
        let arrives = |v6: bool, port: u16, within| {
            let (node, server) = ends[usize::from(v6)];
            let syn = Tcp::new(flag::SYN).packet(SocketAddr::new(node, port), server);
            outside.send(&frame.ip(&syn)).unwrap();
            let wanted = |frame: &[u8]| {
                let at = if v6 { 54 } else { 34 };
                frame.get(at..at + 2) == Some(&port.to_be_bytes())
            };
            inside.capture(within, wanted).unwrap().is_some()
        };
        for v6 in [false, true] {
            assert!(arrives(v6, 40_000, SOON), "without policy it passes");
        }
        scene.policy("deny", DENY_ALL);
        for v6 in [false, true] {
            assert!(!arrives(v6, 40_001, SILENCE), "forged, IPv6: {v6}");
        }
        scene.passes("host", "shop/web");
    });
}
