//! The decision core on the host and the loaded programs agree on random packets, through random
//! histories of a random cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use arbitrary::Unstructured;
use ipnet::IpNet;
use policy_agent::datapath::{Datapath, LoadOptions, TestOrigin};
use policy_common::{Config, Direction, Reason, V4, V6, names};
use policy_core::{
    laws::{Memory, strategies as generate},
    model::Change,
    plan::Op,
    resolve::Resolver,
};
use policy_ebpf::{lookup::Policy as _, memory::MemoryWorld};
use policy_fuzz::{Hook, Place, Pool, Shot, decide};

use crate::{
    cluster::{inhabit, open, small},
    processors,
    random::Random,
};

const HISTORIES: usize = 8;
const CHANGES: usize = 50;
const SHOTS: usize = 60;
/// So fast that nothing expires while the test runs, on either side.
const HZ: u32 = 1_000_000;
/// An interface that is no endpoint's.
const UPLINK: u32 = 2_000;
const VXLAN: u16 = 4789;

/// The same tables in the kernel and in memory.
struct Twins {
    kernel: Datapath,
    memory: Memory,
    resolver: Resolver,
    counted: BTreeMap<(u8, u8), u64>,
}

impl Twins {
    fn new() -> Self {
        let config = Config {
            hz: HZ,
            test_seam: 1,
            pod_opened_limit: 24,
            peer_opened_limit: 24,
            ..Config::DEFAULT
        };
        let mut kernel = Datapath::load(
            &LoadOptions {
                config,
                hz: Some(HZ),
                sizes: small(),
                ..LoadOptions::embedded().unwrap()
            },
            &[],
        )
        .unwrap();
        kernel.set_tunnel_ports(&[VXLAN]).unwrap();
        let local = ["192.168.0.0/26", "fd00::/127"].map(|net| net.parse().unwrap());
        kernel.set_local_routes(&local).unwrap();
        let mut memory = MemoryWorld {
            config,
            ..MemoryWorld::default()
        };
        memory.tunnel_ports.insert(VXLAN);
        for net in local {
            let bits = net.prefix_len().into();
            match net {
                IpNet::V4(net) => {
                    memory.locals_v4.insert((V4(net.addr().octets()), bits), 1);
                }
                IpNet::V6(net) => {
                    memory.locals_v6.insert((V6(net.addr().octets()), bits), 1);
                }
            }
        }
        Self {
            kernel,
            memory: Memory::new(memory),
            resolver: Resolver::new(),
            counted: BTreeMap::new(),
        }
    }

    fn execute(&mut self, ops: &[Op]) {
        let failures = self.kernel.apply(ops);
        assert!(failures.is_empty(), "{failures:?}");
        self.kernel.settle().unwrap();
        self.memory.execute_all(ops);
    }

    fn change(&mut self, change: Change) {
        self.resolver.apply(change);
        let ops = self.resolver.commit();
        self.execute(&ops);
    }

    fn collect(&mut self) {
        let ops = self.resolver.collect();
        self.execute(&ops);
    }

    /// One packet through both.
    fn shoot(&mut self, shot: &Shot) {
        let program = match shot.hook {
            Hook::FromPod => names::FROM_POD,
            Hook::ToPod => names::TO_POD,
        };
        let origin = TestOrigin {
            ifindex: shot.origin.ifindex,
            ingress_ifindex: shot.origin.ingress_ifindex,
            socket: shot.origin.has_socket,
            foreign_socket: shot.origin.has_foreign_socket,
            stamp: shot.origin.stamp,
        };
        let outcome = self.kernel.test_run(program, &shot.frame, origin).unwrap();
        let (direction, decision) = decide(&self.memory.world, shot);
        let reason = decision.reason().unwrap();
        let counted = self
            .counted
            .entry((direction as u8, reason as u8))
            .or_default();
        *counted += 1;
        let kernel = self.kernel.counter(direction, reason).unwrap().packets;
        assert!(
            outcome.passed != decision.drops() && kernel == *counted,
            "the host says {reason:?}, the kernel returns {} for {:?} {:?}\n{:02x?}\nhost: {:?}\nkernel: {:?}",
            outcome.action,
            shot.hook,
            shot.origin,
            shot.frame,
            self.counted,
            self.kernel.counters().unwrap(),
        );
    }

    fn pool(&self) -> Pool {
        let mut v4: Vec<Ipv4Addr> = Vec::new();
        let mut v6: Vec<Ipv6Addr> = Vec::new();
        let others = [
            "192.168.0.1",
            "192.168.0.77",
            "224.0.0.22",
            "255.255.255.255",
            "127.0.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "fe80::9",
            "ff02::1",
            "ff0e::1",
            "::1",
            "::",
        ];
        for text in generate::V4.iter().chain(&generate::V6).chain(&others) {
            match text.parse().unwrap() {
                IpAddr::V4(address) => v4.push(address),
                IpAddr::V6(address) => v6.push(address),
            }
        }
        let place = |ifindex| {
            let endpoint = self.memory.world.endpoint_at(ifindex);
            let own = endpoint.map(|endpoint| (endpoint.v4, endpoint.v6));
            let (own_v4, own_v6) = own.unwrap_or_default();
            Place {
                ifindex,
                v4: if own_v4 == V4::default() {
                    v4[0]
                } else {
                    own_v4.0.into()
                },
                v6: if own_v6 == V6::default() {
                    v6[0]
                } else {
                    own_v6.0.into()
                },
            }
        };
        let isolated = self.memory.world.endpoints.values();
        let isolated = isolated.filter(|endpoint| endpoint.is_isolated());
        let mut isolated: Vec<u32> = isolated.map(|endpoint| endpoint.ifindex).collect();
        isolated.sort_unstable();
        // Where there is something to decide, most of the time.
        let everywhere = generate::INTERFACES.chain([UPLINK]);
        let places = everywhere.chain(isolated.repeat(6)).map(place).collect();
        Pool {
            places,
            v4,
            v6,
            ports: vec![80, 81, 8080, 67, 68, VXLAN],
            interfaces: generate::INTERFACES.chain([0, UPLINK]).collect(),
        }
    }
}

#[test]
fn the_host_build_and_the_kernel_agree_on_random_packets() {
    // A second is an hour here: copies of flows on two processors would tell two stories.
    processors::stay_on_one();
    let mut random = Random::new();
    let mut reasons = BTreeSet::new();
    for _ in 0..HISTORIES {
        let mut twins = Twins::new();
        for change in random.value(&generate::facts()).changes() {
            twins.change(change);
        }
        for ifindex in generate::INTERFACES {
            twins.change(inhabit(ifindex));
        }
        for step in 0..CHANGES {
            let bytes = random.bytes(SHOTS * 512);
            let mut u = Unstructured::new(&bytes);
            let pool = twins.pool().narrowed(&mut u).unwrap();
            let mut shots = Vec::new();
            for _ in 0..SHOTS {
                let Ok(mut shot) = pool.shot(&mut u) else {
                    break;
                };
                // A test run takes nothing that is too short for an IPv6 header.
                shot.frame.resize(shot.frame.len().max(54), 0);
                shots.push(shot);
            }
            // Twice, so that flows and fragments that the first round left count.
            for shot in shots.iter().chain(shots.iter().rev()) {
                twins.shoot(shot);
            }
            twins.change(random.value(&generate::change()));
            twins.change(open(step));
            if step % 7 == 0 {
                twins.collect();
            }
        }
        let live: BTreeSet<_> = twins
            .memory
            .world
            .endpoints
            .values()
            .map(|e| e.id)
            .collect();
        twins
            .memory
            .world
            .flows_v4
            .borrow_mut()
            .retain(|key, _| live.contains(&key.endpoint));
        twins
            .memory
            .world
            .flows_v6
            .borrow_mut()
            .retain(|key, _| live.contains(&key.endpoint));
        let swept = twins.kernel.sweep(&live).unwrap();
        assert_eq!(swept.v4, twins.memory.world.flows_v4.borrow().len());
        assert_eq!(swept.v6, twins.memory.world.flows_v6.borrow().len());
        println!("flows: {} and {}: {:?}", swept.v4, swept.v6, twins.counted);
        reasons.extend(twins.counted.into_keys());
    }
    for reason in [
        Reason::Flow,
        Reason::FlowDenied,
        Reason::Allowed,
        Reason::RelatedError,
    ] {
        let met = [Direction::Ingress, Direction::Egress]
            .map(|direction| reasons.contains(&(direction as u8, reason as u8)));
        assert_eq!(
            met, [true; 2],
            "{reason:?} was not met: the comparison says little"
        );
    }
}
