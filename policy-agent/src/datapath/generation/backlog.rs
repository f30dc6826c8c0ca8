//! What waits because the kernel refused a write.
//!
//! Owns the order of operations that could not be executed; must not know maps. Invariant: an
//! operation never overtakes an earlier one that it shares a thing with (a port set, a ruleset, an
//! identity, an address or prefix, an endpoint). So what waits keeps its old state whole, what has
//! nothing to do with it goes on, and a full table gets room again when something leaves it.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;
use policy_common::{EndpointId, IdentityId, PortSetId, RulesetId};
use policy_core::plan::Op;

/// Something that an operation reads or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    /// A port set.
    Ports(PortSetId),
    /// A ruleset.
    Ruleset(RulesetId),
    /// An identity.
    Identity(IdentityId),
    /// An endpoint's interface.
    Interface(u32),
    /// An endpoint's number.
    Number(EndpointId),
}

/// What the kernel says today of the thing that an operation replaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replaced {
    /// The identity of the address or prefix.
    pub(crate) identity: Option<IdentityId>,
    /// Rulesets and default port sets of the endpoint.
    pub(crate) endpoint: Vec<Thing>,
}

/// Things and prefixes that earlier, waiting operations touch.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    things: HashSet<Thing>,
    prefixes: Vec<IpNet>,
}

impl Blocked {
    /// Whether nothing is blocked.
    pub(crate) fn is_empty(&self) -> bool {
        self.things.is_empty() && self.prefixes.is_empty()
    }

    /// Whether the operation would overtake one that it depends on.
    pub(crate) fn holds_back(&self, op: &Op) -> bool {
        things(op).iter().any(|thing| self.things.contains(thing))
            || prefix(op).is_some_and(|own| self.prefixes.iter().any(|other| overlap(own, *other)))
    }

    /// Adds what a waiting operation touches, with what it would have replaced.
    pub(crate) fn add(&mut self, op: &Op, replaced: Replaced) {
        self.things.extend(things(op));
        self.things
            .extend(replaced.identity.and_then(shared_identity));
        self.things.extend(replaced.endpoint);
        self.prefixes.extend(prefix(op));
    }
}

fn things(op: &Op) -> Vec<Thing> {
    match op {
        Op::PutPortSet(ports, _) | Op::DeletePortSet(ports, _) => shared_ports(*ports).collect(),
        Op::PutRule(ruleset, identity, ports) => [Thing::Ruleset(*ruleset)]
            .into_iter()
            .chain(shared_identity(*identity))
            .chain(shared_ports(*ports))
            .collect(),
        Op::DeleteRule(ruleset, identity) => [Thing::Ruleset(*ruleset)]
            .into_iter()
            .chain(shared_identity(*identity))
            .collect(),
        Op::PutAddress { identity, .. } | Op::PutCidr(_, identity) => {
            shared_identity(*identity).into_iter().collect()
        }
        Op::DeleteAddress(_) | Op::DeleteCidr(_) | Op::Grace => Vec::new(),
        Op::PutEndpoint(entry) => [entry.ingress, entry.egress]
            .into_iter()
            .flatten()
            .flat_map(|rules| {
                [Thing::Ruleset(rules.ruleset)]
                    .into_iter()
                    .chain(shared_ports(rules.default_ports))
            })
            .chain([Thing::Interface(entry.ifindex), Thing::Number(entry.id)])
            .collect(),
        Op::DeleteEndpoint { ifindex, id } => {
            vec![Thing::Interface(*ifindex), Thing::Number(*id)]
        }
    }
}

/// The built-in sets never change: sharing them orders nothing.
fn shared_ports(ports: PortSetId) -> impl Iterator<Item = Thing> {
    (ports >= PortSetId::FIRST)
        .then_some(Thing::Ports(ports))
        .into_iter()
}

/// Reserved identities have no addresses that change hands under their number.
fn shared_identity(identity: IdentityId) -> Option<Thing> {
    (identity >= IdentityId::FIRST).then_some(Thing::Identity(identity))
}

/// Addresses fall through to the prefixes around them: what overlaps keeps its order.
fn prefix(op: &Op) -> Option<IpNet> {
    match op {
        Op::PutAddress { address, .. } | Op::DeleteAddress(address) => Some(host(*address)),
        Op::PutCidr(cidr, _) | Op::DeleteCidr(cidr) => Some(*cidr),
        _ => None,
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use policy_core::plan::{DirectionEntry, EndpointEntry};

    use super::*;

    fn endpoint(ifindex: u32, ruleset: u32) -> Op {
        Op::PutEndpoint(EndpointEntry {
            ifindex,
            id: EndpointId(ifindex as u16),
            bridge: None,
            ingress: Some(DirectionEntry {
                ruleset: RulesetId(ruleset),
                default_ports: PortSetId::DENY_ALL,
                has_blocks: false,
            }),
            egress: None,
            addresses: Vec::new(),
            unknown: false,
            pod_tag: 1,
            new_epoch: true,
        })
    }

    fn address(text: &str, identity: u32) -> Op {
        Op::PutAddress {
            address: text.parse().unwrap(),
            identity: IdentityId(identity),
            owner: None,
            host: false,
        }
    }

    fn blocked_by(op: &Op, replaced: Replaced) -> Blocked {
        let mut blocked = Blocked::default();
        blocked.add(op, replaced);
        blocked
    }

    #[test]
    fn an_endpoint_waits_for_the_rules_of_its_ruleset() {
        let rule = Op::PutRule(RulesetId(5), IdentityId(20), PortSetId(3));
        let blocked = blocked_by(&rule, Replaced::default());
        assert!(blocked.holds_back(&endpoint(7, 5)));
        assert!(!blocked.holds_back(&endpoint(8, 6)));
    }

    #[test]
    fn rules_of_the_old_identity_stay_while_the_address_waits() {
        let old = Replaced {
            identity: Some(IdentityId(20)),
            ..Replaced::default()
        };
        let blocked = blocked_by(&address("10.0.0.1", 33), old);
        assert!(blocked.holds_back(&Op::DeleteRule(RulesetId(5), IdentityId(20))));
        assert!(!blocked.holds_back(&Op::DeleteRule(RulesetId(5), IdentityId(21))));
    }

    #[test]
    fn an_unrelated_removal_makes_room_in_a_full_table() {
        let blocked = blocked_by(&address("10.0.0.1", 33), Replaced::default());
        assert!(!blocked.holds_back(&Op::DeleteAddress("10.0.0.2".parse().unwrap())));
        assert!(blocked.holds_back(&Op::DeleteAddress("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn prefixes_around_a_waiting_one_keep_their_order() {
        let inner = Op::PutCidr("10.1.0.0/16".parse().unwrap(), IdentityId(20));
        let blocked = blocked_by(&inner, Replaced::default());
        assert!(blocked.holds_back(&Op::DeleteCidr("10.0.0.0/8".parse().unwrap())));
        assert!(!blocked.holds_back(&Op::DeleteCidr("10.2.0.0/16".parse().unwrap())));
    }

    #[test]
    fn built_in_numbers_hold_nothing_back() {
        let rule = Op::PutRule(RulesetId(5), IdentityId::WORLD, PortSetId::ALLOW_ALL);
        let blocked = blocked_by(&rule, Replaced::default());
        let other = Op::PutRule(RulesetId(6), IdentityId::WORLD, PortSetId::ALLOW_ALL);
        assert!(!blocked.holds_back(&other));
    }
}
