//! What must hold on every kernel: the core of the suites that run on the machine itself.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use policy_agent::datapath::{
    Attacher, Datapath, Hook, HostSockets, LoadOptions, Mechanism, PinDir, Pins, TableSizes,
};
use policy_common::{Config, Direction, EndpointId, Reason};
use policy_core::{
    model::{Change, EndpointFact, ObjectName, PodFact, PolicyFact},
    plan::Op,
    resolve::Resolver,
};
use policy_harness::{
    Netns,
    traffic::{Connection, Outcome, Protocol, Server, ping, probe},
};

use crate::{
    network::{HOST, Network, PASSED_ON, STRANGER},
    policies::{compile, everything, ingress_to_b, labelled, web},
};

/// The agent's state.
const PINS: &str = "/sys/fs/bpf/vmtest";
/// For what must come: emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what must not come.
const SILENCE: Duration = Duration::from_millis(400);

/// Runs all checks; how many passed.
pub(crate) fn run(object: &[u8], mechanism: Mechanism) -> Result<u32> {
    let pins = PinDir::new(format!("{PINS}-{}", std::process::id()));
    let pins = pins.lock()?;
    let outcome = Node::start(object, mechanism, pins.clone()).and_then(Node::check);
    pins.remove_all()?;
    outcome
}

/// The network with the datapath on it.
struct Node<'o> {
    network: Network,
    object: &'o [u8],
    pins: Pins,
    attacher: Attacher,
    facts: Vec<Change>,
    resolver: Resolver,
    datapath: Datapath,
    checks: u32,
}

impl<'o> Node<'o> {
    fn start(object: &'o [u8], mechanism: Mechanism, pins: Pins) -> Result<Self> {
        let network = Network::new()?;
        let mut facts = vec![Change::HostAddresses(
            HOST.iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?,
        )];
        for (pod, name) in network.pods.iter().zip(["a", "b"]) {
            facts.push(Change::Pod(PodFact {
                name: ObjectName::new("default", name),
                uid: name.into(),
                labels: BTreeMap::from([("app".into(), name.into())]),
                addresses: pod.addresses.to_vec(),
                ports: Vec::new(),
                host_network: false,
                finished: false,
                running: true,
                started: 1,
                ..PodFact::default()
            }));
            facts.push(Change::Endpoint(EndpointFact {
                ifindex: pod.ifindex,
                id: EndpointId(pod.ifindex as u16),
                bridge: None,
                pod: Some(ObjectName::new("default", name)),
                ..EndpointFact::default()
            }));
        }
        let (resolver, wanted) = compile(&facts);
        let datapath = load(&network.host, object, &pins, &wanted)?;
        let mut node = Self {
            network,
            object,
            attacher: Attacher::new(pins.clone(), mechanism),
            pins,
            resolver,
            datapath,
            facts,
            checks: 0,
        };
        node.attach()?;
        Ok(node)
    }

    /// Puts the programs on the pods' interfaces, in the place of those before.
    fn attach(&mut self) -> Result<()> {
        let (attacher, programs) = (&self.attacher, &mut self.datapath.programs);
        let pods = &self.network.pods;
        self.network.host.run(|| -> Result<()> {
            for pod in pods {
                for hook in Hook::ENDPOINT {
                    attacher.attach(programs, pod.ifindex, hook)?;
                }
            }
            Ok(())
        })?
    }

    fn change(&mut self, policy: PolicyFact) -> Result<()> {
        self.apply(Change::Policy(policy))
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        self.facts.push(change.clone());
        self.resolver.apply(change);
        for ops in [self.resolver.commit(), self.resolver.collect()] {
            let failures = self.datapath.apply(&ops);
            ensure!(failures.is_empty(), "{failures:?}");
        }
        self.datapath.settle()?;
        Ok(())
    }

    fn passed(&mut self, what: &str) {
        self.checks += 1;
        println!("ok: {what}");
    }

    /// All of it, in an order in which each check stands on those before.
    fn check(mut self) -> Result<u32> {
        let _servers = self.serve()?;
        self.without_policy()?;
        self.change(ingress_to_b(vec![web()]))?;
        self.by_port()?;
        self.the_host()?;
        self.replies()?;
        self.established_flow()?;
        self.every_port()?;
        self.forged_source()?;
        self.takeover()?;
        self.calls()?;
        Ok(self.checks)
    }

    fn serve(&self) -> Result<Vec<Server>> {
        let mut servers = Vec::new();
        for pod in &self.network.pods {
            for address in pod.addresses {
                for (protocol, port) in [
                    (Protocol::Tcp, 80),
                    (Protocol::Tcp, 81),
                    (Protocol::Udp, 53),
                    (Protocol::Udp, 54),
                ] {
                    let at = SocketAddr::new(address, port);
                    servers.push(Server::start(&pod.netns, protocol, at)?);
                }
            }
        }
        Ok(servers)
    }

    /// A connection from the first pod to the second, by both families.
    fn expect(&self, protocol: Protocol, port: u16, wanted: Outcome) -> Result<()> {
        let [a, b] = &self.network.pods;
        for address in b.addresses {
            let to = SocketAddr::new(address, port);
            let got = probe(&a.netns, protocol, None, to, within(wanted))?;
            ensure!(got == wanted, "{protocol:?} to {to}: {got:?}");
        }
        Ok(())
    }

    fn expect_ping(&self, wanted: Outcome) -> Result<()> {
        let [a, b] = &self.network.pods;
        for address in b.addresses {
            let got = ping(&a.netns, address, within(wanted))?;
            ensure!(got == wanted, "ping to {address}: {got:?}");
        }
        Ok(())
    }

    fn without_policy(&mut self) -> Result<()> {
        self.expect(Protocol::Tcp, 81, Outcome::Allowed)?;
        self.expect(Protocol::Udp, 54, Outcome::Allowed)?;
        self.expect_ping(Outcome::Allowed)?;
        self.passed("without policy everything passes");
        Ok(())
    }

    fn by_port(&mut self) -> Result<()> {
        self.expect(Protocol::Tcp, 80, Outcome::Allowed)?;
        self.expect(Protocol::Udp, 53, Outcome::Allowed)?;
        self.passed("the ports of the rule are open, by IPv4 and IPv6");
        self.expect(Protocol::Tcp, 81, Outcome::Denied)?;
        self.expect(Protocol::Udp, 54, Outcome::Denied)?;
        self.passed("other ports are closed");
        self.expect_ping(Outcome::Denied)?;
        self.passed("a rule with ports does not allow ICMP");
        let denied = self.datapath.counter(Direction::Ingress, Reason::Policy)?;
        ensure!(
            denied.packets > 0,
            "nothing was counted as denied by policy"
        );
        self.passed("denied packets are counted");
        Ok(())
    }

    fn the_host(&mut self) -> Result<()> {
        for address in self.network.pods[1].addresses {
            let to = SocketAddr::new(address, 81);
            let got = probe(&self.network.host, Protocol::Tcp, None, to, PATIENCE)?;
            ensure!(got == Outcome::Allowed, "the host to {to}: {got:?}");
            let got = ping(&self.network.host, address, PATIENCE)?;
            ensure!(got == Outcome::Allowed, "the host pings {address}: {got:?}");
        }
        self.passed("the host reaches the isolated pod");
        Ok(())
    }

    fn replies(&mut self) -> Result<()> {
        let [a, b] = &self.network.pods;
        for address in a.addresses {
            for (protocol, port) in [(Protocol::Tcp, 81), (Protocol::Udp, 54)] {
                let to = SocketAddr::new(address, port);
                let got = probe(&b.netns, protocol, None, to, PATIENCE)?;
                ensure!(got == Outcome::Allowed, "{protocol:?} to {to}: {got:?}");
            }
        }
        self.passed("replies to the isolated pod's own connections pass");
        Ok(())
    }

    fn established_flow(&mut self) -> Result<()> {
        let mut connections = Vec::new();
        for address in self.network.pods[1].addresses {
            let to = SocketAddr::new(address, 80);
            let opened = Connection::open(&self.network.pods[0].netns, None, to, PATIENCE)?;
            connections.push(opened.with_context(|| format!("no connection to {to}"))?);
        }
        let mut exchange = |wanted: Outcome| -> Result<()> {
            for connection in &mut connections {
                let got = connection.exchange(within(wanted))?;
                ensure!(got == wanted, "the open connection: {got:?}");
            }
            Ok(())
        };
        exchange(Outcome::Allowed)?;
        self.change(ingress_to_b(Vec::new()))?;
        exchange(Outcome::Denied)?;
        self.passed("a policy change cuts established connections");
        self.change(ingress_to_b(vec![web()]))?;
        exchange(Outcome::Allowed)?;
        self.passed("the next change lets them go on");
        Ok(())
    }

    fn every_port(&mut self) -> Result<()> {
        self.change(ingress_to_b(vec![everything()]))?;
        self.expect_ping(Outcome::Allowed)?;
        self.expect(Protocol::Tcp, 81, Outcome::Allowed)?;
        self.passed("a rule without ports allows ICMP");
        Ok(())
    }

    fn forged_source(&mut self) -> Result<()> {
        let [a, b] = &self.network.pods;
        let source = SocketAddr::new(STRANGER.parse()?, 40_000);
        let to = SocketAddr::new(b.addresses[0], 53);
        let got = probe(&a.netns, Protocol::Udp, Some(source), to, SILENCE)?;
        ensure!(got == Outcome::Denied, "a forged source passed");
        let dropped = self
            .datapath
            .counter(Direction::Egress, Reason::SourceAddress)?;
        ensure!(dropped.packets > 0, "the forged source was not the reason");
        self.passed("a forged source address is dropped");
        Ok(())
    }

    fn takeover(&mut self) -> Result<()> {
        self.change(ingress_to_b(vec![web()]))?;
        let to = SocketAddr::new(self.network.pods[1].addresses[0], 80);
        let opened = Connection::open(&self.network.pods[0].netns, None, to, PATIENCE)?;
        let mut connection = opened.context("no connection")?;
        let mut exchange = |when: &str| -> Result<()> {
            let got = connection.exchange(PATIENCE)?;
            ensure!(
                got == Outcome::Allowed,
                "the open connection {when}: {got:?}"
            );
            Ok(())
        };
        exchange("before the restart")?;
        let (resolver, wanted) = compile(&self.facts);
        let fresh = load(&self.network.host, self.object, &self.pins, &wanted)?;
        drop(std::mem::replace(&mut self.datapath, fresh));
        self.resolver = resolver;
        exchange("while the old generation enforces alone")?;
        self.expect(Protocol::Tcp, 81, Outcome::Denied)?;
        self.attach()?;
        exchange("after the restart")?;
        self.expect(Protocol::Tcp, 81, Outcome::Denied)?;
        self.expect(Protocol::Tcp, 80, Outcome::Allowed)?;
        self.passed("a new generation takes over with the flows of the old one");
        Ok(())
    }

    fn counted(&self, what: [(Direction, Reason); 2]) -> Result<[u64; 2]> {
        let mut packets = [0; 2];
        for (packets, (direction, reason)) in packets.iter_mut().zip(what) {
            *packets = self.datapath.counter(direction, reason)?.packets;
        }
        Ok(packets)
    }

    /// What goes to an address of the host and comes to a pod: one program calls another, which calls it again.
    fn calls(&mut self) -> Result<()> {
        let addresses = HOST.iter().chain(&[PASSED_ON]).map(|text| text.parse());
        self.apply(Change::HostAddresses(addresses.collect::<Result<_, _>>()?))?;
        self.change(PolicyFact {
            name: ObjectName::new("default", "a"),
            subjects: labelled("a"),
            ingress: None,
            egress: Some(Vec::new()),
        })?;
        let wanted = (Direction::Ingress, Reason::DestinationAddress);
        let missed = (Direction::Egress, Reason::Unjudged);
        let [before, _] = self.counted([wanted, missed])?;
        let to = SocketAddr::new(PASSED_ON.parse()?, 53);
        let got = probe(
            &self.network.pods[0].netns,
            Protocol::Udp,
            None,
            to,
            SILENCE,
        )?;
        ensure!(got == Outcome::Denied, "the pod has no such address");
        let [after, unjudged] = self.counted([wanted, missed])?;
        ensure!(after > before && unjudged == 0, "{after}, {unjudged}");
        self.passed("programs call one another");
        Ok(())
    }
}

fn within(wanted: Outcome) -> Duration {
    match wanted {
        Outcome::Allowed => PATIENCE,
        Outcome::Denied => SILENCE,
    }
}

/// A generation for a small machine, in force.
fn load(host: &Netns, object: &[u8], pins: &Pins, wanted: &[Op]) -> Result<Datapath> {
    let options = LoadOptions {
        object,
        config: Config::DEFAULT,
        hz: None,
        sizes: TableSizes {
            max_endpoints: 256,
            max_addresses: 1_024,
            max_cidrs: 64,
            max_rules: 1_024,
            max_port_sets: 64,
            max_ports: 1_024,
            max_flows: 4_096,
        },
        pins: Some(pins),
        host_sockets: HostSockets::Here,
        stand_ins: false,
        needless: None,
    };
    Ok(host.run(|| Datapath::load(&options, wanted))??)
}
