//! A node in memory for the fuzz target: endpoints with and without policy, peers of every kind.

use std::net::{Ipv4Addr, Ipv6Addr};

use policy_common::{
    AddressEntry, DirectionRules, Endpoint, EndpointId, IdentityId, PortEntry, PortSet, PortSetId,
    RuleKey, RulesetId, V4, V6, Verdict,
};
use policy_ebpf::memory::MemoryWorld;

use super::shot::{Place, Pool};

/// The interface of an endpoint with rules in both directions.
pub(super) const RULED: u32 = 11;
/// The interface of an endpoint to which nothing is allowed.
pub(super) const CLOSED: u32 = 12;
/// The interface of an endpoint without policy.
pub(super) const FREE: u32 = 13;
/// The interface of a pod that is not known yet.
pub(super) const UNKNOWN: u32 = 14;
/// An interface that is no endpoint's.
const UPLINK: u32 = 2;

/// Maps and what to shoot at them.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The maps.
    pub world: MemoryWorld,
    /// The packets.
    pub pool: Pool,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// The only one there is.
    pub fn new() -> Self {
        let mut world = MemoryWorld::default();
        // Limits that a short run meets.
        (
            world.config.pod_opened_limit,
            world.config.peer_opened_limit,
        ) = (6, 6);
        world.max_flows = 20;
        world.tunnel_ports.insert(4789);
        world.locals_v4.insert((V4([192, 168, 1, 0]), 24), 1);
        let mut places = Vec::new();
        let flags = Endpoint::INGRESS_ISOLATED | Endpoint::EGRESS_ISOLATED;
        for (ifindex, flags) in [
            (
                RULED,
                flags | Endpoint::INGRESS_BLOCKS | Endpoint::EGRESS_BLOCKS,
            ),
            (CLOSED, flags),
            (FREE, 0),
            (UNKNOWN, Endpoint::UNKNOWN),
        ] {
            let place = Place {
                ifindex,
                v4: Ipv4Addr::new(10, 0, 0, ifindex as u8),
                v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, ifindex as u16),
            };
            places.push(place);
            add_endpoint(&mut world, place, flags);
        }
        add_rules(&mut world);
        let text = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let mut v4: Vec<Ipv4Addr> = text(&[
            "192.0.2.1",
            "192.168.1.1",
            "10.9.9.9",
            "224.0.0.22",
            "255.255.255.255",
            "0.0.0.0",
            "127.0.0.1",
        ]);
        v4.extend(places.iter().map(|place| place.v4));
        let texts = [
            "2001:db8:ff::1",
            "2001:db8:1::1",
            "fe80::1",
            "fe80::9",
            "ff02::1",
            "ff0e::1",
            "::",
            "::1",
        ];
        let mut v6: Vec<Ipv6Addr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        v6.extend(places.iter().map(|place| place.v6));
        Self {
            world,
            pool: Pool {
                places,
                v4,
                v6,
                ports: vec![80, 81, 8080, 53, 67, 68, 4789],
                interfaces: vec![0, UPLINK, RULED, CLOSED],
            },
        }
    }
}

fn add_endpoint(world: &mut MemoryWorld, place: Place, flags: u16) {
    let id = EndpointId(place.ifindex as u16 + 100);
    let rules = DirectionRules {
        ruleset: RulesetId(place.ifindex),
        default_ports: PortSetId::DENY_ALL,
    };
    world.put_endpoint(Endpoint {
        epoch: 1,
        ifindex: place.ifindex,
        ingress: rules,
        egress: rules,
        v4: V4(place.v4.octets()),
        v6: V6(place.v6.octets()),
        id,
        flags,
        ..Endpoint::default()
    });
    let entry = AddressEntry {
        identity: IdentityId(20),
        owner: id,
        flags: 0,
    };
    world.addresses_v4.insert(V4(place.v4.octets()), entry);
    world.addresses_v6.insert(V6(place.v6.octets()), entry);
}

/// Pods may use port 80, the block everything, the host is the host.
fn add_rules(world: &mut MemoryWorld) {
    let host = AddressEntry {
        identity: IdentityId::WORLD,
        owner: EndpointId::NONE,
        flags: AddressEntry::HOST,
    };
    world.addresses_v4.insert(V4([192, 0, 2, 1]), host);
    let mut node = [0; 16];
    node[..6].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0xff]);
    node[15] = 1;
    world.addresses_v6.insert(V6(node), host);
    world
        .cidrs_v4
        .insert((V4([192, 168, 0, 0]), 16), IdentityId(21));
    let mut block = [0; 16];
    block[..6].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 1]);
    world.cidrs_v6.insert((V6(block), 48), IdentityId(21));
    let mut web = PortSet {
        count: 2,
        ..PortSet::default()
    };
    for (slot, protocol) in web.inline.iter_mut().zip([6, 17]) {
        *slot = PortEntry {
            port: 80,
            mask: 0xffff,
            protocol,
            verdict: Verdict::ALLOW,
            ..PortEntry::default()
        };
    }
    world.port_sets.insert(PortSetId(2), web);
    for (identity, ports) in [
        (IdentityId::HOST, PortSetId::ALLOW_ALL),
        (IdentityId::SELF, PortSetId::ALLOW_ALL),
        (IdentityId(20), PortSetId(2)),
        (IdentityId(21), PortSetId::ALLOW_ALL),
    ] {
        let ruleset = RulesetId(RULED);
        world.rules.insert(RuleKey { ruleset, identity }, ports);
    }
}
