//! The ground of loaded programs: every packet of a probe is run through the programs of its
//! node's generation by BPF_PROG_TEST_RUN.
//!
//! Owns one generation per node, loaded with the test seam and nothing pinned or attached, and
//! the numbers of interfaces that do not exist. Knows nothing of the policies. Invariant: every
//! connection has a source port of its own, so that no flow of an earlier probe answers for it.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use policy_agent::datapath::{Datapath, TestOrigin};
use policy_common::names;
use policy_core::{
    model::{ObjectName, PodFact},
    plan::Op,
};

use super::{
    cluster::{Cluster, Host, Place},
    drops,
    ground::{Ground, Outcome, Placed},
    packet::{self, Ends},
    pool::Pool,
    verdict::Sides,
};

/// By which packets from other nodes and from outside come: no endpoint's interface.
const UPLINK: u32 = 2;
/// First number of an endpoint's interface.
const FIRST_INTERFACE: u32 = 100;
/// First of the source ports; the ports of probes are below.
const FIRST_SOURCE_PORT: u16 = 20_000;

/// One generation per node.
pub(crate) struct Kernel<'p> {
    pool: &'p Pool,
    nodes: BTreeMap<String, Node>,
    last_source_port: u16,
}

struct Node {
    datapath: Datapath,
    interfaces: BTreeMap<ObjectName, u32>,
    last_interface: u32,
}

impl<'p> Kernel<'p> {
    /// A generation for each node of the cluster.
    pub(crate) fn new(cluster: &Cluster, pool: &'p Pool) -> Result<Self> {
        let mut nodes = BTreeMap::new();
        for (name, _) in cluster.nodes() {
            let node = Node {
                datapath: pool.take()?,
                interfaces: BTreeMap::new(),
                last_interface: FIRST_INTERFACE,
            };
            nodes.insert(name.to_owned(), node);
        }
        Ok(Self {
            pool,
            nodes,
            last_source_port: FIRST_SOURCE_PORT,
        })
    }

    fn node(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes
            .get_mut(name)
            .with_context(|| format!("no node {name}"))
    }

    fn next_source_port(&mut self) -> Result<u16> {
        let next = self.last_source_port.checked_add(1);
        self.last_source_port = next.context("more probes than source ports")?;
        Ok(self.last_source_port)
    }

    fn judge_one(&mut self, placed: &Placed) -> Result<Outcome> {
        let Placed { probe, from, to } = placed;
        let protocol = probe.service.protocol;
        let ends = Ends {
            source: SocketAddr::new(from.address, self.next_source_port()?),
            destination: SocketAddr::new(to.address, probe.service.port),
        };
        let opening = packet::opening(protocol, ends);
        let sides = self.cross(from, to, &opening)?;
        if !probe.expected.holds(sides) {
            let why = self.explain(from, to, &opening)?;
            return Ok(Outcome::Sides { sides, why });
        }
        if sides.allowed() {
            let answer = packet::answer(protocol, ends.reversed());
            if !self.cross(to, from, &answer)?.allowed() {
                let why = self.explain(to, from, &answer)?;
                return Ok(Outcome::AnswerDropped(why));
            }
        }
        Ok(Outcome::Sides {
            sides,
            why: String::new(),
        })
    }

    /// Runs a packet once more to hear from the programs why they drop it; empty if they do not.
    fn explain(&mut self, from: &Place, to: &Place, packet: &[u8]) -> Result<String> {
        self.take_drops();
        let _: Sides = self.cross(from, to, packet)?;
        Ok(self.take_drops().join(", "))
    }

    fn take_drops(&mut self) -> Vec<String> {
        let nodes = self.nodes.values_mut();
        nodes
            .flat_map(|node| drops::read(&mut node.datapath))
            .map(|drop| drop.why)
            .collect()
    }

    /// Runs a packet through both hooks that it would cross; both are asked even when the first
    /// drops, so that the sides can be told apart.
    fn cross(&mut self, from: &Place, to: &Place, packet: &[u8]) -> Result<Sides> {
        let mut sides = Sides {
            egress: true,
            ingress: true,
        };
        let mut stamp = 0;
        if let Host::Pod { node, name } = &from.host {
            let node = self.node(node)?;
            let ifindex = node.interface(name)?;
            let origin = TestOrigin {
                ifindex,
                ingress_ifindex: ifindex,
                socket: false,
                foreign_socket: false,
                stamp,
            };
            let outcome = node.datapath.test_run(names::FROM_POD, packet, origin)?;
            sides.egress = outcome.passed;
            stamp = outcome.stamp;
        }
        if let Host::Pod {
            node: name,
            name: pod,
        } = &to.host
        {
            let here = self.node(name)?;
            let ifindex = here.interface(pod)?;
            let origin = match &from.host {
                Host::Pod { node, name: source } if node == name => TestOrigin {
                    ifindex,
                    ingress_ifindex: here.interface(source)?,
                    socket: false,
                    foreign_socket: false,
                    stamp,
                },
                Host::Node(node) if node == name => TestOrigin {
                    ifindex,
                    ingress_ifindex: 0,
                    socket: true,
                    foreign_socket: false,
                    stamp: 0,
                },
                _ => TestOrigin {
                    ifindex,
                    ingress_ifindex: UPLINK,
                    socket: false,
                    foreign_socket: false,
                    stamp: 0,
                },
            };
            sides.ingress = here
                .datapath
                .test_run(names::TO_POD, packet, origin)?
                .passed;
        }
        Ok(sides)
    }
}

impl Node {
    fn interface(&self, pod: &ObjectName) -> Result<u32> {
        let ifindex = self.interfaces.get(pod);
        ifindex
            .copied()
            .with_context(|| format!("{pod} has no interface"))
    }
}

impl Ground for Kernel<'_> {
    fn plug(&mut self, node: &str, pod: &PodFact) -> Result<u32> {
        let node = self.node(node)?;
        let next = node.last_interface + 1;
        let ifindex = *node.interfaces.entry(pod.name.clone()).or_insert(next);
        node.last_interface = node.last_interface.max(ifindex);
        Ok(ifindex)
    }

    fn unplug(&mut self, node: &str, ifindex: u32) -> Result<()> {
        self.node(node)?
            .interfaces
            .retain(|_, other| *other != ifindex);
        Ok(())
    }

    fn execute(&mut self, node: &str, ops: &[Op]) -> Result<()> {
        let datapath = &mut self.node(node)?.datapath;
        let failures = datapath.apply(ops);
        let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        datapath.settle()?;
        Ok(())
    }

    fn judge(&mut self, probes: &[Placed]) -> Result<Vec<Outcome>> {
        probes
            .iter()
            .map(|placed| {
                self.judge_one(placed)
                    .with_context(|| placed.probe.to_string())
            })
            .collect()
    }

    fn finish(self) -> Result<()> {
        for (name, node) in self.nodes {
            self.pool
                .put(node.datapath)
                .with_context(|| format!("tables of {name}"))?;
        }
        Ok(())
    }
}
