//! What is read of messages as the kernel writes them.

use super::*;
use crate::netlink::message::push;

const NESTED: u16 = 1 << 15;

fn nest(kind: u16, parts: &[(u16, Vec<u8>)]) -> (u16, Vec<u8>) {
    let mut body = Vec::new();
    for (kind, value) in parts {
        push(&mut body, *kind, value);
    }
    (kind | NESTED, body)
}

fn ends(kind: u16, protocol: u8, source: SocketAddr, destination: SocketAddr) -> (u16, Vec<u8>) {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let family = if source.is_ipv4() { 0 } else { 2 };
    let addresses = [
        (CTA_IP_V4_SRC + family, octets(source.ip())),
        (CTA_IP_V4_DST + family, octets(destination.ip())),
    ];
    let ports = [
        (CTA_PROTO_NUM, vec![protocol]),
        (CTA_PROTO_SRC_PORT, source.port().to_be_bytes().to_vec()),
        (
            CTA_PROTO_DST_PORT,
            destination.port().to_be_bytes().to_vec(),
        ),
    ];
    nest(
        kind,
        &[
            nest(CTA_TUPLE_IP, &addresses),
            nest(CTA_TUPLE_PROTO, &ports),
        ],
    )
}

fn told(parts: &[(u16, Vec<u8>)]) -> Option<Tracked> {
    let mut payload = vec![2, 0, 0, 0];
    for (kind, value) in parts {
        push(&mut payload, *kind, value);
    }
    decode(&Message {
        kind: 0,
        flags: 0,
        sequence: 0,
        payload: &payload,
    })
}

/// A connection to a Service's address, translated to a backend.
fn connection(protocol: u8, status: u32, more: &[(u16, Vec<u8>)]) -> Option<Tracked> {
    let [client, service, backend] = ["10.1.0.5:4000", "10.96.0.1:80", "10.1.0.9:8080"]
        .map(|end| end.parse::<SocketAddr>().expect("an address with its port"));
    let mut parts = vec![
        ends(CTA_TUPLE_ORIG, protocol, client, service),
        ends(CTA_TUPLE_REPLY, protocol, backend, client),
        (CTA_STATUS, status.to_be_bytes().to_vec()),
    ];
    parts.extend_from_slice(more);
    told(&parts)
}

fn of_tcp_in(state: u8, original: u8, reply: u8) -> Option<Tracked> {
    let info = nest(
        CTA_PROTOINFO_TCP,
        &[
            (CTA_PROTOINFO_STATE, vec![state]),
            (CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, vec![original, 0]),
            (CTA_PROTOINFO_TCP_FLAGS_REPLY, vec![reply, 0]),
        ],
    );
    connection(TCP, IPS_SEEN_REPLY, &[nest(CTA_PROTOINFO, &[info])])
}

#[test]
fn both_directions_of_a_translated_connection_are_read() {
    let tracked = connection(17, IPS_SEEN_REPLY | IPS_ASSURED, &[]).expect("a connection");
    assert_eq!(tracked.original.source.to_string(), "10.1.0.5:4000");
    assert_eq!(tracked.original.destination.to_string(), "10.96.0.1:80");
    assert_eq!(tracked.reply.source.to_string(), "10.1.0.9:8080");
    assert_eq!(tracked.reply.destination.to_string(), "10.1.0.5:4000");
    assert_eq!(
        (tracked.progress, tracked.assured, tracked.picked_up),
        (Progress::Established, true, false)
    );
    let [pod, peer] = ["[fd00::5]:4000", "[fd00::9]:53"].map(|end| end.parse().expect("an end"));
    let tracked = told(&[
        ends(CTA_TUPLE_ORIG, 17, pod, peer),
        ends(CTA_TUPLE_REPLY, 17, peer, pod),
        (CTA_STATUS, vec![0; 4]),
    ]);
    let tracked = tracked.expect("a connection over IPv6");
    assert_eq!((tracked.original.source, tracked.reply.source), (pod, peer));
    assert_eq!(tracked.progress, Progress::Opened);
}

#[test]
fn connections_that_are_over_or_of_another_zone_are_left_out() {
    assert_eq!(connection(17, IPS_DYING, &[]), None);
    assert_eq!(connection(17, 0, &[(CTA_ZONE, vec![0, 7])]), None);
    // TIME_WAIT, CLOSE and numbers that nobody knows.
    for state in [0, 7, 8, 10, 200] {
        assert_eq!(of_tcp_in(state, 3, 3), None, "{state}");
    }
    assert_eq!(
        connection(TCP, IPS_SEEN_REPLY, &[]),
        None,
        "no state at all"
    );
}

#[test]
fn a_connection_whose_beginning_was_not_seen_is_told_apart() {
    let picked_up = |original, reply| of_tcp_in(3, original, reply).map(|one| one.picked_up);
    assert_eq!(picked_up(0x0a, 0x2a), Some(true));
    assert_eq!(picked_up(0x03, 0x23), Some(false));
    // Handed to a flow table.
    assert_eq!(picked_up(0x0b, 0x0b), Some(false));
    let progress = |state| of_tcp_in(state, 3, 3).map(|one| one.progress);
    assert_eq!(progress(1), Some(Progress::Opened));
    assert_eq!(progress(3), Some(Progress::Established));
    assert_eq!(progress(6), Some(Progress::Ending));
}

#[test]
fn nothing_is_read_of_a_message_that_is_cut_anywhere() {
    let [pod, peer] = ["10.1.0.5:4000", "10.1.0.9:53"].map(|end| end.parse().expect("an end"));
    let mut payload = vec![2, 0, 0, 0];
    for (kind, value) in [
        ends(CTA_TUPLE_ORIG, 17, pod, peer),
        ends(CTA_TUPLE_REPLY, 17, peer, pod),
        (CTA_STATUS, vec![0; 4]),
    ] {
        push(&mut payload, kind, &value);
    }
    let message = |payload| Message {
        kind: 0,
        flags: 0,
        sequence: 0,
        payload,
    };
    assert!(decode(&message(&payload)).is_some());
    for length in 0..payload.len() {
        let cut = payload.get(..length).unwrap_or_default();
        assert_eq!(decode(&message(cut)), None, "{length} bytes");
    }
}
