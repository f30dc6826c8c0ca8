//! What the tests of two generations load, and the packet that they run it on.

use policy_agent::datapath::{Datapath, LoadOptions, Loaded, NodeFacts, Pins, TableSizes};
use policy_common::{Config, EndpointId, PortSetId, RulesetId};
use policy_core::plan::{DirectionEntry, EndpointEntry, Op};

/// A UDP packet between the pod, port 4000, and a peer, port 53.
pub(crate) fn frame(leaves: bool, v6: bool) -> Vec<u8> {
    let (pod, peer, ports): (Vec<u8>, Vec<u8>, [u16; 2]) = {
        let address = |last: u8| {
            if v6 {
                let mut address = [0; 16];
                (address[0], address[15]) = (0xfd, last);
                address.to_vec()
            } else {
                vec![10, 0, 0, last]
            }
        };
        (address(9), address(1), [4000, 53])
    };
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    }
    let (ends, ports) = if leaves {
        ([pod, peer], ports)
    } else {
        ([peer, pod], [ports[1], ports[0]])
    };
    frame.extend(ends.concat());
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

/// Of the object in this binary with room for so many flows, which may be run on packets.
pub(crate) fn load(pins: &Pins, max_flows: u32) -> Loaded {
    load_object(LoadOptions::embedded().unwrap().object, pins, max_flows)
}

/// A generation in force that knows endpoint 3.
pub(crate) fn enforce(loaded: Loaded, ifindex: u32) -> Datapath {
    let filled = loaded.fill(&NodeFacts::default(), &[endpoint(ifindex)]);
    let filled = filled.unwrap();
    assert!(filled.refused().is_empty());
    filled.enforce().unwrap()
}

/// The same of another object than the one in this binary.
pub(crate) fn load_object(object: &[u8], pins: &Pins, max_flows: u32) -> Loaded {
    Loaded::load(&options(object, pins, max_flows)).unwrap()
}

/// How they are loaded.
pub(crate) fn options<'a>(object: &'a [u8], pins: &'a Pins, max_flows: u32) -> LoadOptions<'a> {
    LoadOptions {
        object,
        config: Config {
            test_seam: 1,
            ..Config::DEFAULT
        },
        sizes: TableSizes {
            max_endpoints: 16,
            max_addresses: 16,
            max_cidrs: 4,
            max_rules: 4,
            max_port_sets: 8,
            max_ports: 16,
            max_flows,
        },
        pins: Some(pins),
        ..LoadOptions::embedded().unwrap()
    }
}

/// Endpoint 3: the pod may send everything, and nobody may open a connection to it.
pub(crate) fn endpoint(ifindex: u32) -> Op {
    let rules = |ruleset, default_ports| {
        Some(DirectionEntry {
            ruleset: RulesetId(ruleset),
            default_ports,
            has_blocks: false,
        })
    };
    Op::PutEndpoint(EndpointEntry {
        ifindex,
        id: EndpointId(3),
        bridge: None,
        ingress: rules(5, PortSetId::DENY_ALL),
        egress: rules(6, PortSetId::ALLOW_ALL),
        addresses: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
        unknown: false,
        pod_tag: 77,
        mac: None,
        eui_64: false,
        services_later: false,
        // As a restart does: the flows' epoch is the endpoint's.
        new_epoch: false,
    })
}
