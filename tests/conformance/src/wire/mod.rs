//! The ground of real connections: a namespace per pod, a host per node, the agent's datapath
//! attached to every pod's interface.
//!
//! Says only whether a connection came about. Invariant: a denied connection counts only if the
//! programs dropped packets for it; a network that does not work denies nothing.

mod connect;
mod enforcer;
mod network;
mod sctp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use policy_core::{model::PodFact, plan::Op};

use self::{connect::Connection, enforcer::Enforcer, network::Network};
use super::{
    cluster::{Cluster, Host, Place},
    drops::Drop as Dropped,
    ground::{Ground, Outcome, Placed},
    packet::Ends,
    pool::Pool,
};
use policy_harness::Netns;

/// First of the source ports; the ports of probes are below.
const FIRST_SOURCE_PORT: u16 = 20_000;

/// The namespaces of a case with a datapath per node.
pub(crate) struct Wire<'p> {
    pool: &'p Pool,
    enforcers: BTreeMap<String, Enforcer>,
    network: Network,
    last_source_port: u16,
}

impl<'p> Wire<'p> {
    /// Hosts for the nodes, with their programs loaded.
    pub(crate) fn new(cluster: &Cluster, pool: &'p Pool) -> Result<Self> {
        let network = Network::new(cluster.nodes())?;
        let mut enforcers = BTreeMap::new();
        for (name, _) in cluster.nodes() {
            enforcers.insert(name.to_owned(), Enforcer::new(pool.take()?)?);
        }
        Ok(Self {
            pool,
            enforcers,
            network,
            last_source_port: FIRST_SOURCE_PORT,
        })
    }

    fn enforcer(&mut self, node: &str) -> Result<&mut Enforcer> {
        self.enforcers
            .get_mut(node)
            .with_context(|| format!("no node {node}"))
    }

    fn netns(&self, place: &Place) -> Result<&Netns> {
        namespace_of(&self.network, &place.host)
    }

    fn connections(
        &self,
        probes: &[Placed],
        first_port: u16,
        patient: bool,
    ) -> Result<Vec<Connection<'_>>> {
        let mut port = first_port;
        probes
            .iter()
            .map(|placed| {
                port = port
                    .checked_add(1)
                    .context("more probes than source ports")?;
                Ok(Connection {
                    client: self.netns(&placed.from)?,
                    server: self.netns(&placed.to)?,
                    protocol: placed.probe.service.protocol,
                    ends: Ends {
                        source: SocketAddr::new(placed.from.address, port),
                        destination: SocketAddr::new(placed.to.address, placed.probe.service.port),
                    },
                    patient: patient || placed.probe.expected.allowed(),
                })
            })
            .collect()
    }

    /// Opens a connection for each probe; with patience also for those that are to be denied.
    fn attempt(&mut self, probes: &[Placed], patient: bool) -> Result<Vec<Outcome>> {
        let outside = self.outside(probes)?;
        self.network.add_outside(&outside)?;
        let first_port = self.last_source_port;
        let connections = self.connections(probes, first_port, patient)?;
        let connected = connect::open(&connections)?;
        let ends: Vec<Ends> = connections
            .iter()
            .map(|connection| connection.ends)
            .collect();
        self.network.remove_outside(&outside)?;
        self.last_source_port =
            first_port + u16::try_from(probes.len()).context("too many probes")?;
        let drops: Vec<Dropped> = self
            .enforcers
            .values_mut()
            .flat_map(Enforcer::drops)
            .collect();
        let outcome = |(connected, ends): (bool, Ends)| {
            let mut dropped = drops
                .iter()
                .filter(|drop| drop.ends == ends || drop.ends == ends.reversed());
            match (connected, dropped.next()) {
                (true, _) => Outcome::Connected,
                (false, Some(drop)) => Outcome::Dropped(drop.why.clone()),
                (false, None) => Outcome::Lost,
            }
        };
        Ok(connected.into_iter().zip(ends).map(outcome).collect())
    }

    /// The addresses of outside hosts that take part.
    fn outside(&self, probes: &[Placed]) -> Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for place in probes.iter().flat_map(|placed| [&placed.from, &placed.to]) {
            if place.host == Host::Outside && !addresses.contains(&place.address) {
                let taken = self.network.is_pod_address(place.address);
                ensure!(
                    !taken,
                    "{} is a pod's and an outside host's address",
                    place.address
                );
                addresses.push(place.address);
            }
        }
        Ok(addresses)
    }
}

fn namespace_of<'a>(network: &'a Network, host: &Host) -> Result<&'a Netns> {
    match host {
        Host::Pod { node, name } => network.pod(node, name),
        Host::Node(node) => network.node(node),
        Host::Outside => Ok(&network.router),
    }
}

impl Ground for Wire<'_> {
    fn plug(&mut self, node: &str, pod: &PodFact) -> Result<u32> {
        if let Some(ifindex) = self.network.interface(node, &pod.name, &pod.addresses)? {
            return Ok(ifindex);
        }
        let ifindex = self.network.add_pod(node, &pod.name, &pod.addresses)?;
        let enforcer = self
            .enforcers
            .get_mut(node)
            .context("a node without datapath")?;
        self.network
            .node(node)?
            .run(|| enforcer.attach(ifindex))??;
        self.network.open(node, &pod.name)?;
        Ok(ifindex)
    }

    fn unplug(&mut self, node: &str, ifindex: u32) -> Result<()> {
        self.network.remove_pod(node, ifindex)?;
        self.enforcer(node)?.forget(ifindex)
    }

    fn execute(&mut self, node: &str, ops: &[Op]) -> Result<()> {
        self.enforcer(node)?.execute(ops)
    }

    fn judge(&mut self, probes: &[Placed]) -> Result<Vec<Outcome>> {
        let mut outcomes = self.attempt(probes, false)?;
        // Neither a connection nor a drop: on a busy machine the answer may come later.
        let lost: Vec<usize> = (0..probes.len())
            .filter(|&index| matches!(outcomes[index], Outcome::Lost))
            .collect();
        if !lost.is_empty() {
            let again: Vec<Placed> = lost.iter().map(|&index| probes[index].clone()).collect();
            for (index, outcome) in lost.into_iter().zip(self.attempt(&again, true)?) {
                outcomes[index] = outcome;
            }
        }
        Ok(outcomes)
    }

    fn finish(self) -> Result<()> {
        for (name, enforcer) in self.enforcers {
            self.pool
                .put(enforcer.retire())
                .with_context(|| format!("tables of {name}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use policy_core::model::ObjectName;

    use super::*;
    use crate::case::Protocol;

    const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    fn addresses(texts: [&str; 2]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Two nodes with a pod each, and an outside host.
    struct Open {
        network: Network,
        places: Vec<(Place, Vec<IpAddr>)>,
    }

    impl Open {
        fn new() -> Self {
            let mut places = Vec::new();
            let hosts = [
                (
                    "one",
                    addresses(["10.78.0.1", "fd78::1"]),
                    addresses(["10.77.1.5", "fd77:0:0:1::5"]),
                ),
                (
                    "two",
                    addresses(["10.78.0.2", "fd78::2"]),
                    addresses(["10.77.2.5", "fd77:0:0:2::5"]),
                ),
            ];
            let nodes = hosts.iter().map(|(name, ips, _)| (*name, ips.as_slice()));
            let mut network = Network::new(nodes).unwrap();
            for (node, ips, pod_ips) in &hosts {
                let name = ObjectName::new("x", *node);
                network.add_pod(node, &name, pod_ips).unwrap();
                network.open(node, &name).unwrap();
                let host = Host::Pod {
                    node: (*node).to_owned(),
                    name,
                };
                places.push((
                    Place {
                        address: pod_ips[0],
                        host,
                    },
                    pod_ips.clone(),
                ));
                let host = Host::Node((*node).to_owned());
                places.push((
                    Place {
                        address: ips[0],
                        host,
                    },
                    ips.clone(),
                ));
            }
            // Inside the second node's range, but no pod's.
            let outside = addresses(["203.0.113.7", "fd77:0:0:2::ff"]);
            network.add_outside(&outside).unwrap();
            let host = Host::Outside;
            places.push((
                Place {
                    address: outside[0],
                    host,
                },
                outside,
            ));
            Self { network, places }
        }

        fn connections(&self, expected: bool, mut port: u16) -> Vec<Connection<'_>> {
            let mut connections = Vec::new();
            for (from, from_ips) in &self.places {
                for (to, to_ips) in &self.places {
                    for family in 0..2 {
                        for protocol in PROTOCOLS {
                            if from == to {
                                continue;
                            }
                            port += 1;
                            connections.push(Connection {
                                client: namespace_of(&self.network, &from.host).unwrap(),
                                server: namespace_of(&self.network, &to.host).unwrap(),
                                protocol,
                                ends: Ends {
                                    source: SocketAddr::new(from_ips[family], port),
                                    destination: SocketAddr::new(to_ips[family], 80),
                                },
                                patient: expected,
                            });
                        }
                    }
                }
            }
            connections
        }

        /// Opens them impatiently until exactly those come about that should: on a busy machine the
        /// short time ends before some began.
        #[track_caller]
        fn come_about(&self, should: impl Fn(&Connection<'_>) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(30);
            for attempt in 0.. {
                let connections = self.connections(false, 20_000 + attempt * 200);
                let connected = connect::open(&connections).unwrap();
                let pairs = connections.iter().zip(connected);
                let wrong: Vec<_> = pairs.filter(|(one, came)| should(one) != *came).collect();
                if let Some((one, _)) = wrong.iter().find(|(_, came)| *came) {
                    panic!("{:?} {:?} came about", one.protocol, one.ends);
                }
                if wrong.is_empty() {
                    return;
                }
                assert!(Instant::now() < deadline, "{} did not", wrong.len());
            }
        }
    }

    #[test]
    fn without_programs_every_pair_connects_in_every_protocol_and_family() {
        let open = Open::new();
        let connections = open.connections(true, 20_000);
        let connected = connect::open(&connections).unwrap();
        for (connection, connected) in connections.iter().zip(connected) {
            assert!(connected, "{:?} {:?}", connection.protocol, connection.ends);
        }
    }

    #[test]
    fn a_connection_that_comes_about_is_seen_though_it_was_to_be_denied() {
        let open = Open::new();
        open.come_about(|_| true);
    }

    #[test]
    fn a_connection_whose_packets_are_lost_does_not_come_about() {
        let open = Open::new();
        let (place, addresses) = &open.places[0];
        // Nobody has the hardware address to which the pod sends from now on.
        let lost = ["169.254.1.1", "fe80::1"].map(|hop| {
            format!("neigh replace {hop} lladdr 02:00:00:00:00:ff dev eth0 nud permanent")
        });
        let pod = namespace_of(&open.network, &place.host).unwrap();
        pod.ip(&lost).unwrap();
        open.come_about(|connection| {
            let ends = [connection.ends.source, connection.ends.destination];
            !ends.iter().any(|end| addresses.contains(&end.ip()))
        });
    }
}
