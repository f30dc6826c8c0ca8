//! What others may ask about the tables and the facts behind them.

use std::{net::IpAddr, sync::Arc};

use policy_common::{Direction, EndpointId};

use crate::{
    model::ObjectName,
    plan::{AddressWrite, EndpointEntry, Op},
    resolve::{
        Resolver,
        tables::{endpoint::Isolation, ruleset::reserved_rules},
    },
};

/// One endpoint, for logs and `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView<'a> {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// Number of the endpoint.
    pub id: EndpointId,
    /// The pod, as far as it was said; see `unknown`.
    pub pod: Option<&'a ObjectName>,
    /// No pod was said, or no fact about it is known: everything but the host is denied.
    pub unknown: bool,
    /// The addresses that the pod has.
    pub addresses: &'a [IpAddr],
    /// The policies that isolate connections to the pod; none when it is not isolated.
    pub ingress: &'a [ObjectName],
    /// The policies that isolate connections from the pod; none when it is not isolated.
    pub egress: &'a [ObjectName],
}

/// An address that several pods claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub winner: ObjectName,
    /// Who claims it in vain, next in line first.
    pub losers: Vec<ObjectName>,
}

impl Resolver {
    /// All endpoints as of the last commit, by interface.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        self.tables
            .endpoints
            .keys()
            .filter_map(|&ifindex| self.endpoint(ifindex))
    }

    /// The endpoint of an interface as of the last commit.
    pub fn endpoint(&self, ifindex: u32) -> Option<EndpointView<'_>> {
        let written = self.tables.endpoints.get(&ifindex)?;
        let entry = &written.entry;
        let fact = self.facts.endpoints.get(&ifindex);
        let pod = fact.and_then(|fact| fact.pod.as_ref());
        Some(EndpointView {
            ifindex,
            id: entry.id,
            pod,
            unknown: entry.unknown,
            addresses: &entry.addresses,
            ingress: names(written.ingress.as_ref()),
            egress: names(written.egress.as_ref()),
        })
    }

    /// Addresses that several pods claim, in order.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.facts
            .contested()
            .filter_map(|(address, claimants)| {
                let (winner, losers) = claimants.split_first()?;
                Some(Conflict {
                    address,
                    winner: (*winner).clone(),
                    losers: losers.iter().map(|&loser| loser.clone()).collect(),
                })
            })
            .collect()
    }

    /// The policies that isolate the endpoint of an interface in a direction as of the last commit,
    /// by name; none when it is not isolated or not known. Costs one look-up, however many policies
    /// there are: fit for every event of a flood.
    pub fn policies_of(&self, ifindex: u32, direction: Direction) -> Arc<[ObjectName]> {
        let written = self.tables.endpoints.get(&ifindex);
        let isolation = written.and_then(|written| match direction {
            Direction::Ingress => written.ingress.as_ref(),
            Direction::Egress => written.egress.as_ref(),
        });
        isolation.map_or_else(|| [].into(), |isolation| isolation.policies.clone())
    }

    /// Whether there is a policy, of whomever.
    pub fn is_any_policy(&self) -> bool {
        let mut namespaces = self.facts.namespaces.values();
        namespaces.any(|namespace| !namespace.policies.is_empty())
    }

    /// The pod that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<&ObjectName> {
        self.facts.owner(address).map(|pod| &pod.name)
    }

    /// Whether policies isolate the egress of an endpoint.
    pub fn isolates_egress(&self) -> bool {
        self.tables.rulesets.isolated_in_egress().next().is_some()
    }

    /// Every policy, of whomever, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &ObjectName> {
        let namespaces = self.facts.namespaces.values();
        let all = namespaces.flat_map(|namespace| namespace.policies.values());
        all.map(|policy| &policy.name)
    }

    /// The addresses that a pod has, without those that another pod won.
    pub fn addresses_of(&self, pod: &ObjectName) -> Vec<IpAddr> {
        let id = self.facts.pod_id(pod);
        let all = id.map(|id| self.facts.addresses_of(id).collect());
        all.unwrap_or_default()
    }

    /// The tables as of the last commit, written from empty ones. All endpoints get new epochs.
    pub fn full(&self) -> Vec<Op> {
        let (rulesets, rules) = self.tables.rulesets.all();
        let reserved = rulesets.into_iter().flat_map(reserved_rules);
        let port_sets = self.tables.port_sets.all();
        let addresses = self.facts.addresses.written().map(|(address, value)| {
            AddressWrite {
                address,
                before: None,
                after: Some(value),
            }
            .op()
        });
        let endpoints = self.tables.endpoints.values().map(|written| {
            Op::PutEndpoint(EndpointEntry {
                new_epoch: true,
                ..written.entry.clone()
            })
        });
        port_sets
            .map(|(id, entries)| Op::PutPortSet(id, entries))
            .chain(
                reserved
                    .chain(rules)
                    .map(|(ruleset, identity, ports)| Op::PutRule(ruleset, identity, ports)),
            )
            .chain(
                self.active
                    .blocks
                    .all()
                    .map(|(net, identity)| Op::PutCidr(net, identity)),
            )
            .chain(addresses)
            .chain(endpoints)
            .collect()
    }
}

fn names(isolation: Option<&Isolation>) -> &[ObjectName] {
    isolation.map_or(&[], |isolation| &isolation.policies)
}
