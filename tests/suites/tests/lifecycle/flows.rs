//! Connections: begun, closed, begun again, and what is none.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
};

use policy_harness::{
    topology::INSIDE,
    traffic::{Outcome, Protocol, probe},
    wire::{Ethernet, Port, Tcp, transport::flag},
};
use socket2::{Domain, Socket, Type};

use crate::scene::{FROM_CLIENT, SILENCE, SOON, Scene, TO_WEB, in_every_setting};

/// Client and web, each isolated in both directions, one rule each.
fn both_isolated(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/client", "app: client", 20);
    scene.policy("deny", crate::scene::DENY_ALL);
    scene.policy("from-client", FROM_CLIENT);
    scene.policy("to-web", TO_WEB);
}

#[test]
fn a_pair_of_ports_serves_again_after_its_connection_was_reset() {
    in_every_setting(&[], |scene| {
        both_isolated(scene);
        for v6 in [false, true] {
            let to = scene.server("shop/web", v6);
            let source = SocketAddr::new(scene.address("shop/client", v6), 4000);
            for round in 0..4 {
                let socket = scene.netns("shop/client").run(|| {
                    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
                    socket.set_reuse_address(true)?;
                    socket.bind(&source.into())?;
                    socket.connect_timeout(&to.into(), SOON)?;
                    std::io::Result::Ok(socket)
                });
                let mut stream = TcpStream::from(socket.unwrap().unwrap());
                stream.write_all(b"again").unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                stream.read_exact(&mut [0; 5]).unwrap();
                // An end of the stream ends by a reset when nobody lingers.
                let socket = Socket::from(stream);
                let linger = std::time::Duration::ZERO;
                socket.set_linger(Some(linger)).unwrap();
                drop(socket);
                eprintln!("round {round} over, IPv6: {v6}");
            }
        }
    });
}

#[test]
fn a_pair_of_ports_serves_again_after_both_sides_closed_its_connection() {
    in_every_setting(&[], |scene| {
        both_isolated(scene);
        for v6 in [false, true] {
            let at = SocketAddr::new(scene.address("shop/web", v6), 81);
            let source = SocketAddr::new(scene.address("shop/client", v6), 4000);
            let listener = scene.netns("shop/web").run(|| TcpListener::bind(at));
            let listener = listener.unwrap().unwrap();
            for round in 0..4 {
                let socket = scene.netns("shop/client").run(|| {
                    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
                    socket.set_reuse_address(true)?;
                    socket.bind(&source.into())?;
                    socket.connect_timeout(&at.into(), SOON)?;
                    std::io::Result::Ok(socket)
                });
                let mut client = TcpStream::from(socket.unwrap().unwrap());
                let (mut server, _) = listener.accept().unwrap();
                for stream in [&client, &server] {
                    stream.set_read_timeout(Some(SOON)).unwrap();
                }
                client.write_all(b"again").unwrap();
                server.read_exact(&mut [0; 5]).unwrap();
                // Who closes first waits in TIME_WAIT: the server, so that the client may use its
                // port at once.
                server.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "round {round}");
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "round {round}");
            }
        }
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_other_half() {
    in_every_setting(&[], |scene| {
        both_isolated(scene);
        for v6 in [false, true] {
            let at = SocketAddr::new(scene.address("shop/web", v6), 81);
            let listener = scene.netns("shop/web").run(|| TcpListener::bind(at));
            let listener = listener.unwrap().unwrap();
            let connect = || TcpStream::connect_timeout(&at, SOON);
            let mut client = scene.netns("shop/client").run(connect).unwrap().unwrap();
            let (mut server, _) = listener.accept().unwrap();
            for stream in [&client, &server] {
                stream.set_read_timeout(Some(SOON)).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "the FIN came");
            for _ in 0..20 {
                server.write_all(b"downlink").unwrap();
                client.read_exact(&mut [0; 8]).unwrap();
            }
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "both sides closed");
        }
    });
}

/// Raw ends of two pods.
struct Raw {
    port: Port,
    frame: Ethernet,
}

impl Raw {
    fn of(scene: &Scene, pod: &str) -> Self {
        let found = scene.cluster.pod(pod).unwrap();
        Self {
            port: Port::open(&found.netns, INSIDE).unwrap(),
            frame: Ethernet::new(found.mac, found.gateway),
        }
    }

    fn send(&self, flags: u8, from: SocketAddr, to: SocketAddr) {
        let packet = Tcp::new(flags).packet(from, to);
        self.port.send(&self.frame.ip(&packet)).unwrap();
    }

    /// Whether a segment with these flags comes from one port to another.
    fn hears(
        &self,
        flags: u8,
        from: SocketAddr,
        to: SocketAddr,
        within: std::time::Duration,
    ) -> bool {
        let at = if from.is_ipv6() { 54 } else { 34 };
        let wanted = |frame: &[u8]| {
            frame.get(at..at + 2) == Some(&from.port().to_be_bytes())
                && frame.get(at + 2..at + 4) == Some(&to.port().to_be_bytes())
                && frame
                    .get(at + 13)
                    .is_some_and(|found| found & flags == flags)
        };
        self.port.capture(within, wanted).unwrap().is_some()
    }
}

#[test]
fn a_syn_on_a_live_connection_neither_ends_it_nor_opens_it_in_reverse() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        let isolated = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress]}";
        let from_web = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress], \
             ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
        scene.policy("isolated", isolated);
        for v6 in [false, true] {
            scene.policy("from-web", from_web);
            let mut open = scene.connect("shop/client", "shop/web", v6);
            let client = open.local().unwrap();
            let server = scene.server("shop/web", v6);
            let (raw_client, raw_web) = (Raw::of(scene, "shop/client"), Raw::of(scene, "shop/web"));
            raw_web.send(flag::SYN, server, client);
            assert!(
                raw_client.hears(flag::SYN, server, client, SOON),
                "allowed still"
            );
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);

            scene.remove_policy("from-web");
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
            let raw_client = Raw::of(scene, "shop/client");
            raw_client.send(flag::SYN, client, server);
            assert!(
                raw_web.hears(flag::SYN, client, server, SOON),
                "by the rules"
            );
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);

            let raw_client = Raw::of(scene, "shop/client");
            raw_web.send(flag::SYN, server, client);
            let reversed = raw_client.hears(flag::SYN, server, client, SILENCE);
            assert!(!reversed, "a new SYN is judged in its own direction");
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        }
    });
}

#[test]
fn a_segment_without_a_connection_opens_nothing_for_its_answer() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        let silent = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}";
        for v6 in [false, true] {
            let raw = Raw::of(scene, "shop/client");
            let server = scene.server("shop/web", v6);
            let client = |port| SocketAddr::new(scene.address("shop/client", v6), port);
            raw.send(flag::ACK, client(5000), server);
            assert!(
                raw.hears(flag::RST, server, client(5000), SOON),
                "egress is free"
            );
            let (late, new) = (client(5001), client(5002));
            scene.policy("silent", silent);
            raw.send(flag::ACK, late, server);
            assert!(
                !raw.hears(flag::RST, server, late, SILENCE),
                "nothing was opened"
            );
            raw.send(flag::SYN, new, server);
            assert!(
                raw.hears(flag::SYN | flag::ACK, server, new, SOON),
                "a SYN opens"
            );
            scene.remove_policy("silent");
        }
    });
}

#[test]
fn a_closed_connection_is_gone_when_its_rule_is_gone() {
    in_every_setting(&[], |scene| {
        both_isolated(scene);
        for v6 in [false, true] {
            let open = scene.connect("shop/client", "shop/web", v6);
            let client = open.local().unwrap();
            let server = scene.server("shop/web", v6);
            drop(open);
            scene.remove_policy("from-client");
            let raw = Raw::of(scene, "shop/client");
            let web = Raw::of(scene, "shop/web");
            raw.send(flag::ACK, client, server);
            assert!(!web.hears(flag::ACK, client, server, SILENCE));
            let outcome = probe(
                scene.netns("shop/client"),
                Protocol::Tcp,
                None,
                server,
                SILENCE,
            );
            assert_eq!(outcome.unwrap(), Outcome::Denied);
            scene.policy("from-client", FROM_CLIENT);
        }
        scene.passes("shop/client", "shop/web");
    });
}
