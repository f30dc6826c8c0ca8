//! Reports about multicast groups pass, and carry nothing else.

use policy_common::Reason::{LinkControl, Policy, RouterMessage};

use crate::{
    frames::{ALERT, Header, ICMPV6, PLAIN, icmp, ip_with, listener_report},
    node::{Node, OWN, v6},
};

#[test]
fn a_report_about_groups_names_groups_and_nothing_else() {
    let node = Node::new();
    let groups = ["ff02::1:ff00:9"; 9];
    let report = |groups: &[&str]| listener_report("fe80::9", "ff02::16", 1, groups);
    assert_eq!(node.sends(&report(&groups[..8])), LinkControl);
    assert_eq!(node.sends(&report(&groups)), Policy, "more than a host has");
    let longer = |data: &[u8]| {
        let mut rest = vec![0, 0, 0, 1, 4, 0, 0, 0];
        rest.extend(v6("ff02::1").0);
        rest.extend(data);
        ip_with(
            Header {
                hops: 1,
                extensions: &[ALERT],
                ..PLAIN
            },
            "fe80::9",
            "ff02::16",
            ICMPV6,
            &icmp(143, 0, &rest),
        )
    };
    assert_eq!(node.sends(&longer(b"")), LinkControl);
    assert_eq!(node.sends(&longer(b"SECRET")), Policy);
    assert_eq!(
        node.sends(&report(&["2001:db8::5345:4352"])),
        Policy,
        "no group"
    );
    let old = |rest: &[u8], kind| {
        let header = Header {
            hops: 1,
            extensions: &[ALERT],
            ..PLAIN
        };
        node.sends(&ip_with(
            header,
            "fe80::9",
            "ff02::2",
            ICMPV6,
            &icmp(kind, 0, rest),
        ))
    };
    let group = [&[0; 4][..], &v6("ff02::fb").0].concat();
    assert_eq!(old(&group, 131), LinkControl);
    assert_eq!(old(&group, 132), LinkControl);
    assert_eq!(old(&[&group[..], b"SECRET"].concat(), 131), Policy);
    for at in 0..4 {
        let mut dirty = group.clone();
        dirty[at] = 1;
        assert_eq!(old(&dirty, 131), Policy, "byte {at} is nobody's");
    }
    assert_eq!(old(&group, 130), RouterMessage, "only routers ask");
    let data: (u8, &[u8]) = (0, &[0, 1, 5, 2, 0, 0, 1, 8, 83, 69, 67, 82, 69, 84, 0, 0]);
    for extensions in [&[data][..], &[], &[ALERT, ALERT]] {
        let header = Header {
            hops: 1,
            extensions,
            ..PLAIN
        };
        let frame = ip_with(header, "fe80::9", "ff02::16", ICMPV6, &icmp(131, 0, &group));
        assert_eq!(node.sends(&frame), Policy, "{extensions:?}");
    }
}

#[test]
fn a_router_may_ask_a_closed_pod_about_its_groups() {
    let node = Node::new();
    let header = Header {
        hops: 1,
        extensions: &[ALERT],
        ..PLAIN
    };
    let ask = |rest: &[u8]| {
        node.receives(&ip_with(
            header,
            "fe80::1",
            "ff02::1",
            ICMPV6,
            &icmp(130, 0, rest),
        ))
    };
    assert_eq!(ask(&[0; 20]), LinkControl);
    assert_eq!(ask(&[0; 24]), LinkControl, "version 2");
    assert_eq!(ask(&[0; 28]), Policy);
    let question = |payload: &[u8]| {
        let header = Header {
            hops: 1,
            options: &[0x94, 4, 0, 0],
            ..PLAIN
        };
        node.receives(&ip_with(header, "10.0.0.254", "224.0.0.1", 2, payload))
    };
    assert_eq!(question(&[0x11, 0, 0, 0, 0, 0, 0, 0]), LinkControl);
    assert_eq!(
        question(&[0x11, 0, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]),
        LinkControl
    );
    assert_eq!(
        question(&[0x11, 0, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0, 7]),
        Policy
    );
}

#[test]
fn igmp_names_groups_and_nothing_else() {
    let node = Node::new();
    let says = |options: &[u8], payload: &[u8]| {
        let header = Header {
            hops: 1,
            options,
            ..PLAIN
        };
        node.sends(&ip_with(header, OWN[0], "224.0.0.22", 2, payload))
    };
    let alert = [0x94, 4, 0, 0];
    let report = [0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    assert_eq!(says(&alert, &report), LinkControl);
    assert_eq!(says(&[], &report), LinkControl);
    assert_eq!(says(&alert, &[&report[..], b"SECR"].concat()), Policy);
    assert_eq!(says(&[7, 4, 83, 69], &report), Policy, "another option");
    assert_eq!(says(&[&alert[..], &[1; 4]].concat(), &report), Policy);
    assert_eq!(says(&alert, &[0x16, 0, 0, 0, 239, 1, 2, 3]), LinkControl);
    assert_eq!(
        says(&alert, &[0x16, 0, 0, 0, 83, 69, 67, 82]),
        Policy,
        "no group"
    );
    assert_eq!(says(&alert, b"SECRETSE"), Policy);
    assert_eq!(says(&alert, &[0x16, 9, 0, 0, 239, 1, 2, 3]), Policy);
    assert_eq!(
        says(&alert, &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        RouterMessage,
        "only routers ask"
    );
    let mut padded = ip_with(
        Header { hops: 1, ..PLAIN },
        OWN[0],
        "224.0.0.22",
        2,
        &[0x16, 0, 0, 0, 239, 1, 2, 3],
    );
    padded.resize(60, 0);
    assert_eq!(node.sends(&padded), LinkControl);
    padded[59] = 1;
    assert_eq!(node.sends(&padded), Policy);
}

/// Reports of versions 2 and 3 with a record of this kind and these sources, in either family.
fn with_sources(node: &Node, kind: u8, count: u8) -> [(Vec<u8>, bool); 2] {
    let sources = usize::from(count);
    let header = Header {
        hops: 1,
        extensions: &[ALERT],
        ..PLAIN
    };
    let mut rest = vec![0, 0, 0, 1, kind, 0, 0, count];
    rest.extend(v6("ff02::1:ff00:9").0);
    rest.extend(b"SECRET9876543210".repeat(sources));
    let mld = ip_with(header, "fe80::9", "ff02::16", ICMPV6, &icmp(143, 0, &rest));
    let mut igmp = vec![0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, count, 239, 1, 2, 3];
    igmp.extend(b"SECR".repeat(sources));
    let header = Header {
        hops: 1,
        options: &[0x94, 4, 0, 0],
        ..PLAIN
    };
    let igmp = ip_with(header, OWN[0], "224.0.0.22", 2, &igmp);
    [mld, igmp].map(|frame| {
        let passes = node.sends(&frame) == LinkControl;
        (frame, passes)
    })
}

#[test]
fn a_report_with_sources_is_ordinary_traffic_on_its_way_out_and_in() {
    let node = Node::new();
    for kind in 0..=7 {
        for sources in 0..=8 {
            let is_plain = sources == 0 && (2..=4).contains(&kind);
            for (frame, passes) in with_sources(&node, kind, sources) {
                assert_eq!(passes, is_plain, "kind {kind}, {sources} sources");
                if !is_plain {
                    assert_eq!(node.sends(&frame), Policy);
                    assert_eq!(node.receives(&frame), Policy);
                }
            }
        }
    }
}

#[test]
fn no_pod_asks_about_groups_though_nothing_isolates_it() {
    let free = Node::new().with(0);
    let [mld, igmp] = [
        ip_with(
            Header {
                hops: 1,
                extensions: &[ALERT],
                ..PLAIN
            },
            "fe80::9",
            "ff02::1",
            ICMPV6,
            &icmp(130, 0, &[0; 20]),
        ),
        ip_with(
            Header { hops: 1, ..PLAIN },
            OWN[0],
            "224.0.0.1",
            2,
            &[0x11, 0, 0, 0, 0, 0, 0, 0],
        ),
    ];
    assert_eq!(free.sends(&mld), RouterMessage);
    assert_eq!(free.sends(&igmp), RouterMessage);
    for (frame, passes) in with_sources(&free, 4, 0) {
        assert!(passes && free.sends(&frame) == LinkControl);
    }
}
