//! From events of the programs to lines that people read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use policy_common::{Direction, Event, Reason};
use policy_core::{model::ObjectName, plan::Op};

use super::Agent;
use crate::telemetry::{
    clock,
    drops::{Drop, Peer},
};

impl Agent {
    /// Logs what was dropped.
    pub(super) fn report_drops(&self, events: &[Event]) {
        // Both clocks are read once: lines of one reading keep their distances.
        let since_boot = clock::since_boot();
        for event in events {
            let age = since_boot.saturating_sub(Duration::from_nanos(event.time));
            let time = SystemTime::now().checked_sub(age);
            if let Some(drop) = self.describe(event, time.unwrap_or(SystemTime::UNIX_EPOCH)) {
                drop.log();
            }
        }
    }

    /// Remembers by which policies packets are judged from now on.
    pub(super) fn follow_judges(&mut self, ops: &[Op]) {
        for op in ops {
            let Op::PutEndpoint(entry) = op else { continue };
            let Some(port) = self.ports.get_mut(entry.ifindex) else {
                continue;
            };
            let directions = [
                (Direction::Ingress, &entry.ingress),
                (Direction::Egress, &entry.egress),
            ];
            for ((direction, entered), judged) in directions.into_iter().zip(&mut port.judged_by) {
                let ruleset = entered.as_ref().map_or(0, |entered| entered.ruleset.0);
                judged.follow(ruleset, self.resolver.policies_of(entry.ifindex, direction));
            }
        }
    }

    /// The policies by which a packet was judged: those of now, unless they came after it.
    fn judges(&self, event: &Event, direction: Direction) -> Arc<[ObjectName]> {
        let port = self.ports.get(event.ifindex);
        let [ingress, egress] = port.map(|port| &port.judged_by).map_or([None; 2], |both| {
            let [ingress, egress] = both;
            [Some(ingress), Some(egress)]
        });
        let judged = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        match judged {
            // Policies may change while what they say stays: these are newer than the entry.
            Some(judged) if judged.is_now(event.ruleset) => {
                self.resolver.policies_of(event.ifindex, direction)
            }
            Some(judged) => judged.policies(event.ruleset),
            None => [].into(),
        }
    }

    /// `None` for packets that passed.
    fn describe(&self, event: &Event, time: SystemTime) -> Option<Drop> {
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
            policies: self.judges(event, direction),
            time,
            source: address(event.family, event.source),
            source_port: u16::from_be_bytes(event.source_port),
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
