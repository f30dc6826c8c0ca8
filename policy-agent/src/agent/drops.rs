//! From events of the programs to lines that people read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_common::{Direction, Event, Reason};

use super::Agent;
use crate::telemetry::drops::{Drop, Peer};

impl Agent {
    /// Logs what was dropped.
    pub(super) fn report_drops(&self, events: &[Event]) {
        for event in events {
            if let Some(drop) = self.describe(event) {
                drop.log();
            }
        }
    }

    /// `None` for packets that passed.
    fn describe(&self, event: &Event) -> Option<Drop> {
        let reason = Reason::from_u8(event.reason).filter(|reason| reason.is_drop())?;
        let direction = if event.direction == Direction::Ingress as u8 {
            Direction::Ingress
        } else {
            Direction::Egress
        };
        let pod = self
            .ports
            .get(event.ifindex)
            .and_then(|port| port.fact.as_ref()?.pod.clone());
        let peer = match direction {
            Direction::Ingress => address(event.family, event.source),
            Direction::Egress => address(event.family, event.destination),
        };
        Some(Drop {
            direction,
            interface: self.ports.name(event.ifindex),
            policies: self.resolver.policies_of(event.ifindex, direction),
            pod,
            peer: peer.map(|address| self.peer(address)),
            protocol: event.protocol,
            family: event.family,
            ethertype: u16::from_be_bytes(event.ethertype),
            port: u16::from_be_bytes(event.destination_port),
            icmp: (event.icmp_type, event.icmp_code),
            reason,
            suppressed: event.suppressed,
        })
    }

    fn peer(&self, address: IpAddr) -> Peer {
        Peer {
            address,
            pod: self.resolver.pod_at(address).cloned(),
            is_host: self.host_addresses.contains(&address),
        }
    }
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    match family {
        4 => Some(Ipv4Addr::new(a, b, c, d).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}
