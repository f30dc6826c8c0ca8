//! The question to the rules: which identity is the peer, and what does the ruleset say of it.

use policy_common::{
    Direction, Endpoint, IdentityId, PortKey, PortSet, PortSetId, RuleKey, Verdict,
    limits::INLINE_PORTS,
};

use crate::{
    family::Family,
    lookup::{Addresses, Policy},
    neighbour::Neighbour,
    port::Port,
    question::Answer,
};

/// Whether a policy covers the direction.
#[inline(always)]
pub const fn is_isolated(endpoint: &Endpoint, direction: Direction) -> bool {
    endpoint.has(match direction {
        Direction::Ingress => Endpoint::INGRESS_ISOLATED,
        Direction::Egress => Endpoint::EGRESS_ISOLATED,
    })
}

/// The identity of the peer of a packet in this direction; `neighbour` is who stands behind it where its
/// address is a link-local one and the connection is opened to the pod, and `came_by` the interface by which
/// it came, if that counts. `is_judged_later`: who stands behind a Service's address, or this host's, is judged
/// once more when it is known.
#[inline(always)]
pub fn identify<F: Family, W: Addresses<F>>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    came_by: u32,
    neighbour: Neighbour,
    peer: F,
    is_judged_later: bool,
) -> IdentityId {
    // From outside, the pod's own address as source is a forgery unless the packet came out of the
    // pod's own interface.
    if peer == F::of(endpoint)
        && (matches!(direction, Direction::Egress) || came_by == endpoint.ifindex)
    {
        return IdentityId::SELF;
    }
    if let Some(entry) = world.address(peer) {
        if matches!(direction, Direction::Egress) && entry.is_host() {
            return IdentityId::HOST;
        }
        return entry.identity;
    }
    if peer.is_link_local() {
        // Behind one to which the pod opens a connection may be any other pod.
        let behind = match direction {
            Direction::Ingress => neighbour,
            Direction::Egress => Neighbour::ANYBODY,
        };
        if let Some(identity) = behind.identity() {
            return identity;
        }
    }
    if is_judged_later
        && matches!(direction, Direction::Egress)
        && endpoint.has(Endpoint::SERVICES)
        && world.is_service(peer)
    {
        return IdentityId::SERVICE;
    }
    let blocks = match direction {
        Direction::Ingress => Endpoint::INGRESS_BLOCKS,
        Direction::Egress => Endpoint::EGRESS_BLOCKS,
    };
    if endpoint.has(blocks) {
        return world.cidr(peer).unwrap_or(IdentityId::WORLD);
    }
    IdentityId::WORLD
}

/// What is said of a connection opened in this direction: by its rules if a policy covers it.
#[inline(always)]
pub fn ask_as_opened<W: Policy>(
    world: &W,
    endpoint: &Endpoint,
    opened: Direction,
    identity: IdentityId,
    protocol: u8,
    port: Port,
) -> Answer {
    if is_isolated(endpoint, opened) {
        ask(world, endpoint, opened, identity, protocol, port)
    } else {
        Answer::new(Verdict::ALLOW, identity)
    }
}

/// What the rules of a direction say of an identity, a protocol and a port.
#[inline(always)]
pub fn ask<W: Policy>(
    world: &W,
    endpoint: &Endpoint,
    direction: Direction,
    identity: IdentityId,
    protocol: u8,
    port: Port,
) -> Answer {
    let rules = match direction {
        Direction::Ingress => endpoint.ingress,
        Direction::Egress => endpoint.egress,
    };
    let key = RuleKey {
        ruleset: rules.ruleset,
        identity,
    };
    let verdict = world.verdict(&key, rules.default_ports, protocol, port);
    Answer::new(verdict, identity)
}

/// What a rule says of a protocol and a port (as [`ask`]); `default_ports` where there is no such rule.
#[inline(always)]
pub fn verdict<W: Policy>(
    world: &W,
    rule: &RuleKey,
    default_ports: PortSetId,
    protocol: u8,
    port: Port,
) -> Verdict {
    match world.rule(rule).unwrap_or(default_ports) {
        PortSetId::DENY_ALL => Verdict::DENY,
        PortSetId::ALLOW_ALL => Verdict::ALLOW,
        set => match world.port_set(set) {
            Some(entries) if entries.in_trie == 0 => inline(entries, protocol, port),
            Some(_) => in_trie(world, set, protocol, port),
            None => Verdict::DENY,
        },
    }
}

#[inline(always)]
fn inline(set: &PortSet, protocol: u8, port: Port) -> Verdict {
    for index in 0..INLINE_PORTS {
        if index as u32 >= set.count {
            break;
        }
        let entry = &set.inline[index];
        let ports_match = match port.number() {
            Some(port) => port & entry.mask == entry.port,
            None => entry.mask == 0,
        };
        if (entry.any_protocol != 0 || entry.protocol == protocol) && ports_match {
            return entry.verdict;
        }
    }
    Verdict::DENY
}

#[inline(always)]
fn in_trie<W: Policy>(world: &W, set: PortSetId, protocol: u8, port: Port) -> Verdict {
    let (port, bits) = match port.number() {
        Some(port) => (port, PortKey::PORT_BITS),
        None => (0, PortKey::PROTOCOL_BITS),
    };
    world
        .port(PortKey::new(set, protocol, port), bits)
        .unwrap_or(Verdict::DENY)
}
