//! Many packets at once, and which of them arrive.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use policy_harness::{
    topology::{INSIDE, UPLINK},
    wire::{
        Ethernet, Port, Tcp,
        ip::packet,
        transport::{self, UDP, flag},
    },
};

use crate::scene::{SILENCE, Scene};

/// Protocol, source and destination port of a packet.
pub(crate) type Probe = (u8, IpAddr, u16);

/// How many packets, with what the pod answers, fit into a socket's buffer at once.
const AT_ONCE: usize = 64;

/// Sends one packet of each kind from outside to the pod; those that arrive.
pub(crate) fn sifted(scene: &Scene, pod: &str, probes: &BTreeSet<Probe>) -> BTreeSet<Probe> {
    let outside = Port::open(scene.netns("outside"), INSIDE).unwrap();
    let frame = Ethernet::new(
        scene.netns("outside").mac(INSIDE).unwrap(),
        scene.netns("host").mac(UPLINK).unwrap(),
    );
    let mut arrived = BTreeSet::new();
    let all: Vec<_> = probes.iter().copied().collect();
    for some in all.chunks(AT_ONCE) {
        let inside = Port::open(scene.netns(pod), INSIDE).unwrap();
        for (protocol, source, port) in some {
            let from = SocketAddr::new(*source, 50_000);
            let to = SocketAddr::new(scene.address(pod, source.is_ipv6()), *port);
            let payload = match *protocol {
                UDP => transport::udp(from, to, b"sift"),
                _ => Tcp::new(flag::SYN).segment(from, to),
            };
            let whole = packet(from.ip(), to.ip(), *protocol, &payload);
            outside.send(&frame.ip(&whole)).unwrap();
        }
        // As long as something comes there may be more.
        let mut left: BTreeSet<_> = some.iter().copied().collect();
        while !left.is_empty()
            && let Some(frame) = inside
                .capture(SILENCE, |frame| read(frame).is_some())
                .unwrap()
        {
            arrived.extend(read(&frame).inspect(|probe| {
                left.remove(probe);
            }));
        }
    }
    arrived
}

/// A frame that [`sifted`] sent.
fn read(frame: &[u8]) -> Option<Probe> {
    let (protocol, source, at): (u8, IpAddr, usize) = match frame.get(12..14)? {
        [8, 0] => {
            let bytes: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
            (*frame.get(23)?, bytes.into(), 34)
        }
        [0x86, 0xdd] => {
            let bytes: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
            (*frame.get(20)?, bytes.into(), 54)
        }
        _ => return None,
    };
    let from: [u8; 2] = frame.get(at..at + 2)?.try_into().ok()?;
    let to: [u8; 2] = frame.get(at + 2..at + 4)?.try_into().ok()?;
    (u16::from_be_bytes(from) == 50_000).then_some((protocol, source, u16::from_be_bytes(to)))
}
