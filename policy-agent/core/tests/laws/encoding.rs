//! What a plan writes is what the layouts say, and what the programs read is what the plan means.
//!
//! The encoding here is written a second time, from the layouts in `policy-common` and not from the
//! product's, so that comparing the two finds mistakes of either.

use std::net::IpAddr;

use policy_common::{
    AddressEntry, Direction, Endpoint, IdentityId, PortEntry, PortKey, PortSet, PortSetId, RuleKey,
    V4, V6, Verdict, limits::INLINE_PORTS,
};
use policy_core::{
    laws::{
        Tables,
        strategies::{change, facts},
    },
    plan::{EndpointEntry, Op, PortRange, PortSetEntry},
    resolve::Resolver,
};
use policy_ebpf::{Port, memory::MemoryWorld, rules::ask};
use proptest::{collection::vec, prelude::*};

/// Executes one operation. `epoch` is what an endpoint gets that needs a new one.
fn execute(world: &mut MemoryWorld, op: &Op, epoch: u32) {
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
        endpoint.flags |= u16::from(entry.services_later) * Endpoint::SERVICES;
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

/// Both worlds after the same operations.
fn check(tables: &Tables, other: &MemoryWorld) -> Result<(), TestCaseError> {
    let world = tables.world();
    prop_assert_eq!(&world.port_sets, &other.port_sets);
    prop_assert_eq!(&world.ports, &other.ports);
    prop_assert_eq!(&world.rules, &other.rules);
    prop_assert_eq!(&world.addresses_v4, &other.addresses_v4);
    prop_assert_eq!(&world.addresses_v6, &other.addresses_v6);
    prop_assert_eq!(&world.cidrs_v4, &other.cidrs_v4);
    prop_assert_eq!(&world.cidrs_v6, &other.cidrs_v6);
    prop_assert_eq!(&world.interfaces, &other.interfaces);
    prop_assert_eq!(&world.endpoints, &other.endpoints);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_encodings_of_every_plan_write_the_same(
        facts in facts(),
        changes in vec(change(), 1..12),
    ) {
        let (mut resolver, mut tables) = (Resolver::new(), Tables::default());
        let mut other = MemoryWorld::default();
        let changes = facts.changes().chain(changes);
        for (step, change) in changes.enumerate() {
            resolver.apply(change);
            let mut ops = resolver.commit();
            if step % 3 == 0 {
                ops.extend(resolver.collect());
            }
            for op in &ops {
                tables.execute(op);
                let epoch = match op {
                    Op::PutEndpoint(entry) => tables.world().endpoints[&entry.id].epoch,
                    _ => 0,
                };
                execute(&mut other, op, epoch);
            }
            check(&tables, &other)?;
        }
    }
}

const TCP: u8 = 6;

fn ports(port: u16, bits: u8, verdict: Verdict) -> PortSetEntry {
    let range = PortRange::Prefix {
        protocol: TCP,
        port,
        bits,
    };
    PortSetEntry { range, verdict }
}

/// Tables with one port set, the default of an endpoint.
fn with_set(entries: &[PortSetEntry]) -> (Tables, Endpoint) {
    let mut tables = Tables::default();
    tables.execute(&Op::PutPortSet(PortSetId(9), entries.into()));
    let mut endpoint = Endpoint::default();
    endpoint.ingress.default_ports = PortSetId(9);
    (tables, endpoint)
}

fn says((tables, endpoint): &(Tables, Endpoint), protocol: u8, port: Option<u16>) -> Verdict {
    let direction = Direction::Ingress;
    let world = tables.world();
    ask(
        world,
        endpoint,
        direction,
        IdentityId(20),
        protocol,
        port.map_or(Port::NONE, Port::of),
    )
    .verdict()
}

/// More entries, of a protocol that nobody asks about: the set stands in the trie.
fn in_trie(entries: &[PortSetEntry]) -> Vec<PortSetEntry> {
    let fillers = (0..=INLINE_PORTS as u16).map(|port| PortSetEntry {
        range: PortRange::Prefix {
            protocol: 99,
            port,
            bits: 16,
        },
        verdict: Verdict::ALLOW,
    });
    entries.iter().copied().chain(fillers).collect()
}

#[test]
fn the_narrower_entry_counts_whatever_the_order() {
    let wide = PortSetEntry {
        range: PortRange::AnyProtocol,
        verdict: Verdict::ALLOW,
    };
    let narrow = ports(80, 16, Verdict::DENY);
    for entries in [[wide, narrow], [narrow, wide]] {
        for entries in [entries.to_vec(), in_trie(&entries)] {
            let set = with_set(&entries);
            assert_eq!(says(&set, TCP, Some(80)), Verdict::DENY);
            assert_eq!(says(&set, TCP, Some(81)), Verdict::ALLOW);
            assert_eq!(says(&set, TCP, None), Verdict::ALLOW);
        }
    }
}

#[test]
fn inline_and_trie_mean_the_same_for_every_port() {
    let entries = [
        ports(0x8000, 1, Verdict::ALLOW),
        ports(0x1F90, 16, Verdict::ALLOW),
        ports(0x2000, 5, Verdict::ALLOW),
        ports(0x9000, 4, Verdict::DENY),
        PortSetEntry {
            range: PortRange::Protocol(17),
            verdict: Verdict::ALLOW,
        },
    ];
    let (inline, trie) = (with_set(&entries), with_set(&in_trie(&entries)));
    assert!(inline.0.world().ports.is_empty() && !trie.0.world().ports.is_empty());
    for protocol in [TCP, 17, 132] {
        for port in (0..=u16::MAX).map(Some).chain([None]) {
            assert_eq!(
                says(&inline, protocol, port),
                says(&trie, protocol, port),
                "protocol {protocol} port {port:?}"
            );
        }
    }
}
