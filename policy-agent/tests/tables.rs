//! The datapath's tables in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use policy_agent::datapath::{Datapath, LoadOptions, TableSizes, TestOrigin};
use policy_common::{
    Config, Endpoint, EndpointId, IdentityId, PortSetId, RulesetId, Verdict, names,
};
use policy_core::plan::{DirectionEntry, EndpointEntry, Op, PortRange, PortSetEntry, Short, Table};

fn small() -> TableSizes {
    TableSizes {
        max_endpoints: 16,
        max_addresses: 2,
        max_cidrs: 4,
        max_rules: 4,
        max_port_sets: 8,
        max_ports: 16,
        max_flows: 64,
    }
}

fn load() -> Datapath {
    Datapath::load(
        &LoadOptions {
            config: Config {
                test_seam: 1,
                ..Config::DEFAULT
            },
            sizes: small(),
            ..LoadOptions::embedded().unwrap()
        },
        &[],
    )
    .unwrap()
}

fn address(text: &str, identity: u32) -> Op {
    Op::PutAddress {
        address: text.parse::<IpAddr>().unwrap(),
        identity: IdentityId(identity),
        owner: None,
        host: false,
    }
}

fn endpoint(ifindex: u32, ruleset: u32, new_epoch: bool) -> Op {
    Op::PutEndpoint(EndpointEntry {
        ifindex,
        id: EndpointId(3),
        bridge: None,
        ingress: Some(DirectionEntry {
            ruleset: RulesetId(ruleset),
            default_ports: PortSetId::DENY_ALL,
            has_blocks: false,
        }),
        egress: None,
        addresses: vec!["10.0.0.9".parse().unwrap()],
        unknown: false,
        pod_tag: 77,
        mac: None,
        eui_64: false,
        services_later: false,
        new_epoch,
    })
}

fn rule(ruleset: u32, identity: u32) -> Op {
    Op::PutRule(
        RulesetId(ruleset),
        IdentityId(identity),
        PortSetId::ALLOW_ALL,
    )
}

#[test]
fn a_plan_ends_where_a_table_is_full_and_the_next_begins_with_all_that_is_wanted() {
    let mut datapath = load();
    let ops = [
        address("10.0.0.1", 20),
        address("10.0.0.2", 20),
        address("10.0.0.3", 21),
        endpoint(7, 1, true),
    ];
    let failures = datapath.apply(&ops);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].is_full);
    assert_eq!(
        failures[0].to_string(),
        "ADDRESSES_V4 is not up to date: 10.0.0.3: the table is full"
    );
    let [host, own] = [IdentityId::HOST, IdentityId::SELF].map(|identity| rule(1, identity.0));
    let wanted: Vec<_> = [host, own].into_iter().chain(ops).collect();
    assert_eq!(
        datapath.apply(&wanted[..1]),
        failures,
        "waits for all that is wanted"
    );
    assert_eq!(datapath.fit(&wanted, 0), []);
    assert_eq!(datapath.generation.tables.short().len(), 1);
    assert_eq!(
        datapath.generation.tables.packed(),
        Some(Table::AddressesV4)
    );
    // One address less, and all is as it should be.
    let fewer = [&wanted[..2], &wanted[3..]].concat();
    assert_eq!(datapath.fit(&fewer, 0), []);
    assert!(datapath.generation.tables.is_exact() && datapath.waiting() == 0);
    assert_eq!(datapath.apply(&[endpoint(8, 1, true)]), []);
}

#[test]
fn an_endpoint_whose_rules_do_not_fit_is_closed_but_to_its_host() {
    let mut datapath = load();
    let mut wanted: Vec<_> = (0..5).map(|n| port_set(2 + n, 80 + n as u16)).collect();
    wanted.extend((0..5).flat_map(|n| {
        let net = format!("20.0.{n}.0/24").parse().unwrap();
        [
            Op::PutRule(RulesetId(1), IdentityId(16 + n), PortSetId(2 + n)),
            Op::PutCidr(net, IdentityId(16 + n)),
        ]
    }));
    wanted.extend([IdentityId::HOST, IdentityId::SELF].map(|identity| rule(1, identity.0)));
    wanted.push(endpoint(7, 1, true));
    assert_eq!(datapath.apply(&wanted).len(), 1);
    assert_eq!(datapath.fit(&wanted, 0), []);
    assert!(matches!(
        datapath.generation.tables.short(),
        [Short::Rules {
            ifindex: 7,
            kept: false,
            ..
        }]
    ));
    let [entry] = datapath.endpoints().unwrap()[..] else {
        panic!("an endpoint always has an entry");
    };
    assert_eq!(entry.ingress.ruleset, RulesetId::NONE);
    assert!(entry.has(Endpoint::INGRESS_ISOLATED));
    let mut passes = |ingress_ifindex, socket| {
        let origin = TestOrigin {
            ifindex: 7,
            ingress_ifindex,
            socket,
            ..TestOrigin::default()
        };
        let outcome = datapath.test_run(names::TO_POD, &udp(), origin).unwrap();
        outcome.passed
    };
    assert!(!passes(3, false));
    assert!(passes(0, true), "the host");
}

/// A port set with one port.
fn port_set(id: u32, port: u16) -> Op {
    let range = PortRange::Prefix {
        protocol: 17,
        port,
        bits: 16,
    };
    let entry = PortSetEntry {
        range,
        verdict: Verdict::ALLOW,
    };
    Op::PutPortSet(PortSetId(id), [entry].into())
}

#[test]
fn a_port_set_has_room_whatever_its_number() {
    let mut datapath = load();
    let ops = [
        port_set(3, 80),
        port_set(1_000, 53),
        rule(1, IdentityId::HOST.0),
        Op::PutRule(RulesetId(1), IdentityId(20), PortSetId(1_000)),
        address("10.0.0.1", 20),
        endpoint(7, 1, true),
    ];
    assert_eq!(datapath.apply(&ops), []);
    let origin = TestOrigin {
        ifindex: 7,
        ingress_ifindex: 3,
        ..TestOrigin::default()
    };
    let outcome = datapath.test_run(names::TO_POD, &udp(), origin).unwrap();
    assert!(outcome.passed, "port 53 is in the set");
    let sets = (4..9).map(|n| port_set(n, 1));
    assert_eq!(
        datapath.apply(&sets.collect::<Vec<_>>()).len(),
        1,
        "no slot is left"
    );
}

#[test]
fn an_epoch_moves_only_when_the_plan_says_so() {
    let mut datapath = load();
    let mut epochs = Vec::new();
    for new_epoch in [false, false, true] {
        assert!(datapath.apply(&[endpoint(7, 1, new_epoch)]).is_empty());
        epochs.push(datapath.endpoints().unwrap()[0].epoch);
    }
    assert_eq!(epochs[0], epochs[1]);
    assert_eq!(epochs[2], epochs[1] + 1);
}

/// Grace periods that the operations and the settling after them waited for.
fn waits(datapath: &mut Datapath, ops: &[Op]) -> (u64, u64) {
    let before = datapath.generation.tables.grace_periods();
    assert!(datapath.apply(ops).is_empty());
    let applied = datapath.generation.tables.grace_periods();
    datapath.settle().unwrap();
    (
        applied - before,
        datapath.generation.tables.grace_periods() - applied,
    )
}

#[test]
fn writes_wait_for_nothing_and_settling_waits_once() {
    let mut datapath = load();
    let rule = Op::PutRule(RulesetId(1), IdentityId(16), PortSetId::ALLOW_ALL);
    assert_eq!(waits(&mut datapath, std::slice::from_ref(&rule)), (0, 1));
    let many = [rule, address("10.0.0.1", 20), endpoint(7, 1, true)];
    assert_eq!(waits(&mut datapath, &many), (0, 1));
    assert_eq!(waits(&mut datapath, &[]), (0, 0), "nothing was written");
}

#[test]
fn a_removal_waits_for_whoever_saw_what_led_to_it() {
    let mut datapath = load();
    let rule = |n| Op::PutRule(RulesetId(n), IdentityId(16), PortSetId::ALLOW_ALL);
    let gone = |n| Op::DeleteRule(RulesetId(n), IdentityId(16));
    assert_eq!(
        waits(&mut datapath, &[rule(1), endpoint(7, 1, true)]),
        (0, 1)
    );
    let swap = [rule(2), endpoint(7, 2, true), Op::Grace, gone(1)];
    assert_eq!(waits(&mut datapath, &swap), (1, 1), "once, not twice");
    // The mark of the plan may be far away: the removal knows by itself.
    let swap = [rule(1), endpoint(7, 1, true)];
    assert!(datapath.apply(&swap).is_empty());
    assert_eq!(waits(&mut datapath, &[gone(2)]), (1, 1));
    let unreached = [rule(3), gone(3)];
    assert_eq!(
        waits(&mut datapath, &unreached),
        (0, 1),
        "nothing led there"
    );
}

/// An Ethernet frame with a UDP packet from 10.0.0.1 to 10.0.0.9.
fn udp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 9]);
    frame.extend([0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

#[test]
fn a_test_run_reads_where_the_packet_came_from() {
    let mut datapath = load();
    let mut open = endpoint(7, 1, true);
    if let Op::PutEndpoint(entry) = &mut open {
        entry.ingress = None;
    }
    assert!(datapath.apply(&[open]).is_empty());
    let mut passed = |ifindex| {
        let origin = TestOrigin {
            ifindex,
            ingress_ifindex: 3,
            ..TestOrigin::default()
        };
        let outcome = datapath.test_run(names::TO_POD, &udp(), origin).unwrap();
        outcome.passed
    };
    assert!(passed(7), "no policy covers the endpoint");
    assert!(!passed(8), "an interface that is no endpoint");
}
