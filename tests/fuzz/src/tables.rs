//! Operations of a plan on the maps in memory.
//!
//! Written from the layouts in `policy-common`, not from the agent's encoding, so that comparing
//! the two finds mistakes of either.

use std::net::IpAddr;

use policy_common::{
    AddressEntry, Endpoint, PortEntry, PortKey, PortSet, PortSetId, RuleKey, V4, V6, Verdict,
    limits::INLINE_PORTS,
};
use policy_core::plan::{EndpointEntry, Op, PortRange, PortSetEntry};
use policy_ebpf::memory::MemoryWorld;

/// Executes one operation. `epoch` is what an endpoint gets that needs a new one.
pub fn execute(world: &mut MemoryWorld, op: &Op, epoch: u32) {
    match op {
        Op::PutPortSet(id, entries) => put_port_set(world, *id, entries),
        Op::DeletePortSet(id, _) => {
            world.port_sets.remove(id);
            let number = id.0.to_be_bytes();
            world.ports.retain(|(key, _), _| key.set != number);
        }
        Op::PutRule(ruleset, identity, ports) => {
            let key = RuleKey {
                ruleset: *ruleset,
                identity: *identity,
            };
            world.rules.insert(key, *ports);
        }
        Op::DeleteRule(ruleset, identity) => {
            world.rules.remove(&RuleKey {
                ruleset: *ruleset,
                identity: *identity,
            });
        }
        Op::PutAddress {
            address,
            identity,
            owner,
            host,
        } => {
            let entry = AddressEntry {
                identity: *identity,
                owner: owner.unwrap_or_default(),
                flags: u16::from(*host),
            };
            match address {
                IpAddr::V4(address) => {
                    world.addresses_v4.insert(V4(address.octets()), entry);
                }
                IpAddr::V6(address) => {
                    world.addresses_v6.insert(V6(address.octets()), entry);
                }
            }
        }
        Op::DeleteAddress(IpAddr::V4(address)) => {
            world.addresses_v4.remove(&V4(address.octets()));
        }
        Op::DeleteAddress(IpAddr::V6(address)) => {
            world.addresses_v6.remove(&V6(address.octets()));
        }
        Op::PutCidr(net, identity) => {
            let bits = u32::from(net.prefix_len());
            match net.network() {
                IpAddr::V4(first) => {
                    world.cidrs_v4.insert((V4(first.octets()), bits), *identity);
                }
                IpAddr::V6(first) => {
                    world.cidrs_v6.insert((V6(first.octets()), bits), *identity);
                }
            }
        }
        Op::DeleteCidr(net) => {
            let bits = u32::from(net.prefix_len());
            match net.network() {
                IpAddr::V4(first) => {
                    world.cidrs_v4.remove(&(V4(first.octets()), bits));
                }
                IpAddr::V6(first) => {
                    world.cidrs_v6.remove(&(V6(first.octets()), bits));
                }
            }
        }
        Op::PutEndpoint(entry) => put_endpoint(world, entry, epoch),
        Op::DeleteEndpoint { ifindex, .. } => {
            world.remove_endpoint(*ifindex);
        }
        Op::Grace => {}
    }
}

fn put_port_set(world: &mut MemoryWorld, id: PortSetId, entries: &[PortSetEntry]) {
    let bits = |entry: &PortSetEntry| match entry.range {
        PortRange::AnyProtocol => PortKey::ANY_PROTOCOL_BITS,
        PortRange::Protocol(_) => PortKey::PROTOCOL_BITS,
        PortRange::Prefix { bits, .. } => PortKey::PROTOCOL_BITS + u32::from(bits),
    };
    let mut set = PortSet::default();
    if entries.len() > INLINE_PORTS {
        set.in_trie = 1;
        for entry in entries {
            let (protocol, port) = match entry.range {
                PortRange::AnyProtocol => (0, 0),
                PortRange::Protocol(protocol) => (protocol, 0),
                PortRange::Prefix { protocol, port, .. } => (protocol, port),
            };
            let key = PortKey::new(id, protocol, port);
            world.ports.insert((key, bits(entry)), entry.verdict);
        }
    } else {
        let mut entries = entries.to_vec();
        entries.sort_by_key(|entry| std::cmp::Reverse(bits(entry)));
        set.count = entries.len() as u32;
        for (slot, entry) in set.inline.iter_mut().zip(&entries) {
            *slot = inline(entry.range, entry.verdict);
        }
    }
    world.port_sets.insert(id, set);
}

fn inline(range: PortRange, verdict: Verdict) -> PortEntry {
    let (any_protocol, protocol, port, bits) = match range {
        PortRange::AnyProtocol => (1, 0, 0, 0),
        PortRange::Protocol(protocol) => (0, protocol, 0, 0),
        PortRange::Prefix {
            protocol,
            port,
            bits,
        } => (0, protocol, port, bits),
    };
    PortEntry {
        port,
        mask: (0xffff_0000_u32 >> bits) as u16,
        protocol,
        any_protocol,
        verdict,
        reserved: 0,
    }
}

fn put_endpoint(world: &mut MemoryWorld, entry: &EndpointEntry, epoch: u32) {
    let before = world.endpoints.get(&entry.id);
    let keeps = before.filter(|before| !entry.new_epoch && before.ifindex == entry.ifindex);
    let mut endpoint = Endpoint {
        epoch: keeps.map_or(epoch, |before| before.epoch),
        ifindex: entry.ifindex,
        id: entry.id,
        bridge: entry.bridge.unwrap_or(0),
        pod_tag: entry.pod_tag,
        ..Endpoint::default()
    };
    if entry.unknown {
        endpoint.flags |= Endpoint::UNKNOWN;
    }
    if let Some(rules) = entry.ingress {
        endpoint.flags |= Endpoint::INGRESS_ISOLATED;
        endpoint.flags |= u16::from(rules.has_blocks) * Endpoint::INGRESS_BLOCKS;
        endpoint.ingress.ruleset = rules.ruleset;
        endpoint.ingress.default_ports = rules.default_ports;
    }
    if let Some(rules) = entry.egress {
        endpoint.flags |= Endpoint::EGRESS_ISOLATED;
        endpoint.flags |= u16::from(rules.has_blocks) * Endpoint::EGRESS_BLOCKS;
        endpoint.egress.ruleset = rules.ruleset;
        endpoint.egress.default_ports = rules.default_ports;
    }
    let mut addresses = entry.addresses.iter();
    endpoint.v4 = addresses
        .clone()
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(V4(address.octets())),
            IpAddr::V6(_) => None,
        })
        .unwrap_or_default();
    endpoint.v6 = addresses
        .find_map(|address| match address {
            IpAddr::V6(address) => Some(V6(address.octets())),
            IpAddr::V4(_) => None,
        })
        .unwrap_or_default();
    world.put_endpoint(endpoint);
}
