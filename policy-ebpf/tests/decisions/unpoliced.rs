//! What keeps the link alive carries nothing else: between closed pods it would be a way to talk.

use policy_common::Reason::{self, LinkControl, LinkData, NeighbourSender, Policy, SourceAddress};

use crate::{
    frames::{FROM, Header, ICMPV6, PLAIN, TO, frame, icmp, ip_with},
    node::{CLIENT, HOST, Node, OWN, v4, v6},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ON_LINK: &str = "ff02::1:ff00:1";

/// ARP from the pod or to it, changed at will.
fn arp(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(FROM);
    packet.extend(v4(OWN[0]).0);
    packet.extend([0; 6]);
    packet.extend(v4(CLIENT[0]).0);
    change(&mut packet);
    frame(0x0806, &packet)
}

#[test]
fn arp_is_alone_in_its_frame() {
    let node = Node::new();
    for padding in [0, 1, 8, 17, 18] {
        let padded = arp(|packet| packet.resize(28 + padding, 0));
        assert_eq!(node.sends(&padded), LinkControl, "{padding}");
        assert_eq!(node.receives(&padded), LinkControl, "{padding}");
    }
    for padding in [19, 46, 1400] {
        let padded = arp(|packet| packet.resize(28 + padding, 0));
        assert_eq!(node.sends(&padded), LinkData, "{padding}");
        assert_eq!(node.receives(&padded), LinkData, "{padding}");
    }
    for length in 1..=18 {
        for at in 0..length {
            let dirty = arp(|packet| {
                packet.resize(28 + length, 0);
                packet[28 + at] = 1;
            });
            assert_eq!(node.sends(&dirty), LinkData, "{at} of {length}");
            assert_eq!(node.receives(&dirty), LinkData, "{at} of {length}");
        }
    }
    let free = Node::new().with(0);
    let padded = arp(|packet| packet.resize(100, 0));
    assert_eq!(free.sends(&padded), LinkData, "a free pod may not either");
}

#[test]
fn arp_names_no_hardware_address_but_the_frames_own() {
    let node = Node::new();
    for target in [[0; 6], [0xff; 6], TO, FROM] {
        let packet = arp(|packet| packet[18..24].copy_from_slice(&target));
        assert_eq!(node.sends(&packet), LinkControl, "{target:?}");
    }
    for change in [
        |packet: &mut Vec<u8>| packet[18..24].copy_from_slice(b"SECRET"),
        |packet: &mut Vec<u8>| packet[8..14].copy_from_slice(b"SECRET"),
        |packet: &mut Vec<u8>| packet[7] = 3,
        |packet: &mut Vec<u8>| packet[6] = 1,
    ] {
        assert_eq!(node.sends(&arp(change)), Reason::ArpSender);
    }
}

struct Discovery<'a> {
    source: &'a str,
    to: &'a str,
    kind: u8,
    code: u8,
    word: [u8; 4],
    target: &'a str,
    options: Vec<u8>,
}

impl Discovery<'_> {
    fn frame(&self) -> Vec<u8> {
        let mut rest = self.word.to_vec();
        rest.extend(v6(self.target).0);
        rest.extend(&self.options);
        let message = icmp(self.kind, self.code, &rest);
        let header = Header { hops: 255, ..PLAIN };
        ip_with(header, self.source, self.to, ICMPV6, &message)
    }
}

/// A question that Linux asks.
fn question() -> Discovery<'static> {
    Discovery {
        source: OWN[1],
        to: ON_LINK,
        kind: SOLICITATION,
        code: 0,
        word: [0; 4],
        target: CLIENT[1],
        options: [&[1, 1][..], &FROM].concat(),
    }
}

/// An answer that Linux gives.
fn answer() -> Discovery<'static> {
    Discovery {
        to: "fe80::1",
        kind: ADVERTISEMENT,
        word: [0x60, 0, 0, 0],
        target: OWN[1],
        options: [&[2, 1][..], &FROM].concat(),
        ..question()
    }
}

#[test]
fn discovery_says_what_it_must_and_no_more() {
    let node = Node::new();
    assert_eq!(node.sends(&question().frame()), LinkControl);
    assert_eq!(node.sends(&answer().frame()), LinkControl);
    for message in [question, answer] {
        let bare = Discovery {
            options: vec![],
            ..message()
        };
        assert_eq!(
            node.sends(&bare.frame()),
            LinkControl,
            "options are optional"
        );
        let mut reserved = message();
        reserved.word[3] = 1;
        let mut second = message();
        second.options.extend([14, 1, 1, 2, 3, 4, 5, 6]);
        let mut other = message();
        other.options[0] = 14;
        let mut long = message();
        long.options.extend([0; 8]);
        long.options[1] = 2;
        let code = Discovery {
            code: 1,
            ..message()
        };
        let mut padded = message().frame();
        padded.push(0);
        for (what, frame) in [
            ("reserved", reserved.frame()),
            ("a second option", second.frame()),
            ("another option", other.frame()),
            ("a long option", long.frame()),
            ("a code", code.frame()),
            ("a byte behind the packet", padded),
        ] {
            assert_eq!(node.sends(&frame), Policy, "{what}");
            assert_eq!(
                node.receives(&frame.clone()),
                wrong_way(&node, &frame),
                "{what}"
            );
        }
        let mut of_another = message();
        of_another.options[7] ^= 1;
        assert_eq!(node.sends(&of_another.frame()), NeighbourSender);
    }
}

/// The pod's own packets never reach it: what the destination check says of them.
fn wrong_way(node: &Node, frame: &[u8]) -> Reason {
    let reason = node.receives(frame);
    assert!(reason.is_drop(), "{reason:?}");
    reason
}

#[test]
fn detection_of_duplicates_may_carry_a_nonce() {
    let node = Node::new();
    let mut detection = Discovery {
        source: "::",
        target: OWN[1],
        options: vec![14, 1, 1, 2, 3, 4, 5, 6],
        ..question()
    };
    assert_eq!(node.sends(&detection.frame()), LinkControl);
    detection.options = vec![];
    assert_eq!(node.sends(&detection.frame()), LinkControl);
    detection.options = [&[1, 1][..], &FROM].concat();
    assert_eq!(
        node.sends(&detection.frame()),
        Policy,
        "it has no address yet"
    );
}

#[test]
fn a_question_to_a_global_address_stays_on_this_node_and_is_about_it() {
    let mut node = Node::new();
    let to = |to, target| {
        Discovery {
            to,
            target,
            ..question()
        }
        .frame()
    };
    let (host, peer) = (HOST[1], "fd00::6");
    node.put(
        ["10.0.0.6", peer],
        policy_common::IdentityId(23),
        policy_common::EndpointId(6),
        0,
    );
    assert_eq!(node.sends(&to(host, host)), LinkControl);
    assert_eq!(node.sends(&to(peer, peer)), LinkControl);
    assert_eq!(
        node.sends(&to(peer, "fd00::5345:4352:4554")),
        Policy,
        "about another"
    );
    let outside = "2001:db8::5345:4352:4554";
    assert_eq!(
        node.sends(&to(outside, outside)),
        Policy,
        "the address is the message"
    );
    assert_eq!(
        node.sends(&to("fe80::1", host)),
        Policy,
        "link-local, about another"
    );
    let asked = Discovery {
        source: "fe80::1",
        to: OWN[1],
        target: OWN[1],
        ..question()
    };
    assert_eq!(node.receives(&asked.frame()), LinkControl);
    let odd = Discovery {
        target: CLIENT[1],
        ..asked
    };
    assert_eq!(node.receives(&odd.frame()), Policy);
}

#[test]
fn a_free_pod_forges_no_advertisement_by_an_odd_form() {
    let node = Node::new().with(0);
    let forged = Discovery {
        target: CLIENT[1],
        ..answer()
    };
    for change in [
        |claim: &mut Discovery<'_>| claim.word[3] = 1,
        |claim: &mut Discovery<'_>| claim.options.extend([2, 1, 1, 2, 3, 4, 5, 6]),
        |claim: &mut Discovery<'_>| claim.options.clear(),
        |claim: &mut Discovery<'_>| claim.to = CLIENT[1],
    ] {
        let mut claim = Discovery {
            options: forged.options.clone(),
            ..forged
        };
        change(&mut claim);
        assert_eq!(node.sends(&claim.frame()), NeighbourSender);
    }
}

#[test]
fn a_link_local_source_asks_a_global_address_only_what_linux_asks() {
    let mut node = Node::new();
    let peer = "fd00::6";
    node.put(
        ["10.0.0.6", peer],
        policy_common::IdentityId(23),
        policy_common::EndpointId(6),
        0,
    );
    let asks = Discovery {
        source: "fe80::9",
        to: peer,
        target: peer,
        ..question()
    };
    assert_eq!(node.sends(&asks.frame()), LinkControl);
    let data = Discovery {
        word: *b"SECR",
        options: asks.options.clone(),
        ..asks
    };
    assert_eq!(node.sends(&data.frame()), SourceAddress);
}
