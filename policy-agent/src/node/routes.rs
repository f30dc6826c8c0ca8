//! Where the kernel delivers packets locally: not only to the addresses that interfaces list, but to
//! the broadcast addresses of their subnets, to IPv6 subnet-router anycast, and to whole prefixes that
//! somebody routed here.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::netlink::{
    message::{Message, attributes, u32_at},
    socket::Requests,
};

/// Length of `struct rtmsg`, and its fields.
const RTMSG: usize = 12;
const FAMILY: usize = 0;
const PREFIX_LENGTH: usize = 1;
const TABLE: usize = 4;
const TYPE: usize = 7;

/// Types of routes by which a packet stays here.
const LOCAL_TYPES: [u8; 3] = [libc::RTN_LOCAL, libc::RTN_BROADCAST, libc::RTN_ANYCAST];

/// Tables that are asked without a rule of somebody's making.
const ORDINARY_TABLES: [u32; 3] = [
    libc::RT_TABLE_LOCAL as u32,
    libc::RT_TABLE_MAIN as u32,
    libc::RT_TABLE_DEFAULT as u32,
];

/// All prefixes of both families that the requests' namespace delivers locally.
pub(super) fn local(requests: &mut Requests) -> io::Result<BTreeSet<IpNet>> {
    let mut found = BTreeSet::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in LOCAL_TYPES {
            let mut body = vec![0; RTMSG];
            if let (Some(of), Some(wanted)) = (body.first_mut(), u8::try_from(family).ok()) {
                *of = wanted;
            }
            if let Some(of) = body.get_mut(TYPE) {
                *of = kind;
            }
            found.extend(requests.dump(libc::RTM_GETROUTE.into(), &body, decode)?);
        }
    }
    Ok(found)
}

/// Whether an RTM_NEWROUTE or RTM_DELROUTE is about a route by which packets stay here.
pub(super) fn is_local(message: &Message<'_>) -> bool {
    message
        .payload
        .get(TYPE)
        .is_some_and(|kind| LOCAL_TYPES.contains(kind))
}

fn decode(message: &Message<'_>) -> Option<IpNet> {
    if message.kind != libc::RTM_NEWROUTE || !is_local(message) {
        return None;
    }
    let length = *message.payload.get(PREFIX_LENGTH)?;
    let mut table = u32::from(*message.payload.get(TABLE)?);
    let mut address = match i32::from(*message.payload.get(FAMILY)?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    for (kind, value) in attributes(message.payload, RTMSG) {
        match (kind, value.len()) {
            (libc::RTA_TABLE, _) => table = u32_at(value, 0)?,
            (libc::RTA_DST, 4) => address = <[u8; 4]>::try_from(value).ok()?.into(),
            (libc::RTA_DST, 16) => address = <[u8; 16]>::try_from(value).ok()?.into(),
            _ => {}
        }
    }
    // A transparent proxy takes everything that it marked: the mark decides, not the destination.
    if length == 0 && !ORDINARY_TABLES.contains(&table) {
        return None;
    }
    Some(IpNet::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::push;

    fn route(kind: u8, table: u32, length: u8, destination: &[u8]) -> Option<IpNet> {
        let family = if destination.len() == 16 {
            libc::AF_INET6
        } else {
            libc::AF_INET
        };
        let mut payload = vec![0; RTMSG];
        payload[FAMILY] = family as u8;
        payload[PREFIX_LENGTH] = length;
        payload[TYPE] = kind;
        if !destination.is_empty() {
            push(&mut payload, libc::RTA_DST, destination);
        }
        push(&mut payload, libc::RTA_TABLE, &table.to_ne_bytes());
        decode(&Message {
            kind: libc::RTM_NEWROUTE,
            flags: 0,
            sequence: 0,
            payload: &payload,
        })
    }

    #[test]
    fn routes_by_which_packets_stay_are_local_in_every_table() {
        for kind in LOCAL_TYPES {
            for table in [255, 254, 1_000] {
                let found = route(kind, table, 24, &[198, 51, 100, 0]);
                assert_eq!(found, Some("198.51.100.0/24".parse().unwrap()));
            }
        }
        assert_eq!(route(libc::RTN_UNICAST, 255, 24, &[198, 51, 100, 0]), None);
        let anycast = route(libc::RTN_ANYCAST, 255, 128, &[0xfd; 16]);
        assert_eq!(anycast, Some(IpNet::from(IpAddr::from([0xfd; 16]))));
    }

    #[test]
    fn everything_is_local_only_where_no_mark_decides() {
        let all = Some("0.0.0.0/0".parse().unwrap());
        assert_eq!(route(libc::RTN_LOCAL, 254, 0, &[]), all);
        assert_eq!(route(libc::RTN_LOCAL, 100, 0, &[]), None);
    }
}
