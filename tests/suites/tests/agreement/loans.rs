//! Processors that open connections of one pod at once, most of them without its lock, keep its limit.

use std::{collections::BTreeSet, net::SocketAddr, thread};

use policy_agent::datapath::{Datapath, TableSizes};
use policy_bpf::Run;
use policy_common::{Config, EndpointId, RulesetId, names};
use policy_core::plan::Op;
use policy_harness::wire::{Ethernet, Tcp, ip, transport::flag::SYN};

use crate::{cluster::small, processors, scene};

/// Connections that the pod may have opened.
const LIMIT: usize = 512;
/// What processors may have been lent at once near the limit.
const LENT: usize = LIMIT / 16;
/// Enough that a few processors come near the limit.
const EACH: u16 = 400;
const POD: u32 = 7;
const ID: EndpointId = EndpointId(3);

/// A pod whose peers may open nothing, so that what it opens needs entries.
fn load() -> Datapath {
    let config = Config {
        pod_opened_limit: LIMIT as u32,
        ..scene::CONFIG
    };
    // Of an own share that is soon used up.
    let sizes = TableSizes {
        max_flows: 131_072,
        max_endpoints: 4_096,
        ..small()
    };
    let rules = [scene::rules(RulesetId(5)), None];
    let pod = Op::PutEndpoint(scene::pod(POD, ID.0, rules));
    scene::load(config, sizes, &[pod])
}

/// The pod's SYN from a port.
fn syn(port: u16) -> Vec<u8> {
    let own = SocketAddr::new("10.0.0.9".parse().unwrap(), port);
    let peer = SocketAddr::new("10.0.1.1".parse().unwrap(), 80);
    let segment = Tcp::new(SYN).segment(own, peer);
    Ethernet::new([2; 6], [2; 6]).ip(&ip::packet(own.ip(), peer.ip(), 6, &segment))
}

/// Each processor has the pod open so many connections from ports of its own.
fn flood(kernel: &mut Datapath, processors: &[usize], first: u16, each: u16) {
    let program = kernel.programs.descriptor(names::FROM_POD).unwrap();
    thread::scope(|scope| {
        for (number, processor) in (0..).zip(processors) {
            let first = first + number * each;
            let program = program.try_clone().unwrap();
            scope.spawn(move || {
                processors::stay_on(*processor);
                for port in first..first + each {
                    let program = program.try_clone().unwrap();
                    let run = Run::new(program, &syn(port), &scene::at(POD, POD).context());
                    let (action, _) = run.repeat(1).unwrap();
                    // Later filters decide: it passes. An older one gives way.
                    assert_eq!(action, -1, "port {port}");
                }
            });
        }
    });
}

fn held(kernel: &mut Datapath) -> usize {
    kernel.sweep(&BTreeSet::from([ID])).unwrap().v4
}

#[test]
fn processors_that_open_connections_at_once_keep_the_limit_of_their_pod() {
    let mut kernel = load();
    let mut processors = processors::all();
    processors.truncate(8);
    flood(&mut kernel, &processors, 1_000, EACH);
    let most = LIMIT.min(processors.len() * usize::from(EACH));
    let least = most.saturating_sub(LENT);
    let between = held(&mut kernel);
    assert!((least..=most).contains(&between), "{between} of {most}");
    // A sweep takes back what they were lent: one alone reaches the limit.
    flood(&mut kernel, &processors[..1], 30_000, 2 * LIMIT as u16);
    assert_eq!(held(&mut kernel), LIMIT);
    flood(&mut kernel, &processors, 40_000, EACH);
    assert_eq!(held(&mut kernel), LIMIT);
}
