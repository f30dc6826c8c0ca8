//! What the programs told about packets they dropped.
//!
//! The events are the programs' own; nothing here decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use policy_agent::datapath::Datapath;
use policy_common::{Config, Direction, Event, Reason};

use super::packet::Ends;

/// Every drop of a step is told.
pub(crate) const CONFIG: Config = Config {
    event_burst: 1 << 20,
    ..Config::DEFAULT
};

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drop {
    /// The packet's own.
    pub(crate) ends: Ends,
    /// Which side dropped it, and why.
    pub(crate) why: String,
}

/// Everything that was dropped since the last call.
pub(crate) fn read(datapath: &mut Datapath) -> Vec<Drop> {
    datapath
        .read_events(usize::MAX)
        .iter()
        .filter_map(dropped)
        .collect()
}

fn dropped(event: &Event) -> Option<Drop> {
    let reason = Reason::from_u8(event.reason).filter(|reason| reason.is_drop())?;
    let direction = if event.direction == Direction::Ingress as u8 {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    let end = |address: [u8; 16], port: [u8; 2]| {
        let [a, b, c, d, ..] = address;
        let address = match event.family {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from(address)),
        };
        SocketAddr::new(address, u16::from_be_bytes(port))
    };
    Some(Drop {
        ends: Ends {
            source: end(event.source, event.source_port),
            destination: end(event.destination, event.destination_port),
        },
        why: format!("{}: {}", direction.name(), reason.name()),
    })
}
