//! A cluster with servers, and questions about who reaches whom.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use policy_harness::{
    Attach, Cluster, Netns, Wiring,
    topology::{HOST_V4, HOST_V6, OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Connection, Outcome, Protocol, Server, probe},
};

/// How long something that must happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Long enough for an answer that would come; every question about silence pays it.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// Where every server listens.
pub(crate) const PORT: u16 = 80;

/// In what every case runs.
pub(crate) const SETTINGS: [(Wiring, Attach); 2] = [
    (Wiring::Routed, Attach::Tcx),
    (Wiring::Bridged, Attach::Clsact),
];

/// Runs a case in every setting, with an agent that was started with `arguments`.
pub(crate) fn in_every_setting(arguments: &[&str], case: impl Fn(&mut Scene)) {
    for (wiring, attach) in SETTINGS {
        eprintln!("{wiring:?}, {attach:?}");
        let mut scene = Scene::stopped(wiring, attach);
        scene.cluster.agent.start(arguments).unwrap();
        case(&mut scene);
    }
}

/// A cluster whose machines echo on [`PORT`], by TCP and UDP.
pub(crate) struct Scene {
    pub(crate) servers: Vec<(String, Server)>,
    pub(crate) cluster: Cluster,
}

impl Scene {
    pub(crate) fn stopped(wiring: Wiring, attach: Attach) -> Self {
        let mut scene = Self {
            cluster: Cluster::stopped("lifecycle", wiring, attach).unwrap(),
            servers: Vec::new(),
        };
        scene.serve("host");
        scene.serve("outside");
        scene
    }

    /// A pod `namespace/name` with the addresses of a number.
    pub(crate) fn pod(&mut self, name: &str, labels: &str, number: u8) {
        let [v4, v6] = addresses(number);
        self.cluster.add_pod(name, labels, &[&v4, &v6]).unwrap();
        self.serve(name);
    }

    /// Gives a pod other labels.
    pub(crate) fn label(&mut self, name: &str, labels: &str, number: u8) {
        let [v4, v6] = addresses(number);
        self.cluster.declare_pod(name, labels, &[&v4, &v6]).unwrap();
    }

    /// Ends a pod: its interface first, as a container runtime does, then its object.
    pub(crate) fn remove_pod(&mut self, name: &str) {
        self.servers.retain(|(of, _)| of != name);
        self.cluster.node.remove_pod(name).unwrap();
        let file = format!("pod-{}.yaml", name.replace('/', "-"));
        self.cluster.remove(&file).unwrap();
    }

    /// Writes a policy of the namespace `shop` and waits until it is in force.
    pub(crate) fn policy(&mut self, name: &str, spec: &str) {
        let text = policy("shop", name, spec);
        self.cluster
            .apply(&format!("policy-{name}.yaml"), &text)
            .unwrap();
    }

    pub(crate) fn remove_policy(&mut self, name: &str) {
        self.cluster.remove(&format!("policy-{name}.yaml")).unwrap();
    }

    pub(crate) fn serve(&mut self, name: &str) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for v6 in [false, true] {
                let at = SocketAddr::new(self.address(name, v6), PORT);
                let server = Server::start(self.netns(name), protocol, at).unwrap();
                self.servers.push((name.to_owned(), server));
            }
        }
    }

    /// `host`, `outside` or a pod.
    pub(crate) fn netns(&self, name: &str) -> &Netns {
        match name {
            "host" => &self.cluster.node.host,
            "outside" => &self.cluster.node.outside,
            pod => &self.cluster.pod(pod).unwrap().netns,
        }
    }

    pub(crate) fn address(&self, name: &str, v6: bool) -> IpAddr {
        let [v4_text, v6_text] = match name {
            "host" => [HOST_V4, HOST_V6],
            "outside" => [OUTSIDE_V4, OUTSIDE_V6],
            pod => return self.cluster.pod(pod).unwrap().address(v6).unwrap(),
        };
        if v6 { v6_text } else { v4_text }.parse().unwrap()
    }

    pub(crate) fn server(&self, name: &str, v6: bool) -> SocketAddr {
        SocketAddr::new(self.address(name, v6), PORT)
    }

    pub(crate) fn ask(&self, protocol: Protocol, from: &str, to: &str, v6: bool) -> Outcome {
        let to = self.server(to, v6);
        probe(self.netns(from), protocol, None, to, SILENCE).unwrap()
    }

    /// A new connection is made, in both families, and a datagram answered.
    #[track_caller]
    pub(crate) fn passes(&self, from: &str, to: &str) {
        for v6 in [false, true] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let server = self.server(to, v6);
                let outcome = probe(self.netns(from), protocol, None, server, SOON).unwrap();
                assert_eq!(outcome, Outcome::Allowed, "{protocol:?} {from} → {server}");
            }
        }
    }

    /// No new connection is made, in neither family, and no datagram answered.
    #[track_caller]
    pub(crate) fn is_silent(&self, from: &str, to: &str) {
        let ways = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| [false, true].map(|v6| (protocol, v6)))
            .concat();
        // Silence takes its time: all four at once.
        let outcomes: Vec<_> = thread::scope(|threads| {
            let ask = |&(protocol, v6)| threads.spawn(move || self.ask(protocol, from, to, v6));
            let asked: Vec<_> = ways.iter().map(ask).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (way, outcome) in ways.iter().zip(outcomes) {
            assert_eq!(outcome, Outcome::Denied, "{way:?} {from} → {to}");
        }
    }

    /// What is not announced comes to pass before long.
    #[track_caller]
    pub(crate) fn becomes(&self, from: &str, to: &str, wanted: Outcome) {
        for v6 in [false, true] {
            eventually(&format!("{from} → {to}: {wanted:?}"), || {
                self.ask(Protocol::Tcp, from, to, v6) == wanted
            });
        }
    }

    pub(crate) fn connect(&self, from: &str, to: &str, v6: bool) -> Connection {
        let mut open = Connection::open(self.netns(from), None, self.server(to, v6), SOON)
            .unwrap()
            .unwrap();
        assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        open
    }
}

/// Waits until something is so; the programs' place is verified every fifteen seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 4 * SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Both addresses of a number; all pods share their subnets.
pub(crate) fn addresses(number: u8) -> [String; 2] {
    [
        Ipv4Addr::new(10, 1, 0, number).to_string(),
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, number.into()).to_string(),
    ]
}

pub(crate) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\n\
         kind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n"
    )
}

pub(crate) fn namespace(name: &str, labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")
}

/// Isolates every pod of the namespace in both directions.
pub(crate) const DENY_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

/// Ingress of `app: web` from `app: client`, every port.
pub(crate) const FROM_CLIENT: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], \
     ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";

/// Egress of `app: client` to `app: web`, every port.
pub(crate) const TO_WEB: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], \
     egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}";
