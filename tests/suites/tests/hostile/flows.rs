//! Connections that somebody tries to turn round, and connections that carry much.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use policy_common::Reason;
use policy_harness::wire::{
    Tcp, ip,
    transport::{self, flag},
};

use crate::{
    Case,
    Ways::{All, RoutedClsact, RoutedTcx},
    scene::{CAGED, SENDER, SENDER_POLICY, SOON, Scene, WEB, leaving, reaching},
};

pub(crate) const CASES: &[Case] = &[
    (
        "a SYN from the peer does not change who opened a flow",
        turned_round,
        RoutedTcx,
    ),
    (
        "a SYN from the peer into a flow needs a rule of its own",
        against_isolation,
        RoutedClsact,
    ),
    (
        "after both sides closed a flow, the peer's SYN needs a rule of its own",
        against_isolation_after_close,
        RoutedTcx,
    ),
    (
        "after both sides closed a flow, the peer may open it the other way",
        turned_round_after_close,
        RoutedClsact,
    ),
    ("segments without a flow open nothing", strays, RoutedTcx),
    (
        "a bulk transfer with segmentation offload passes between isolated pods",
        bulk,
        All,
    ),
];

/// The first segment that its sender sends with these flags.
fn tcp(flags: u8, token: &[u8], source: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let Tcp {
        sequence,
        acknowledgement,
        ..
    } = Tcp::new(flags);
    numbered(flags, (sequence, acknowledgement), token, source, to)
}

/// A segment with a wrong checksum, so that the receiver's kernel does not reset the flow.
pub(crate) fn numbered(
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
    token: &[u8],
    source: SocketAddr,
    to: SocketAddr,
) -> Vec<u8> {
    let segment = Tcp {
        flags,
        sequence,
        acknowledgement,
        payload: token.to_vec(),
    };
    let mut bytes = segment.segment(source, to);
    bytes[16] ^= 0xff;
    ip::packet(source.ip(), to.ip(), transport::TCP, &bytes)
}

/// Opens a flow from a pod to the web server's port 80.
fn opened(scene: &mut Scene, from: &str, v6: bool) -> (SocketAddr, SocketAddr) {
    let ends = scene.ends(from, WEB, v6, 80);
    handshake(scene, (from, WEB), ends);
    ends
}

/// A SYN and its answer, which both pass.
pub(crate) fn handshake(
    scene: &mut Scene,
    (from, to): (&str, &str),
    (source, destination): (SocketAddr, SocketAddr),
) {
    let token = scene.token();
    let syn = tcp(flag::SYN, &token, source, destination);
    scene.passes("SYN", from, to, &syn, &token);
    let token = scene.token();
    let answer = tcp(flag::SYN | flag::ACK, &token, destination, source);
    scene.passes("SYN ACK", to, from, &answer, &token);
}

/// Opens a flow from a pod to the web server's port 80, and closes it from both sides: each FIN is
/// acknowledged with the number behind it.
fn closed(scene: &mut Scene, from: &str, v6: bool) -> (SocketAddr, SocketAddr) {
    let (source, to) = opened(scene, from, v6);
    let (mut own, mut peer) = (1001_u32, 1001_u32);
    for flags in [flag::FIN | flag::ACK, flag::ACK] {
        let token = scene.token();
        let end = numbered(flags, (own, peer), &token, source, to);
        own += length(&token) + u32::from(flags & flag::FIN != 0);
        scene.passes("the pod's end", from, WEB, &end, &token);
        let token = scene.token();
        let flags = if flags & flag::FIN != 0 {
            flags
        } else {
            flag::ACK
        };
        let end = numbered(flags, (peer, own), &token, to, source);
        peer += length(&token) + u32::from(flags & flag::FIN != 0);
        scene.passes("the peer's end", WEB, from, &end, &token);
    }
    (source, to)
}

fn length(token: &[u8]) -> u32 {
    u32::try_from(token.len()).unwrap()
}

fn turned_round(scene: &mut Scene) {
    for v6 in [false, true] {
        let (source, to) = opened(scene, SENDER, v6);
        // Ingress of `sender` is free: the SYN passes, and its answer too.
        let token = scene.token();
        let back = tcp(flag::SYN, &token, to, source);
        scene.passes("SYN of the peer", WEB, SENDER, &back, &token);
        let token = scene.token();
        let answer = tcp(flag::SYN | flag::ACK, &token, source, to);
        scene.passes("its answer", SENDER, WEB, &answer, &token);
        let less = SENDER_POLICY.replace("port: 80", "port: 81");
        scene.cluster.apply("sender.yaml", &less).unwrap();
        let token = scene.token();
        let data = tcp(flag::ACK, &token, source, to);
        let denied = leaving(SENDER, Reason::FlowDenied);
        scene.is_dropped(
            "data of a forbidden flow",
            (SENDER, WEB),
            &data,
            &token,
            denied,
        );
        // The tombstone is not opened in reverse by what the peer sends.
        let token = scene.token();
        let data = tcp(flag::ACK, &token, to, source);
        let denied = reaching(SENDER, Reason::FlowDenied);
        scene.is_dropped("data of the peer", (WEB, SENDER), &data, &token, denied);
        scene.cluster.apply("sender.yaml", SENDER_POLICY).unwrap();
        let token = scene.token();
        let data = tcp(flag::ACK, &token, source, to);
        scene.passes("allowed again", SENDER, WEB, &data, &token);
    }
}

fn against_isolation(scene: &mut Scene) {
    for v6 in [false, true] {
        let (source, to) = opened(scene, CAGED, v6);
        let token = scene.token();
        let back = tcp(flag::SYN, &token, to, source);
        let denied = reaching(CAGED, Reason::Policy);
        scene.is_dropped("SYN of the peer", (WEB, CAGED), &back, &token, denied);
        let token = scene.token();
        let data = tcp(flag::ACK, &token, to, source);
        scene.passes("the flow lives", WEB, CAGED, &data, &token);
    }
}

fn against_isolation_after_close(scene: &mut Scene) {
    for v6 in [false, true] {
        let (source, to) = closed(scene, CAGED, v6);
        let token = scene.token();
        let back = tcp(flag::SYN, &token, to, source);
        let denied = reaching(CAGED, Reason::Policy);
        scene.is_dropped("SYN of the peer", (WEB, CAGED), &back, &token, denied);
        // The pod itself may use the pair of ports again.
        handshake(scene, (CAGED, WEB), (source, to));
        let token = scene.token();
        let data = tcp(flag::ACK, &token, to, source);
        scene.passes("the new flow lives", WEB, CAGED, &data, &token);
        let token = scene.token();
        let back = tcp(flag::SYN, &token, to, source);
        scene.is_dropped("SYN into it", (WEB, CAGED), &back, &token, denied);
    }
}

fn turned_round_after_close(scene: &mut Scene) {
    for v6 in [false, true] {
        let (source, to) = closed(scene, SENDER, v6);
        // Ingress of `sender` is free: its egress, which opened the first flow, has no say in it.
        handshake(scene, (WEB, SENDER), (to, source));
        let less = SENDER_POLICY.replace("port: 80", "port: 81");
        scene.cluster.apply("sender.yaml", &less).unwrap();
        let lives = |scene: &mut Scene| {
            let token = scene.token();
            let data = tcp(flag::ACK, &token, source, to);
            scene.passes("data", SENDER, WEB, &data, &token);
            let token = scene.token();
            let data = tcp(flag::ACK, &token, to, source);
            scene.passes("data of the peer", WEB, SENDER, &data, &token);
        };
        lives(scene);
        let token = scene.token();
        let own = tcp(flag::SYN, &token, source, to);
        let denied = leaving(SENDER, Reason::Policy);
        scene.is_dropped("SYN of the pod", (SENDER, WEB), &own, &token, denied);
        lives(scene);
        scene.cluster.apply("sender.yaml", SENDER_POLICY).unwrap();
    }
}

fn strays(scene: &mut Scene) {
    for v6 in [false, true] {
        for flags in [
            flag::ACK,
            flag::FIN,
            flag::RST,
            0,
            flag::SYN | flag::ACK,
            flag::SYN | flag::FIN,
        ] {
            // Allowed by the rules of its direction, but it opens nothing: no answer comes back.
            let (source, to) = scene.ends(CAGED, WEB, v6, 80);
            let token = scene.token();
            let stray = tcp(flags, &token, source, to);
            let what = format!("flags {flags:#x}");
            scene.passes(&what, CAGED, WEB, &stray, &token);
            let token = scene.token();
            let answer = tcp(flag::ACK, &token, to, source);
            let denied = reaching(CAGED, Reason::Policy);
            scene.is_dropped(&what, (WEB, CAGED), &answer, &token, denied);
        }
    }
}

const MEGABYTES: usize = 8;
const MTU: usize = 1500;

fn bulk(scene: &mut Scene) {
    for v6 in [false, true] {
        let web = SocketAddr::new(scene.address(WEB, v6), 80);
        let listener = scene
            .netns(WEB)
            .run(|| TcpListener::bind(web))
            .unwrap()
            .unwrap();
        let receiver = std::thread::spawn(move || -> std::io::Result<u64> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut buffer = vec![0; 1 << 20];
            let (mut place, mut wrong) = (0_u64, 0);
            loop {
                let length = stream.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                for byte in &buffer[..length] {
                    wrong += u64::from(*byte != (place % 251) as u8);
                    place += 1;
                }
            }
            assert_eq!(wrong, 0);
            Ok(place)
        });
        let there = scene.port(WEB);
        let connect = || TcpStream::connect_timeout(&web, SOON);
        let mut stream = scene.netns(CAGED).run(connect).unwrap().unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let bytes: Vec<u8> = (0..MEGABYTES << 20)
            .map(|place| (place % 251) as u8)
            .collect();
        stream.write_all(&bytes).unwrap();
        drop(stream);
        let received = receiver.join().unwrap().unwrap();
        assert_eq!(received, (MEGABYTES << 20) as u64);
        let large = there.capture(SOON, |frame| frame.len() > 2 * MTU).unwrap();
        assert!(large.is_some(), "no super-packet came through");
    }
}
