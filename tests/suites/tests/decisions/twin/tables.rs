//! What a node's maps in memory say, as operations on the kernel's.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use policy_agent::datapath::Datapath;
use policy_common::{
    AddressEntry, Config, Endpoint, EndpointId, IdentityId, PortEntry, PortSet, V4, V6,
};
use policy_core::plan::{
    DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry,
    encode::{self, EncodedPortSet},
};
use policy_ebpf::{Stamp, memory::MemoryWorld};

/// Numbers of the kernel's endpoints begin here.
const FIRST: u16 = 100;

/// Whether operations can say all that these maps hold.
pub(super) fn can_follow(world: &MemoryWorld) -> bool {
    let untouched = MemoryWorld::default();
    let config = Config {
        hz: untouched.config.hz,
        ..world.config
    };
    config == untouched.config
        && world.now == untouched.now
        && world.max_flows == untouched.max_flows
        && world.ports.is_empty()
        && !world.carries.get()
        && world.endpoints.len() == world.interfaces.len()
        && world.endpoints.values().all(|endpoint| {
            let said = encode::endpoint(&entry(endpoint, endpoint.id, true), endpoint.epoch);
            said == endpoint.sealed()
        })
        && world.port_sets.iter().all(|(id, set)| {
            let said = encode::port_set(*id, &entries(set));
            said == EncodedPortSet {
                header: *set,
                trie: Vec::new(),
            }
        })
        && world.addresses_v4.entries().values().all(is_plain)
        && world.addresses_v6.entries().values().all(is_plain)
}

fn is_plain(entry: &AddressEntry) -> bool {
    entry.flags & !AddressEntry::HOST == 0
}

/// What the kernel holds.
#[derive(Default)]
pub(super) struct Tables {
    /// The kernel's numbers of the node's endpoints.
    numbers: BTreeMap<EndpointId, EndpointId>,
    used: u16,
    ops: BTreeMap<String, Op>,
    epochs: BTreeMap<u32, u32>,
}

impl Tables {
    /// Writes what changed. Endpoints of a new node have numbers that no flow has yet.
    pub(super) fn write(&mut self, datapath: &mut Datapath, world: &MemoryWorld, is_new: bool) {
        if is_new {
            self.numbers.clear();
            self.epochs.clear();
        }
        for id in world.endpoints.keys() {
            if !self.numbers.contains_key(id) {
                self.used += 1;
                self.numbers.insert(*id, EndpointId(FIRST + self.used));
            }
        }
        let wanted = self.wanted(world);
        let mut ops: Vec<Op> = Vec::new();
        for (what, op) in &self.ops {
            if !wanted.contains_key(what) {
                ops.extend(undo(op));
            }
        }
        let mut puts: Vec<_> = wanted
            .iter()
            .filter(|(what, op)| self.ops.get(*what) != Some(*op))
            .map(|(_, op)| op.clone())
            .collect();
        puts.sort_by_key(|op| matches!(op, Op::PutEndpoint(_)));
        ops.extend(puts);
        let failures = datapath.apply(&ops);
        assert!(failures.is_empty(), "{failures:?}");
        if !ops.is_empty() {
            datapath.settle().expect("settled");
        }
        self.epochs = world
            .endpoints
            .values()
            .map(|e| (e.ifindex, e.epoch))
            .collect();
        // What was new is no more.
        self.ops = self.wanted(world);
        if is_new {
            let ports: Vec<u16> = world.tunnel_ports.iter().copied().collect();
            datapath.set_tunnel_ports(&ports).expect("tunnel ports");
        }
        datapath
            .set_ifbs(&world.ifbs.iter().copied().collect())
            .expect("IFBs");
        datapath
            .set_local_routes(&locals(world))
            .expect("local routes");
        datapath.set_services(&services(world)).expect("Services");
    }

    /// A stamp as the kernel's programs write it.
    pub(super) fn stamp(&self, stamp: u16) -> u16 {
        let stamp = Stamp(stamp);
        let number = self.numbers.get(&stamp.endpoint()).copied();
        match number.filter(|_| stamp.is_stamp()) {
            Some(number) if stamp.is_owed() => Stamp::owed(number).0,
            Some(number) => Stamp::judged(number).0,
            None => stamp.0,
        }
    }

    fn number(&self, id: EndpointId) -> Option<EndpointId> {
        (id != EndpointId::NONE).then(|| self.numbers.get(&id).copied().unwrap_or(id))
    }

    /// The operations that make the world's tables, by what they write.
    fn wanted(&self, world: &MemoryWorld) -> BTreeMap<String, Op> {
        let mut wanted = BTreeMap::new();
        for (id, set) in &world.port_sets {
            wanted.insert(
                format!("set {id:?}"),
                Op::PutPortSet(*id, entries(set).into()),
            );
        }
        for (key, ports) in world.rules.entries() {
            let op = Op::PutRule(key.ruleset, key.identity, ports);
            wanted.insert(format!("rule {key:?}"), op);
        }
        let v4 = world
            .addresses_v4
            .entries()
            .into_iter()
            .map(|(a, e)| (std::net::IpAddr::from(a.0), e));
        let v6 = world
            .addresses_v6
            .entries()
            .into_iter()
            .map(|(a, e)| (std::net::IpAddr::from(a.0), e));
        for (address, entry) in v4.chain(v6) {
            let op = Op::PutAddress {
                address,
                identity: entry.identity,
                owner: self.number(entry.owner),
                host: entry.flags & AddressEntry::HOST != 0,
            };
            wanted.insert(format!("address {address}"), op);
        }
        for (net, identity) in cidrs(world) {
            wanted.insert(format!("block {net}"), Op::PutCidr(net, identity));
        }
        for endpoint in world.endpoints.values() {
            let is_new = self.epochs.get(&endpoint.ifindex) != Some(&endpoint.epoch);
            let number = self.number(endpoint.id).unwrap_or_default();
            let op = Op::PutEndpoint(entry(endpoint, number, is_new));
            wanted.insert(format!("interface {}", endpoint.ifindex), op);
        }
        wanted
    }
}

fn undo(op: &Op) -> Option<Op> {
    Some(match op {
        Op::PutPortSet(id, entries) => Op::DeletePortSet(*id, entries.clone()),
        Op::PutRule(ruleset, identity, _) => Op::DeleteRule(*ruleset, *identity),
        Op::PutAddress { address, .. } => Op::DeleteAddress(*address),
        Op::PutCidr(net, _) => Op::DeleteCidr(*net),
        Op::PutEndpoint(entry) => Op::DeleteEndpoint {
            ifindex: entry.ifindex,
            id: entry.id,
        },
        _ => return None,
    })
}

fn entry(endpoint: &Endpoint, id: EndpointId, new_epoch: bool) -> EndpointEntry {
    let rules = |isolated: u16, blocks: u16, rules: policy_common::DirectionRules| {
        endpoint.has(isolated).then_some(DirectionEntry {
            ruleset: rules.ruleset,
            default_ports: rules.default_ports,
            has_blocks: endpoint.has(blocks),
        })
    };
    let v4 = (endpoint.v4 != V4::default()).then(|| endpoint.v4.0.into());
    let v6 = (endpoint.v6 != V6::default()).then(|| endpoint.v6.0.into());
    EndpointEntry {
        ifindex: endpoint.ifindex,
        id,
        bridge: (endpoint.bridge != 0).then_some(endpoint.bridge),
        ingress: rules(
            Endpoint::INGRESS_ISOLATED,
            Endpoint::INGRESS_BLOCKS,
            endpoint.ingress,
        ),
        egress: rules(
            Endpoint::EGRESS_ISOLATED,
            Endpoint::EGRESS_BLOCKS,
            endpoint.egress,
        ),
        addresses: [v4, v6].into_iter().flatten().collect(),
        unknown: endpoint.has(Endpoint::UNKNOWN),
        pod_tag: endpoint.pod_tag,
        mac: endpoint.has(Endpoint::MAC).then_some(endpoint.mac),
        eui_64: endpoint.has(Endpoint::EUI_64),
        services_later: endpoint.has(Endpoint::SERVICES),
        new_epoch,
    }
}

fn entries(set: &PortSet) -> Vec<PortSetEntry> {
    let inline = set.inline.iter().take(set.count as usize);
    let range = |entry: &PortEntry| match (entry.any_protocol, entry.mask) {
        (0, 0) => PortRange::Protocol(entry.protocol),
        (0, mask) => PortRange::Prefix {
            protocol: entry.protocol,
            port: entry.port,
            bits: mask.leading_ones() as u8,
        },
        _ => PortRange::AnyProtocol,
    };
    inline
        .map(|entry| PortSetEntry {
            range: range(entry),
            verdict: entry.verdict,
        })
        .collect()
}

fn cidrs(world: &MemoryWorld) -> Vec<(IpNet, IdentityId)> {
    let v4 = world
        .cidrs_v4
        .iter()
        .map(|((net, bits), id)| (net_v4(*net, *bits), *id));
    let v6 = world
        .cidrs_v6
        .iter()
        .map(|((net, bits), id)| (net_v6(*net, *bits), *id));
    v4.chain(v6).collect()
}

fn locals(world: &MemoryWorld) -> Vec<IpNet> {
    let v4 = world
        .locals_v4
        .keys()
        .map(|(net, bits)| net_v4(*net, *bits));
    let v6 = world
        .locals_v6
        .keys()
        .map(|(net, bits)| net_v6(*net, *bits));
    v4.chain(v6).collect()
}

fn net_v4(net: V4, bits: u32) -> IpNet {
    Ipv4Net::new(net.0.into(), bits as u8)
        .expect("a prefix")
        .into()
}

fn net_v6(net: V6, bits: u32) -> IpNet {
    Ipv6Net::new(net.0.into(), bits as u8)
        .expect("a prefix")
        .into()
}

fn services(world: &MemoryWorld) -> Vec<IpNet> {
    let v4 = world
        .services_v4
        .keys()
        .map(|(net, bits)| net_v4(*net, *bits));
    let v6 = world
        .services_v6
        .keys()
        .map(|(net, bits)| net_v6(*net, *bits));
    v4.chain(v6).collect()
}
