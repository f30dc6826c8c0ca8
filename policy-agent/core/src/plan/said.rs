//! What tables say of a connection that a pod opens, as the programs read them.
//!
//! Knows no packets and no flows: for connections that are judged without one.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use policy_common::{IdentityId, PortSetId};

use super::{
    contents::Contents,
    op::{DirectionEntry, EndpointEntry, PortRange, PortSetEntry},
};

impl Contents {
    /// Whether the endpoint's rules let it open a connection to this address by this protocol (IANA number) and
    /// port, 0 for protocols without ports; an address is nobody's but who has it.
    pub fn lets_out(
        &self,
        endpoint: &EndpointEntry,
        peer: IpAddr,
        protocol: u8,
        port: u16,
    ) -> bool {
        if endpoint.unknown {
            return self.is_host(peer);
        }
        let Some(rules) = endpoint.egress else {
            return true;
        };
        let Some(identity) = self.identity(endpoint, rules, peer) else {
            return true;
        };
        let listed = self.rules.get(&(rules.ruleset, identity)).copied();
        match listed.unwrap_or(rules.default_ports) {
            PortSetId::ALLOW_ALL => true,
            PortSetId::DENY_ALL => false,
            set => self
                .port_sets
                .get(&set)
                .is_some_and(|entries| is_allowed(entries, protocol, port)),
        }
    }

    fn is_host(&self, address: IpAddr) -> bool {
        self.addresses.get(&address).is_some_and(|value| value.host)
    }

    /// `None` of whoever is always allowed: this host, and the pod itself.
    fn identity(
        &self,
        endpoint: &EndpointEntry,
        rules: DirectionEntry,
        peer: IpAddr,
    ) -> Option<IdentityId> {
        if endpoint.addresses.contains(&peer) || self.is_host(peer) {
            return None;
        }
        if let Some(value) = self.addresses.get(&peer) {
            return Some(value.identity);
        }
        let block = rules.has_blocks.then(|| self.block(peer)).flatten();
        Some(block.unwrap_or(IdentityId::WORLD))
    }

    /// What the longest prefix around an address says.
    fn block(&self, address: IpAddr) -> Option<IdentityId> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (0..=bits).rev().find_map(|bits| {
            let net = IpNet::new(address, bits).ok()?.trunc();
            self.cidrs.get(&net).copied()
        })
    }
}

/// The narrowest range counts.
fn is_allowed(entries: &Arc<[PortSetEntry]>, protocol: u8, port: u16) -> bool {
    let width = |entry: &&PortSetEntry| match entry.range {
        PortRange::AnyProtocol => Some(0),
        PortRange::Protocol(number) => (number == protocol).then_some(1),
        PortRange::Prefix {
            protocol: number,
            port: first,
            bits,
        } => {
            let mask = u16::MAX
                .checked_shl(16 - u32::from(bits.min(16)))
                .unwrap_or(0);
            (number == protocol && port & mask == first).then_some(1 + u32::from(bits))
        }
    };
    let matching = entries.iter().filter(|entry| width(entry).is_some());
    matching
        .max_by_key(|entry| width(entry))
        .is_some_and(|entry| entry.verdict.allows())
}
