//! The short way through ordinary headers and the general parser read the same, on frames that are
//! almost ordinary.

use policy_common::{Endpoint, V4, V6};
use policy_ebpf::{
    Origin, from_pod,
    packet::{Bare, Bytes, Wire, ethernet::HEADER_LEN, protocol, transport},
    steps::Steps,
    to_pod,
};

use crate::{
    frames::{ACK, FIN, Header, ICMP, PLAIN, RST, SCTP, SYN, TCP, UDP, ip, ip_with, tcp, udp},
    node::{CLIENT, FRIEND, Node, OWN, POD, UPLINK},
};

const FRAMES: u32 = 1_000_000;
const DECISIONS: u32 = 60_000;

/// Repeatable numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A frame as the kernel has it: only its beginning is linear, and it may be a super-packet.
#[derive(Debug)]
struct Received {
    bytes: Vec<u8>,
    linear: usize,
    is_segmented: bool,
}

impl Steps for Received {}

impl Bytes for Received {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.as_slice().bytes(offset)
    }

    fn linear<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let shown = self.bytes.len().min(self.linear);
        self.bytes[..shown].bytes(offset)
    }

    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn is_segmented(&self) -> bool {
        self.is_segmented
    }
}

/// Ordinary packets, both ways and of both families.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for family in 0..2 {
        for (source, destination) in [(CLIENT, OWN), (OWN, CLIENT), (FRIEND, OWN), (OWN, FRIEND)] {
            let (source, destination) = (source[family], destination[family]);
            for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST] {
                seeds.push(ip(source, destination, TCP, &tcp(4000, 80, flags)));
                seeds.push(ip(source, destination, TCP, &tcp(80, 4000, flags)));
            }
            for (from, to) in [(4000, 53), (53, 4000), (0, 0)] {
                let mut datagram = udp(from, to);
                datagram.extend([0; 9]);
                seeds.push(ip(source, destination, UDP, &datagram));
            }
            let options = Header {
                options: &[1; 4],
                extensions: &[(60, &[0, 0, 1, 4, 0, 0, 0, 0])],
                ..PLAIN
            };
            seeds.push(ip_with(options, source, destination, UDP, &udp(4000, 53)));
        }
    }
    seeds
}

/// Changes what the two ways look at.
fn damage(frame: &mut Vec<u8>, numbers: &mut Numbers) {
    let is_v4 = frame[12..14] == [8, 0];
    let transport = if is_v4 { 34 } else { 54 };
    match numbers.below(10) {
        // Version and header length.
        0 => frame[14] = numbers.one_of(&[0x40, 0x44, 0x46, 0x4f, 0x55, 0x65, 0x60, 0x6f, 0x70, 0]),
        // The IP length, around and far from the truth.
        1 => {
            let at = if is_v4 { 16 } else { 18 };
            let truth = u16::from_be_bytes([frame[at], frame[at + 1]]);
            let length = match numbers.below(4) {
                0 => 0,
                1 => numbers.next() as u16,
                _ => truth
                    .wrapping_add(numbers.below(64) as u16)
                    .wrapping_sub(32),
            };
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        // Fragments: the reserved bit, the other flags, offsets.
        2 if is_v4 => {
            let field = numbers.one_of(&[0x8000u16, 0x4000, 0x2000, 0xc000, 0xe000, 1, 0x1fff]);
            frame[20..22].copy_from_slice(&field.to_be_bytes());
        }
        // The protocol.
        2 | 3 => {
            let next = [TCP, UDP, ICMP, SCTP, 0, 43, 44, 51, 58, 59, 60, 135, 255];
            frame[if is_v4 { 23 } else { 20 }] = numbers.one_of(&next);
        }
        // The length of the TCP header, or the one of UDP.
        4 => {
            if let Some(byte) = frame.get_mut(transport + 12) {
                *byte = numbers.next() as u8;
            }
        }
        5 => {
            if let Some(byte) = frame.get_mut(transport + 5) {
                *byte = numbers.next() as u8;
            }
        }
        6 => frame.truncate(HEADER_LEN + 1 + numbers.below(frame.len() - HEADER_LEN - 1)),
        // Padding behind the packet.
        7 => frame.extend((0..numbers.below(40)).map(|_| 0xaa)),
        // TTL, flags, flow label: nothing that any length hangs on.
        8 => frame[if is_v4 { 22 } else { 21 }] = numbers.one_of(&[0, 1, 64, 255]),
        _ => {
            let at = HEADER_LEN + numbers.below(frame.len() - HEADER_LEN);
            frame[at] = numbers.next() as u8;
        }
    }
}

fn received(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Received {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..numbers.below(4) {
        if bytes.len() >= HEADER_LEN + 20 {
            damage(&mut bytes, numbers);
        }
    }
    let linear = match numbers.below(4) {
        0 => HEADER_LEN + numbers.below(bytes.len() - HEADER_LEN + 1),
        _ => bytes.len(),
    };
    let is_segmented = numbers.below(8) == 0;
    Received {
        bytes,
        linear,
        is_segmented,
    }
}

/// Compares what the two ways read: whether the short way read anything.
fn compare<F: Wire + PartialEq + std::fmt::Debug>(frame: &Received) -> bool {
    let general = F::parse(frame, HEADER_LEN).ok();
    let segment = general
        .as_ref()
        .filter(|packet| !packet.is_later_fragment())
        .and_then(|packet| transport::parse(frame, packet));
    let Some((packet, short)) = F::plain(frame) else {
        let is_ordinary = general.is_some_and(|packet| {
            let begins = if F::VERSION == 4 { 34 } else { 54 };
            let told = frame
                .bytes
                .as_slice()
                .bytes(if F::VERSION == 4 { 16 } else { 18 });
            packet.transport() == begins
                && !packet.has_fragment_header()
                && matches!(packet.protocol(), protocol::TCP | protocol::UDP)
                && told != Some([0, 0])
        });
        let is_linear = frame.linear >= frame.bytes.len();
        let takes_short_way = is_ordinary && is_linear && segment.is_some();
        assert!(!takes_short_way, "not read the short way: {frame:02x?}");
        return false;
    };
    let Some(general) = general else {
        panic!("only the short way reads {frame:02x?}");
    };
    assert_eq!(
        (packet.source, packet.destination),
        (general.source, general.destination),
        "{frame:02x?}"
    );
    let layout = |packet: &policy_ebpf::packet::IpPacket<F>| {
        (
            [packet.fragmentable(), packet.transport(), packet.end()],
            [packet.hop_limit(), packet.protocol()],
            [
                packet.is_first_fragment(),
                packet.is_later_fragment(),
                packet.has_fragment_header(),
            ],
            packet.fragment_id(),
            packet.fragment_offset(),
        )
    };
    assert_eq!(layout(&packet), layout(&general), "{frame:02x?}");
    assert!(segment == Some(short), "another segment: {frame:02x?}");
    true
}

#[test]
fn the_short_way_reads_what_the_general_parser_reads() {
    let seeds = seeds();
    let mut numbers = Numbers(1);
    let mut short = 0;
    for _ in 0..FRAMES {
        let frame = received(&seeds, &mut numbers);
        // Both families, whatever the type of the frame: a header is believed only for what it is.
        short += u32::from(compare::<V4>(&frame)) + u32::from(compare::<V6>(&frame));
    }
    let range = FRAMES / 4..FRAMES * 3 / 4;
    assert!(range.contains(&short), "{short} read the short way");
}

#[test]
fn the_verdict_does_not_depend_on_the_way_the_headers_were_read() {
    the_way_of_reading_decides_nothing(Endpoint::INGRESS_ISOLATED | Endpoint::EGRESS_ISOLATED);
}

#[test]
fn the_verdict_of_a_pod_without_policy_does_not_depend_on_it_either() {
    for flags in [0, Endpoint::UNKNOWN, Endpoint::NO_SOURCE_CHECK] {
        the_way_of_reading_decides_nothing(flags);
    }
}

fn the_way_of_reading_decides_nothing(flags: u16) {
    let seeds = seeds();
    let mut numbers = Numbers(2);
    let (short, general) = (Node::new().with(flags), Node::new().with(flags));
    let mut passed = 0;
    for _ in 0..DECISIONS {
        let mut frame = received(&seeds, &mut numbers);
        let leaves = numbers.below(2) == 0;
        let origin = Origin {
            ifindex: POD,
            ingress_ifindex: if leaves { POD } else { UPLINK },
            has_vlan_tag: numbers.below(16) == 0,
            ..Origin::default()
        };
        let decide = |node: &Node, frame: &Received| {
            let endpoint = node.pod();
            if leaves {
                from_pod::decide(&node.world, frame, &origin, endpoint)
            } else {
                to_pod::decide(&node.world, frame, &origin, endpoint)
            }
        };
        let one = decide(&short, &frame);
        frame.linear = HEADER_LEN;
        let other = decide(&general, &frame);
        assert_eq!(one, other, "{leaves} {frame:02x?}");
        passed += u32::from(!one.drops());
    }
    assert_eq!(
        *short.world.flows_v4.borrow(),
        *general.world.flows_v4.borrow()
    );
    assert_eq!(
        *short.world.flows_v6.borrow(),
        *general.world.flows_v6.borrow()
    );
    let enough = if flags == Endpoint::UNKNOWN {
        0
    } else {
        DECISIONS / 20
    };
    assert!(passed >= enough, "only {passed} passed");
}

#[test]
fn the_verdict_does_not_depend_on_a_link_header() {
    let seeds = seeds();
    let mut numbers = Numbers(3);
    let (framed, bare) = (Node::new(), Node::new());
    let mut passed = 0;
    for _ in 0..DECISIONS {
        let frame = received(&seeds, &mut numbers).bytes;
        let Some((link, packet)) = frame.split_at_checked(HEADER_LEN) else {
            continue;
        };
        let packet = Bare {
            bytes: packet,
            protocol: u16::from_be_bytes([link[12], link[13]]),
        };
        let leaves = numbers.below(2) == 0;
        let origin = Origin {
            ifindex: POD,
            ingress_ifindex: if leaves { POD } else { UPLINK },
            ..Origin::default()
        };
        let (one, other) = if leaves {
            (
                from_pod::decide(&framed.world, frame.as_slice(), &origin, framed.pod()),
                from_pod::decide(&bare.world, &packet, &origin, bare.pod()),
            )
        } else {
            (
                to_pod::decide(&framed.world, frame.as_slice(), &origin, framed.pod()),
                to_pod::decide(&bare.world, &packet, &origin, bare.pod()),
            )
        };
        assert_eq!(one, other, "{leaves} {frame:02x?}");
        passed += u32::from(!one.drops());
    }
    assert!(passed > DECISIONS / 20, "only {passed} passed");
}
