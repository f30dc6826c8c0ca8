//! From events of the programs to lines that people read.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use policy_common::{Direction, EndpointId, Event, Reason, RulesetId};

use policy_core::model::{Change, ObjectName};

use super::Agent;
use crate::telemetry::drops::{DropLine, Peer};

impl Agent {
    /// Logs what was dropped.
    pub(super) fn report_drops(&self, events: &[Event]) {
        for event in events {
            if let Some(drop) = self.describe(event) {
                #[cfg(feature = "health")]
                if matches!(drop.reason, Reason::Policy | Reason::FlowDenied) {
                    self.measured.denied(&drop.policies);
                }
                drop.log();
                self.observers.tell((&drop).into());
            }
        }
    }

    /// Logs how many were dropped without a line of their own, where no line of another said so.
    pub(super) fn report_untold(&self, drops: &BTreeMap<EndpointId, u32>) {
        for (endpoint, suppressed) in drops {
            let port = self.ports.iter().find(|(_, port)| {
                let fact = port.fact.as_ref();
                fact.is_some_and(|fact| fact.id == *endpoint)
            });
            let pod = self.attribution.pod(*endpoint);
            tracing::info!(
                pod = pod.map(tracing::field::display),
                interface = port.map(|(ifindex, _)| self.ports.name(ifindex)),
                suppressed,
                "more were dropped"
            );
        }
    }

    /// `None` for packets that passed.
    fn describe(&self, event: &Event) -> Option<DropLine> {
        let reason = Reason::from_u8(event.reason).filter(|reason| reason.is_drop())?;
        let direction = if event.direction == Direction::Ingress as u8 {
            Direction::Ingress
        } else {
            Direction::Egress
        };
        let ruleset = RulesetId(event.ruleset);
        let judges = self.attribution.of(event.endpoint, direction, ruleset);
        let (pod, policies) =
            judges.map_or_else(Default::default, |judges| (judges.pod, judges.policies));
        let peer = match direction {
            Direction::Ingress => address(event.family, event.source),
            Direction::Egress => address(event.family, event.destination),
        };
        Some(DropLine {
            direction,
            interface: self.ports.name(event.ifindex),
            policies,
            pod,
            at: time_of(event),
            source: address(event.family, event.source),
            source_port: u16::from_be_bytes(event.source_port),
            peer: peer.map(|address| self.peer(address, event.time)),
            protocol: event.protocol,
            family: event.family,
            ethertype: u16::from_be_bytes(event.ethertype),
            port: u16::from_be_bytes(event.destination_port),
            icmp: (event.icmp_type, event.icmp_code),
            reason,
            suppressed: event.suppressed,
        })
    }

    /// The other side, as it was then.
    fn peer(&self, address: IpAddr, then: u64) -> Peer {
        let former = self.former.at(address, then);
        Peer {
            address,
            pod: former
                .unwrap_or_else(|| self.resolver.pod_at(address))
                .cloned(),
            is_host: self.host_addresses.contains(&address),
        }
    }
    /// Who has the addresses that a change may give to somebody else.
    pub(super) fn owners(&self, change: &Change) -> Vec<(IpAddr, Option<ObjectName>)> {
        let (name, claimed) = match change {
            Change::Pod(pod) => (&pod.name, pod.addresses.as_slice()),
            Change::PodRemoved(name) => (name, &[][..]),
            _ => return Vec::new(),
        };
        let own = self.resolver.addresses_of(name);
        let gained = claimed.iter().filter(|address| !own.contains(address));
        let all = own.iter().chain(gained).copied();
        all.map(|address| (address, self.resolver.pod_at(address).cloned()))
            .collect()
    }

    /// Remembers who lost an address.
    pub(super) fn note_former(&mut self, owners: Vec<(IpAddr, Option<ObjectName>)>) {
        for (address, owner) in owners {
            if self.resolver.pod_at(address) != owner.as_ref() {
                self.former.was(address, owner, self.turn + 1);
            }
        }
    }
}

/// Nanoseconds since boot, as the programs count.
pub(super) fn since_boot() -> u64 {
    u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// When the packet was judged.
fn time_of(event: &Event) -> Timestamp {
    let now = Timestamp::now();
    let age = monotonic().saturating_sub(Duration::from_nanos(event.time));
    now.checked_sub(age).unwrap_or(now)
}

/// Since boot, as the programs count.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Into::into)
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, ..] = bytes;
    match family {
        4 => Some(Ipv4Addr::new(a, b, c, d).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_the_packet_was_judged_and_not_when_it_is_read() {
        let ago = Duration::from_secs(21);
        let event = Event {
            time: u64::try_from((monotonic() - ago).as_nanos()).unwrap(),
            ..Event::default()
        };
        let off = Timestamp::now().duration_since(time_of(&event)) - ago.try_into().unwrap();
        assert!(off.abs().as_secs() < 2, "{off:?}");
    }

    #[test]
    fn an_event_from_the_future_is_of_now() {
        let event = Event {
            time: u64::MAX,
            ..Event::default()
        };
        assert!(time_of(&event) <= Timestamp::now());
    }
}
