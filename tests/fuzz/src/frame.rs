//! Frames: mostly well formed, with every header that is parsed, then sometimes broken.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use arbitrary::{Result, Unstructured};

use super::shot::{Ends, Pool};
use policy_harness::wire::{
    Ethernet, Ipv4, Ipv6, Tcp, arp,
    icmp::{self, message},
    ip::{BROADCAST, Extension},
    sctp, udp,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A frame between two ends.
pub(super) fn random(u: &mut Unstructured<'_>, pool: &Pool, ends: Ends) -> Result<Vec<u8>> {
    let to = *u.choose(&[MAC, MAC, MAC, BROADCAST])?;
    let mut ethernet = Ethernet::new(MAC, to);
    if u.ratio(1, 40)? {
        ethernet.vlans.push(7);
    }
    let mut frame = match u.int_in_range(0..=39)? {
        0 => arp_frame(u, pool, &ethernet)?,
        1 => ethernet.frame(u.arbitrary()?, u.bytes(20)?),
        _ => ethernet.ip(&packet(u, pool, ends, true)?),
    };
    if u.ratio(1, 4)? {
        damage(u, &mut frame)?;
    }
    Ok(frame)
}

fn damage(u: &mut Unstructured<'_>, frame: &mut Vec<u8>) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => frame.truncate(u.int_in_range(15..=frame.len().max(15))?),
        1 => frame.extend(u.bytes(9)?),
        2 => {
            let at = u.choose_index(frame.len())?;
            frame[at] ^= 1 << u.int_in_range(0..=7)?;
        }
        _ => {
            // Where lengths, offsets and types stand.
            let at = u.int_in_range(12..=frame.len().min(70) - 1)?;
            frame[at] = u.arbitrary()?;
        }
    }
    Ok(())
}

fn arp_frame(u: &mut Unstructured<'_>, pool: &Pool, ethernet: &Ethernet) -> Result<Vec<u8>> {
    let sender = *u.choose(&pool.v4)?;
    let target = *u.choose(&pool.v4)?;
    let operation = u.int_in_range(1..=2)?;
    let mut packet = arp(operation, (MAC, sender), (MAC, target));
    packet.truncate(*u.choose(&[28, 28, 28, 17, 6])?);
    Ok(ethernet.frame(0x0806, &packet))
}

/// An IP packet; `may_quote` lets it be an ICMP error about another one.
fn packet(u: &mut Unstructured<'_>, pool: &Pool, ends: Ends, may_quote: bool) -> Result<Vec<u8>> {
    let (protocol, payload) = payload(u, pool, ends, may_quote)?;
    let hops = *u.choose(&[64, 1, 255])?;
    // Mostly whole datagrams.
    let fragment = u.ratio(1, 4)?;
    let offset = if fragment {
        *u.choose(&[0, 0, 8, 16, 1480])?
    } else {
        0
    };
    let more = fragment && u.arbitrary()?;
    let id = u.int_in_range(1..=2)?;
    match (ends.source.0, ends.destination.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4::new(source, destination, protocol);
            (header.ttl, header.offset, header.more) = (hops, offset, more);
            header.id = id;
            if u.ratio(1, 6)? {
                header.options = match u.int_in_range(0..=2)? {
                    // A source route, sometimes one that nobody can follow.
                    0 => vec![
                        *u.choose(&[131, 137])?,
                        *u.choose(&[7, 7, 3, 2])?,
                        *u.choose(&[4, 8, 3])?,
                        192,
                        0,
                        2,
                        1,
                        *u.choose(&[0, 131])?,
                    ],
                    1 => vec![0x94, 4, 0, 0],
                    _ => vec![1; u.int_in_range(1..=40)?],
                };
            }
            Ok(header.packet(&payload))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = Ipv6::new(source, destination, protocol);
            header.hop_limit = hops;
            let extensions = if u.ratio(1, 4)? {
                u.int_in_range(1..=8)?
            } else {
                0
            };
            for _ in 0..extensions {
                header.extensions.push(extension(u)?);
            }
            if fragment {
                let id = id.into();
                let at = u.int_in_range(0..=header.extensions.len())?;
                let fragment = Extension::Fragment { offset, more, id };
                header.extensions.insert(at, fragment);
            }
            Ok(header.packet(&payload))
        }
        _ => unreachable!("both ends are of one family"),
    }
}

fn extension(u: &mut Unstructured<'_>) -> Result<Extension> {
    Ok(match u.int_in_range(0..=9)? {
        0..=2 => Extension::Plain(0, Vec::new()),
        3..=5 => Extension::Plain(60, vec![0; u.int_in_range(0..=30)?]),
        6 => Extension::Plain(43, vec![0, u.int_in_range(0..=1)?, 0, 0]),
        7 => Extension::Plain(135, Vec::new()),
        _ => Extension::Authentication(u.int_in_range(0..=12)?),
    })
}

fn payload(
    u: &mut Unstructured<'_>,
    pool: &Pool,
    ends: Ends,
    may_quote: bool,
) -> Result<(u8, Vec<u8>)> {
    let source = SocketAddr::new(ends.source.0, ends.source.1);
    let destination = SocketAddr::new(ends.destination.0, ends.destination.1);
    let icmp_number = icmp::protocol(source.ip());
    Ok(match u.int_in_range(0..=15)? {
        0..=4 => {
            let flags = *u.choose(&[
                2, 2, 2, 0x12, 0x10, 0x10, 0x18, 0x11, 1, 4, 0x14, 3, 0, 0x3f,
            ])?;
            let mut tcp = Tcp::new(flags);
            if u.ratio(1, 3)? {
                tcp.sequence = u.int_in_range(999..=1003)?;
                tcp.acknowledgement = u.int_in_range(1000..=1004)?;
            }
            let mut segment = tcp.segment(source, destination);
            if u.ratio(1, 10)? {
                // A data offset that is wrong, or options.
                segment[12] = u.arbitrary()?;
                segment.extend([0; 20]);
            }
            (6, segment)
        }
        5..=7 => (17, udp(source, destination, u.bytes(8)?)),
        8 => {
            let chunk = *u.choose(&[1, 1, 2, 0, 14])?;
            let mut chunks = [0; 20];
            (chunks[0], chunks[3], chunks[7]) = (chunk, 20, u.int_in_range(0..=2)?);
            (
                132,
                sctp::packet(source.port(), destination.port(), 1, &chunks),
            )
        }
        9 => {
            let id = source.port() & 3;
            let message = if u.arbitrary()? {
                icmp::echo_request(source.ip(), destination.ip(), id, 1)
            } else {
                icmp::echo_reply(source.ip(), destination.ip(), id, 1)
            };
            (icmp_number, message)
        }
        10..=11 if may_quote => (icmp_number, error(u, pool, ends)?),
        12 => (icmp_number, neighbour(u, pool, ends)?),
        13 => (
            icmp_number,
            message(
                source.ip(),
                destination.ip(),
                u.arbitrary()?,
                0,
                u.bytes(8)?,
            ),
        ),
        14 => (2, group_report(u)?),
        _ => (
            *u.choose(&[4, 41, 47, 50, 1, 58, 89])?,
            u.bytes(24)?.to_vec(),
        ),
    })
}

/// An error about a packet the other way, mostly.
fn error(u: &mut Unstructured<'_>, pool: &Pool, ends: Ends) -> Result<Vec<u8>> {
    let (source, destination) = (ends.source.0, ends.destination.0);
    let about = if u.ratio(1, 6)? {
        ends
    } else {
        ends.reversed()
    };
    let mut rest = vec![0; 4];
    let mut quoted = packet(u, pool, about, false)?;
    if u.ratio(1, 4)? {
        quoted.truncate(u.int_in_range(0..=quoted.len())?);
    }
    rest.extend(quoted);
    let kinds: &[u8] = if source.is_ipv6() {
        &[1, 2, 3, 4]
    } else {
        &[3, 11, 12, 4]
    };
    Ok(message(source, destination, *u.choose(kinds)?, 4, &rest))
}

/// IGMP of every version.
fn group_report(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let kind = *u.choose(&[0x16, 0x11, 0x17, 0x22, 0x22, 0x99])?;
    let mut report = vec![kind, 0, 0, 0];
    if kind == 0x22 {
        let records = u.int_in_range(0..=9)?;
        report.extend([0, 0, 0, records]);
        for _ in 0..records {
            report.extend([*u.choose(&[4, 4, 7])?, 0, 0, 0, 224, 0, 0, 1]);
        }
    } else {
        report.extend(*u.choose(&[[224, 0, 0, 1], [0; 4], [10, 0, 0, 1]])?);
    }
    let more = *u.choose(&[0, 0, 4])?;
    report.extend(u.bytes(more)?);
    Ok(report)
}

/// Neighbour discovery and MLD.
fn neighbour(u: &mut Unstructured<'_>, pool: &Pool, ends: Ends) -> Result<Vec<u8>> {
    let (source, destination) = (ends.source.0, ends.destination.0);
    let kind = *u.choose(&[135, 135, 136, 136, 133, 134, 137, 130, 131, 143, 9, 5])?;
    let mut rest = vec![0; 4];
    let target = match u.int_in_range(0..=2)? {
        0 => match source {
            IpAddr::V6(own) => own,
            IpAddr::V4(_) => Ipv6Addr::LOCALHOST,
        },
        _ => *u.choose(&pool.v6)?,
    };
    rest.extend(target.octets());
    for _ in 0..*u.choose(&[0, 1, 1, 1, 2])? {
        rest.extend([*u.choose(&[1, 1, 2, 2, 14])?, 1]);
        rest.extend(if u.ratio(1, 6)? { BROADCAST } else { MAC });
    }
    if u.ratio(1, 8)? {
        rest[*u.choose(&[0, 1, 3])?] = *u.choose(&[0x20, 1])?;
    }
    Ok(message(source, destination, kind, 0, &rest))
}
