//! Tables without room for everything: what is chosen, and the way there.
#![expect(
    clippy::unwrap_used,
    reason = "literals that do not parse must stop the tests"
)]

use policy_common::{Direction, IdentityId, PortSetId, limits::INLINE_PORTS};
use policy_core::{
    laws::{
        Tables,
        probe::{Probe, ask, probes, verdicts},
        strategies::{change, facts},
    },
    model::{Change, Peer, PortMatch, Ports, Protocol, Selector},
    plan::{Contents, Fit, Haste, Op, Room, Short, Table, fit},
    resolve::Resolver,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    build::{allow, block, endpoint, name, namespace, pod, pods, policy, tcp, with},
    compile,
};

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

fn haste() -> impl Strategy<Value = Haste> {
    prop_oneof![Just(Haste::Now), Just(Haste::Patient)]
}

const ENOUGH: Room = Room {
    rules: 100_000,
    port_sets: 100_000,
    ports: 100_000,
    addresses: 100_000,
    cidrs: 100_000,
    inline_ports: INLINE_PORTS,
};

/// The tables with what is built in.
struct Kernel {
    tables: Tables,
    contents: Contents,
    haste: Haste,
}

impl Kernel {
    fn new() -> Self {
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

    fn with(haste: Haste) -> Self {
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
    fn settle(&mut self, want: &Contents, room: &Room) -> Result<Fit, TestCaseError> {
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

fn want(resolver: &Resolver) -> Contents {
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

/// Two pods of one namespace: interface 1 is `a/p`, interface 2 is `a/q`.
fn node(changes: impl IntoIterator<Item = Change>) -> Resolver {
    let facts = [
        namespace("a", &[]),
        Change::Pod(pod("a/p", &[("app", "p")], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[("app", "q")], &["10.0.0.2"])),
        endpoint(1, "a/p"),
        endpoint(2, "a/q"),
    ];
    let mut resolver = Resolver::new();
    let facts = facts.into_iter().chain(changes);
    facts.for_each(|change| resolver.apply(change));
    resolver.commit();
    resolver
}

/// A policy by which a pod accepts as many blocks, each on ports of its own.
fn accepts(app: &str, blocks: u8) -> Change {
    let rule = |n: u8| {
        let block = block(&format!("20.0.{n}.0/24"), &[]);
        allow(vec![block], tcp(80, 80 + u16::from(n)))
    };
    let rules = (1..=blocks).map(rule).collect();
    let mut policy = policy(&format!("a/{app}"), Some(rules), None);
    policy.subjects = with(&[("app", app)]);
    Change::Policy(policy)
}

fn rules(rules: usize) -> Room {
    Room { rules, ..ENOUGH }
}

fn accepts_from(kernel: &Kernel, ifindex: u32, peer: &str) -> bool {
    let peer = Peer::Address(peer.parse().unwrap());
    let tables = &kernel.tables;
    tables.verdict(ifindex, Direction::Ingress, peer, 6, Some(80))
}

#[test]
fn a_pod_whose_rules_do_not_fit_is_closed_and_no_other_is() {
    let resolver = node([accepts("p", 40), accepts("q", 3)]);
    let mut kernel = Kernel::new();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    let [
        Short::Rules {
            ifindex: 1,
            kept: false,
            table: Table::Rules,
            ..
        },
    ] = plan.short[..]
    else {
        panic!("{:?}", plan.short);
    };
    assert!(!accepts_from(&kernel, 1, "20.0.1.1"));
    assert!(
        kernel
            .tables
            .verdict(1, Direction::Ingress, Peer::Host, 6, Some(80))
    );
    assert!(accepts_from(&kernel, 2, "20.0.3.1"));
    assert!(!accepts_from(&kernel, 2, "20.0.4.1"));
    // Blocks of rules that are not written make nothing finer.
    assert_eq!(kernel.contents.cidrs.len(), 3);
}

#[test]
fn a_pod_keeps_its_rules_while_others_do_not_fit() {
    let mut resolver = node([accepts("p", 3)]);
    let mut kernel = Kernel::new();
    assert!(
        kernel
            .settle(&want(&resolver), &rules(20))
            .unwrap()
            .is_exact
    );
    resolver.apply(accepts("p", 40));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
    resolver.collect_but(&plan.held);
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(accepts_from(&kernel, 1, "20.0.3.1"));
    assert!(!accepts_from(&kernel, 1, "20.0.4.1"));
    resolver.apply(accepts("p", 5));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    resolver.collect();
    assert!(
        kernel
            .settle(&want(&resolver), &rules(20))
            .unwrap()
            .is_exact
    );
    assert!(accepts_from(&kernel, 1, "20.0.5.1"));
}

#[test]
fn old_rules_go_first_where_old_and_new_have_no_room_together() {
    let mut resolver = node([accepts("p", 12)]);
    let mut kernel = Kernel::new();
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    resolver.apply(accepts("p", 15));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    assert!(accepts_from(&kernel, 1, "20.0.15.1"));
}

/// Larger tables are on their way: who only gets more is not closed meanwhile, who loses something is.
#[test]
fn rules_that_only_allow_more_wait_for_room_and_others_do_not() {
    let mut resolver = node([accepts("p", 12)]);
    let mut kernel = Kernel::with(Haste::Patient);
    kernel.settle(&want(&resolver), &rules(20)).unwrap();
    resolver.apply(accepts("p", 15));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
    assert!(accepts_from(&kernel, 1, "20.0.12.1") && !accepts_from(&kernel, 1, "20.0.15.1"));

    resolver.apply(accepts("p", 11));
    resolver.commit();
    let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
    assert_eq!(plan.short, []);
    assert!(accepts_from(&kernel, 1, "20.0.11.1") && !accepts_from(&kernel, 1, "20.0.12.1"));
}

#[test]
fn what_all_rules_treat_alike_takes_the_room_of_one() {
    let blocks = (1..=40).map(|n| block(&format!("20.0.{n}.0/24"), &[]));
    let rule = allow(blocks.collect(), Ports::All);
    let resolver = node([Change::Policy(policy("a/p", Some(vec![rule]), None))]);
    let mut kernel = Kernel::new();
    let plan = kernel.settle(&want(&resolver), &rules(3)).unwrap();
    assert!(plan.short.is_empty() && !plan.is_exact);
    assert!(accepts_from(&kernel, 1, "20.0.40.1") && !accepts_from(&kernel, 1, "20.0.41.1"));
}

#[test]
fn an_address_without_room_is_nobodys() {
    let rules = vec![allow(vec![pods(Selector::everything())], Ports::All)];
    let resolver = node([Change::Policy(policy("a/all", Some(rules), None))]);
    let mut kernel = Kernel::new();
    let room = Room {
        addresses: 1,
        ..ENOUGH
    };
    let plan = kernel.settle(&want(&resolver), &room).unwrap();
    let [
        Short::Addresses {
            table: Table::AddressesV4,
            first,
            count: 1,
        },
    ] = plan.short[..]
    else {
        panic!("{:?}", plan.short);
    };
    assert_eq!(first, "10.0.0.2".parse::<std::net::IpAddr>().unwrap());
    assert!(accepts_from(&kernel, 2, "10.0.0.1"));
    assert!(!accepts_from(&kernel, 1, "10.0.0.2"));
}

/// Only the addresses of the new pod lead to the ports that its rules name.
#[test]
fn a_pod_that_first_needs_ports_without_room_is_nobodys() {
    let scattered = (40..=80)
        .step_by(2)
        .map(|port| PortMatch::Range(Protocol::Tcp, port, port));
    let policies = [("p", tcp(80, 80)), ("q", Ports::AnyOf(scattered.collect()))];
    let inline = Room {
        port_sets: 0,
        ..ENOUGH
    };
    let trie = Room { ports: 4, ..ENOUGH };
    for ((app, ports), (room, full)) in policies
        .into_iter()
        .zip([(inline, Table::PortSets), (trie, Table::Ports)])
    {
        let peers = vec![pods(with(&[("app", "client")]))];
        let mut policy = policy("a/some", Some(vec![allow(peers, ports)]), None);
        policy.subjects = with(&[("app", app)]);
        let mut resolver = node([Change::Policy(policy)]);
        let mut kernel = Kernel::new();
        assert!(kernel.settle(&want(&resolver), &room).unwrap().is_exact);

        let client = pod("a/client", &[("app", "client")], &["10.0.0.3"]);
        resolver.apply(Change::Pod(client));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &room).unwrap();
        let [
            Short::Addresses {
                table,
                first,
                count: 1,
            },
        ] = plan.short[..]
        else {
            panic!("{:?}", plan.short);
        };
        assert_eq!((table, first.to_string()), (full, "10.0.0.3".to_owned()));
        let ifindex = if app == "p" { 1 } else { 2 };
        assert!(!accepts_from(&kernel, ifindex, "10.0.0.3"));

        kernel.settle(&want(&resolver), &ENOUGH).unwrap();
        assert!(accepts_from(&kernel, ifindex, "10.0.0.3"));
    }
}

/// Else a policy that does not fit would keep others in force that were deleted since.
#[test]
fn what_is_taken_away_does_not_wait_for_room_that_never_comes() {
    for haste in [Haste::Now, Haste::Patient] {
        let mut resolver = node([accepts("p", 3)]);
        let mut kernel = Kernel::with(haste);
        kernel.settle(&want(&resolver), &rules(20)).unwrap();
        let Change::Policy(mut more) = accepts("p", 40) else {
            panic!("a policy");
        };
        more.name = name("a/more");
        more.ingress.as_mut().unwrap().drain(..3);
        resolver.apply(Change::Policy(more));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
        assert!(matches!(plan.short[..], [Short::Rules { kept: true, .. }]));
        assert!(accepts_from(&kernel, 1, "20.0.3.1"));

        resolver.apply(Change::PolicyRemoved(name("a/p")));
        resolver.commit();
        let plan = kernel.settle(&want(&resolver), &rules(20)).unwrap();
        assert!(matches!(plan.short[..], [Short::Rules { kept: false, .. }]));
        assert!(!accepts_from(&kernel, 1, "20.0.3.1"));
    }
}
