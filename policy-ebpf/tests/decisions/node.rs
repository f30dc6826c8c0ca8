//! A node with one pod whose two directions are isolated.

use std::net::IpAddr;

use policy_common::{
    AddressEntry, Direction, DirectionRules, Endpoint, EndpointId, IdentityId, PortEntry, PortSet,
    PortSetId, Reason, RuleKey, RulesetId, V4, V6, Verdict,
};
use policy_ebpf::{Decision, Origin, from_pod, memory::MemoryWorld, to_pod};

use crate::twin::{Shot, Twin};

/// The pod's interface.
pub(crate) const POD: u32 = 11;
/// An interface that is no endpoint's.
pub(crate) const UPLINK: u32 = 2;

/// The pod's addresses.
pub(crate) const OWN: [&str; 2] = ["10.0.0.9", "fd00::9"];
/// May use TCP 80 and UDP 53, both ways.
pub(crate) const CLIENT: [&str; 2] = ["10.0.0.1", "fd00::1"];
/// May do everything, both ways.
pub(crate) const FRIEND: [&str; 2] = ["10.0.0.2", "fd00::2"];
/// May do nothing.
pub(crate) const STRANGER: [&str; 2] = ["192.0.2.77", "2001:db8::77"];
/// This host.
pub(crate) const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

pub(crate) const ID: EndpointId = EndpointId(5);
const WEB: PortSetId = PortSetId(7);

/// The node.
pub(crate) struct Node {
    pub(crate) world: MemoryWorld,
    pub(crate) twin: Twin,
}

impl Node {
    pub(crate) fn new() -> Self {
        let mut world = MemoryWorld::default();
        let rules = DirectionRules {
            ruleset: RulesetId(3),
            default_ports: PortSetId::DENY_ALL,
        };
        world.put_endpoint(Endpoint {
            epoch: 1,
            ifindex: POD,
            ingress: rules,
            egress: rules,
            v4: v4(OWN[0]),
            v6: v6(OWN[1]),
            id: ID,
            flags: Endpoint::INGRESS_ISOLATED | Endpoint::EGRESS_ISOLATED,
            ..Endpoint::default()
        });
        let mut web = PortSet {
            count: 2,
            ..PortSet::default()
        };
        for (slot, (protocol, port)) in web.inline.iter_mut().zip([(6, 80), (17, 53)]) {
            *slot = PortEntry {
                port,
                mask: 0xffff,
                protocol,
                verdict: Verdict::ALLOW,
                ..PortEntry::default()
            };
        }
        world.port_sets.insert(WEB, web);
        let mut node = Self {
            world,
            twin: Twin::default(),
        };
        node.put(OWN, IdentityId(20), ID, 0);
        node.put(CLIENT, IdentityId(21), EndpointId::NONE, 0);
        node.put(FRIEND, IdentityId(22), EndpointId::NONE, 0);
        node.put(
            HOST,
            IdentityId::WORLD,
            EndpointId::NONE,
            AddressEntry::HOST,
        );
        node.rule(IdentityId::HOST, PortSetId::ALLOW_ALL);
        node.rule(IdentityId::SELF, PortSetId::ALLOW_ALL);
        node.rule(IdentityId(21), WEB);
        node.rule(IdentityId(22), PortSetId::ALLOW_ALL);
        node
    }

    /// Writes both addresses.
    pub(crate) fn put(
        &mut self,
        addresses: [&str; 2],
        identity: IdentityId,
        owner: EndpointId,
        flags: u16,
    ) {
        let entry = AddressEntry {
            identity,
            owner,
            flags,
        };
        self.world.addresses_v4.insert(v4(addresses[0]), entry);
        self.world.addresses_v6.insert(v6(addresses[1]), entry);
    }

    pub(crate) fn rule(&mut self, identity: IdentityId, ports: PortSetId) {
        let ruleset = RulesetId(3);
        self.world
            .rules
            .insert(RuleKey { ruleset, identity }, ports);
    }

    /// The pod's entry.
    pub(crate) fn pod(&self) -> &Endpoint {
        &self.world.endpoints[&ID]
    }

    /// The pod's entry, to change it.
    pub(crate) fn endpoint(&mut self) -> &mut Endpoint {
        self.world.endpoints.get_mut(&ID).expect("the pod")
    }

    /// With other flags.
    pub(crate) fn with(mut self, flags: u16) -> Self {
        self.endpoint().flags = flags;
        self
    }

    /// The client may do everything, or nothing, from now on.
    pub(crate) fn change(&mut self, ports: PortSetId) {
        self.rule(IdentityId(21), ports);
        self.endpoint().epoch += 1;
    }

    /// The pod sends a frame.
    pub(crate) fn sends(&self, frame: &[u8]) -> Reason {
        let origin = Origin {
            ifindex: POD,
            ingress_ifindex: POD,
            ..Origin::default()
        };
        let decide = || reason(from_pod::decide(&self.world, frame, &origin, self.pod()));
        let shot = Shot {
            hook: Direction::Egress,
            direction: Direction::Egress,
            frame,
            origin,
        };
        self.twin.beside(&self.world, &shot, decide)
    }

    /// A frame from elsewhere reaches the pod.
    pub(crate) fn receives(&self, frame: &[u8]) -> Reason {
        self.receives_by(
            frame,
            Origin {
                ingress_ifindex: UPLINK,
                ..Origin::default()
            },
        )
    }

    /// The same with other metadata.
    pub(crate) fn receives_by(&self, frame: &[u8], origin: Origin) -> Reason {
        let origin = Origin {
            ifindex: POD,
            ..origin
        };
        let decide = || reason(to_pod::decide(&self.world, frame, &origin, self.pod()));
        let shot = Shot {
            hook: Direction::Ingress,
            direction: Direction::Ingress,
            frame,
            origin,
        };
        self.twin.beside(&self.world, &shot, decide)
    }
}

fn reason(decision: Decision) -> Reason {
    let reason = decision.reason().expect("a reason");
    assert_eq!(reason.is_drop(), decision.drops());
    reason
}

pub(crate) fn v4(text: &str) -> V4 {
    match text.parse().expect("an address") {
        IpAddr::V4(address) => V4(address.octets()),
        IpAddr::V6(_) => panic!("{text} is IPv6"),
    }
}

pub(crate) fn v6(text: &str) -> V6 {
    match text.parse().expect("an address") {
        IpAddr::V6(address) => V6(address.octets()),
        IpAddr::V4(_) => panic!("{text} is IPv4"),
    }
}
