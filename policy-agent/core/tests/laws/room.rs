//! Tables without room for everything: what is chosen, and the way there.

use policy_common::{EndpointId, IdentityId, PortSetId, RulesetId, limits::INLINE_PORTS};
use policy_core::{
    laws::{
        Tables,
        probe::{Probe, ask, probes, verdicts},
        strategies::{change, facts, policy},
    },
    model::{Change, ObjectName, PolicyFact, Rule, Selector},
    plan::{Contents, DirectionEntry, EndpointEntry, Fit, Haste, Op, Room, Short, fit},
    resolve::Resolver,
};
use proptest::{collection::vec, prelude::*};

use crate::compile;

/// Repeated plans end within this many.
const PLANS: usize = 6;

fn room() -> impl Strategy<Value = Room> {
    let small = || prop_oneof![3 => 0usize..12, 1 => Just(1_000)];
    let rules = prop_oneof![4 => 0usize..40, 1 => Just(10_000)];
    (rules, small(), small(), small(), small()).prop_map(
        |(rules, port_sets, ports, addresses, cidrs)| Room {
            rules,
            port_sets,
            ports: ports * 4,
            addresses,
            cidrs,
            inline_ports: 1,
        },
    )
}

/// The rules of both.
fn joined(one: Option<Vec<Rule>>, other: Option<Vec<Rule>>) -> Option<Vec<Rule>> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.extend(other);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

/// The table that has hardly more room than it needs, and how much more.
#[derive(Clone, Copy, Debug)]
enum Scarce {
    Rules(usize),
    PortSets(usize),
    Ports(usize),
}

fn scarce() -> impl Strategy<Value = Scarce> {
    let more = || 0usize..6;
    prop_oneof![
        2 => more().prop_map(Scarce::Rules),
        1 => more().prop_map(Scarce::PortSets),
        1 => more().prop_map(Scarce::Ports),
    ]
}

impl Scarce {
    /// Room for this, and not much more.
    fn around(self, contents: &Contents) -> Room {
        let rules = contents.rules.len();
        let sets = contents.port_sets.len();
        let ports: usize = contents.port_sets.values().map(|set| set.len()).sum();
        match self {
            Self::Rules(more) => Room {
                rules: rules + more,
                ..ENOUGH
            },
            Self::PortSets(more) => Room {
                port_sets: sets + more,
                ..ENOUGH
            },
            Self::Ports(more) => Room {
                ports: ports + more,
                inline_ports: 0,
                ..ENOUGH
            },
        }
    }
}

fn haste() -> impl Strategy<Value = Haste> {
    prop_oneof![Just(Haste::Now), Just(Haste::Patient)]
}

pub(crate) const ENOUGH: Room = Room {
    rules: 100_000,
    port_sets: 100_000,
    ports: 100_000,
    addresses: 100_000,
    cidrs: 100_000,
    inline_ports: INLINE_PORTS,
};

/// The tables with what is built in.
pub(crate) struct Kernel {
    pub(crate) tables: Tables,
    pub(crate) contents: Contents,
    haste: Haste,
}

impl Kernel {
    pub(crate) fn new() -> Self {
        let mut tables = Tables::default();
        for identity in [IdentityId::HOST, IdentityId::SELF] {
            let ruleset = policy_core::plan::DENY.ruleset;
            tables.execute(&Op::PutRule(ruleset, identity, PortSetId::ALLOW_ALL));
        }
        Self {
            tables,
            contents: Contents::default(),
            haste: Haste::Now,
        }
    }

    pub(crate) fn with(haste: Haste) -> Self {
        Self {
            haste,
            ..Self::new()
        }
    }

    fn execute(&mut self, op: &Op) {
        self.tables.execute(op);
        self.contents.execute(op);
    }

    fn check_room(&self, room: &Room, start: &Contents) -> Result<(), TestCaseError> {
        let count = |contents: &Contents| {
            let ports = contents.port_sets.values().map(|set| set.len());
            let v4 = |is: bool| {
                contents
                    .addresses
                    .keys()
                    .filter(|a| a.is_ipv4() == is)
                    .count()
            };
            let nets = |is: bool| {
                let nets = contents.cidrs.keys();
                nets.filter(|net| net.addr().is_ipv4() == is).count()
            };
            [
                (contents.rules.len(), room.rules),
                (contents.port_sets.len(), room.port_sets),
                (
                    ports.filter(|count| *count > room.inline_ports).sum(),
                    room.ports,
                ),
                (v4(true), room.addresses),
                (v4(false), room.addresses),
                (nets(true), room.cidrs),
                (nets(false), room.cidrs),
            ]
        };
        // Tables that were larger before are still larger at first.
        for ((now, room), (before, _)) in count(&self.contents).into_iter().zip(count(start)) {
            prop_assert!(now <= room.max(before), "{now} elements, room for {room}");
        }
        Ok(())
    }

    /// Plans and executes until nothing is to be done; every packet that passes meanwhile passes
    /// before or should.
    pub(crate) fn settle(&mut self, want: &Contents, room: &Room) -> Result<Fit, TestCaseError> {
        let probes = probes();
        let new = verdicts(&whole(want), &probes);
        let mut held = std::collections::BTreeSet::new();
        for _ in 0..PLANS {
            let old = verdicts(&self.tables, &probes);
            let start = self.contents.clone();
            let plan = fit(&self.contents, want, room, self.haste);
            for (step, op) in plan.ops.iter().enumerate() {
                self.execute(op);
                self.check_room(room, &start)?;
                for (index, now) in verdicts(&self.tables, &probes).into_iter().enumerate() {
                    prop_assert!(
                        !now || old[index] || new[index],
                        "step {step} of {:#?} opens {:?}",
                        plan.ops,
                        probes[index]
                    );
                }
            }
            held.extend(plan.held.iter().copied());
            if plan.ops.is_empty() {
                return Ok(plan);
            }
        }
        let last = [0; 2].map(|_| {
            let plan = fit(&self.contents, want, room, self.haste);
            plan.ops.iter().for_each(|op| self.execute(op));
            plan
        });
        Err(TestCaseError::fail(format!("no end: {last:#?}")))
    }
}

fn whole(contents: &Contents) -> Tables {
    let mut tables = Kernel::new().tables;
    let sets = contents.port_sets.iter();
    let sets = sets.map(|(id, entries)| Op::PutPortSet(*id, entries.clone()));
    let rules = contents.rules.iter();
    let rules = rules.map(|(&(ruleset, identity), &set)| Op::PutRule(ruleset, identity, set));
    let addresses = contents.addresses.iter();
    let addresses = addresses.map(|(&address, value)| Op::PutAddress {
        address,
        identity: value.identity,
        owner: value.owner,
        host: value.host,
    });
    let cidrs = contents.cidrs.iter();
    let cidrs = cidrs.map(|(&net, &identity)| Op::PutCidr(net, identity));
    let endpoints = contents.endpoints.values().cloned().map(Op::PutEndpoint);
    let ops = sets.chain(rules).chain(addresses).chain(cidrs);
    ops.chain(endpoints).for_each(|op| tables.execute(&op));
    tables
}

pub(crate) fn want(resolver: &Resolver) -> Contents {
    Contents::of(&resolver.full())
}

fn is_short(plan: &Fit, probe: &Probe) -> bool {
    plan.short.iter().any(|short| match short {
        Short::Rules {
            ifindex, direction, ..
        } => *ifindex == probe.ifindex && *direction == probe.direction,
        Short::Addresses { .. } => false,
    })
}

fn lacks_addresses(plan: &Fit) -> bool {
    let mut short = plan.short.iter();
    short.any(|short| matches!(short, Short::Addresses { .. }))
}

/// What fits has the wanted verdicts; what does not allows nothing that is not wanted.
fn check_end(kernel: &Kernel, plan: &Fit, want: &Contents) -> Result<(), TestCaseError> {
    let wanted = whole(want);
    for probe in probes() {
        let (got, right) = (ask(&kernel.tables, &probe), ask(&wanted, &probe));
        if is_short(plan, &probe) {
            prop_assert!(!got || right, "{probe:?} passes: {:?}", plan.short);
            continue;
        }
        // An address that is nobody's loses what is allowed to it as a pod.
        let is_right = got == right || (lacks_addresses(plan) && !got);
        prop_assert!(
            is_right,
            "{probe:?} is {got}, wanted {right}: {:?}",
            plan.short
        );
    }
    for ifindex in want.endpoints.keys() {
        prop_assert!(kernel.contents.endpoints.contains_key(ifindex), "no entry");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_does_not_fit_is_denied_and_the_rest_is_right(
        facts in facts(),
        room in room(),
        haste in haste(),
    ) {
        let (resolver, _) = compile(&facts);
        let want = want(&resolver);
        let mut kernel = Kernel::with(haste);
        let plan = kernel.settle(&want, &room)?;
        check_end(&kernel, &plan, &want)?;
        // With room, all is as if it had never been short.
        let plan = kernel.settle(&want, &ENOUGH)?;
        prop_assert!(plan.is_exact && plan.short.is_empty());
        prop_assert_eq!(&kernel.contents.rules, &want.rules);
        prop_assert_eq!(&kernel.contents.addresses, &want.addresses);
        prop_assert_eq!(&kernel.contents.cidrs, &want.cidrs);
    }

    /// Tables that hold what there is, and hardly more, are those in which something is kept: a policy that
    /// has no room comes, and one goes after which less is wanted.
    #[test]
    fn what_policies_that_go_allowed_is_not_kept_by_those_that_have_no_room(
        facts in facts(),
        small in policy(),
        large in vec(policy(), 2..8),
        scarce in scarce(),
        haste in haste(),
    ) {
        let named = |name: &str, policy: PolicyFact| PolicyFact {
            name: ObjectName::new("a", name),
            subjects: Selector::everything(),
            ..policy
        };
        let (mut resolver, _) = compile(&facts);
        let small = named("small", small);
        resolver.apply(Change::Policy(small.clone()));
        resolver.commit();
        let mut kernel = Kernel::with(haste);
        let full = want(&resolver);
        let room = scarce.around(&full);
        kernel.settle(&full, &room)?;
        let mut all = PolicyFact { ingress: None, egress: None, ..small.clone() };
        for policy in large {
            all.ingress = joined(all.ingress, policy.ingress);
            all.egress = joined(all.egress, policy.egress);
        }
        resolver.apply(Change::Policy(named("large", all)));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &room)?;
        check_end(&kernel, &plan, &want(&resolver))?;
        resolver.collect_but(&plan.held);
        kernel.settle(&want(&resolver), &room)?;
        resolver.apply(Change::PolicyRemoved(small.name));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &room)?;
        check_end(&kernel, &plan, &want(&resolver))?;
    }

    #[test]
    fn changes_and_collections_open_nothing_in_tables_without_room(
        facts in facts(),
        room in room(),
        changes in vec(change(), 1..6),
        haste in haste(),
    ) {
        let (mut resolver, _) = compile(&facts);
        let mut kernel = Kernel::with(haste);
        let mut plan = kernel.settle(&want(&resolver), &room)?;
        for change in changes {
            resolver.apply(change);
            resolver.commit();
            plan = kernel.settle(&want(&resolver), &room)?;
            check_end(&kernel, &plan, &want(&resolver))?;
            resolver.collect_but(&plan.held);
            plan = kernel.settle(&want(&resolver), &room)?;
            check_end(&kernel, &plan, &want(&resolver))?;
        }
        let namespaces = ["a", "a-b", "b"];
        for namespace in namespaces {
            resolver.apply(Change::NamespaceRemoved(namespace.into()));
        }
        resolver.commit();
        resolver.collect_but(&plan.held);
        plan = kernel.settle(&want(&resolver), &ENOUGH)?;
        prop_assert!(plan.is_exact);
        check_end(&kernel, &plan, &want(&resolver))?;
    }
}

/// A block whose identity gets another number, where RULES has room for exactly what there is.
#[test]
fn a_block_is_numbered_anew_in_tables_that_are_exactly_full() {
    let numbered = |identity: u32| {
        let ruleset = RulesetId(16);
        let ports = PortSetId::ALLOW_ALL;
        let identities = [IdentityId::HOST, IdentityId::SELF, IdentityId(identity)];
        let entry = EndpointEntry {
            ifindex: 3,
            id: EndpointId(3),
            bridge: None,
            ingress: Some(DirectionEntry {
                ruleset,
                default_ports: PortSetId::DENY_ALL,
                has_blocks: true,
            }),
            egress: None,
            addresses: Vec::new(),
            unknown: false,
            pod_tag: 3,
            services_later: false,
            mac: None,
            eui_64: false,
            new_epoch: false,
        };
        let rules = identities.map(|one| Op::PutRule(ruleset, one, ports));
        let block = "192.0.2.0/24".parse().unwrap_or_default();
        let cidr = Op::PutCidr(block, IdentityId(identity));
        let all = rules.into_iter().chain([cidr, Op::PutEndpoint(entry)]);
        all.collect::<Vec<_>>()
    };
    let mut kernel = Kernel::new();
    numbered(16).iter().for_each(|op| kernel.execute(op));
    let want = Contents::of(&numbered(17));
    let room = Room { rules: 3, ..ENOUGH };
    let plan = kernel
        .settle(&want, &room)
        .map_err(|error| error.to_string());
    assert_eq!(plan.map(|plan| plan.is_exact), Ok(true));
    assert_eq!(kernel.contents.rules, want.rules);
    assert_eq!(kernel.contents.cidrs, want.cidrs);
}
