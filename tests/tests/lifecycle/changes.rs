//! A thousand changes under traffic: what they do not concern never notices.

use std::collections::{BTreeMap, hash_map::RandomState};
use std::hash::{BuildHasher, Hasher};

use policy_agent::convert::{self, Object};
use policy_common::{Direction, EndpointId};
use policy_core::{
    model::{Change, EndpointFact, ObjectName, Peer},
    oracle::{Facts, Oracle},
};
use policy_tests::harness::{
    cluster::pod_manifest,
    traffic::{Outcome, Protocol},
};
use serde::Deserialize as _;

use crate::{
    scene::{PORT, Scene, addresses, in_every_setting, namespace, policy},
    steady::Steady,
};

/// Rounds of one change per file.
const ROUNDS: usize = 50;
/// Names of the random policies.
const POLICIES: u64 = 10;
/// Pods whose labels change: the first two are real.
const PODS: [(&str, &str, u8); 6] = [
    ("shop", "one", 101),
    ("team", "two", 102),
    ("shop", "three", 103),
    ("team", "four", 104),
    ("shop", "five", 105),
    ("team", "six", 106),
];
/// Namespaces whose labels change; the second may be removed.
const NAMESPACES: [&str; 4] = ["shop", "team", "ghosts", "more"];

/// Numbers that look random; the first one is printed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = match std::env::var("POLICY_TESTS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        eprintln!("POLICY_TESTS_SEED={seed}");
        Self(seed)
    }

    /// splitmix64, below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// Other ones each round.
    fn labels(&mut self, round: usize) -> String {
        format!(
            "round: r{round}, color: {}, size: {}",
            self.pick(&["red", "blue"]),
            self.pick(&["s", "l"])
        )
    }

    fn selector(&mut self) -> String {
        match self.below(4) {
            0 => format!(
                "{{matchLabels: {{color: {}}}}}",
                self.pick(&["red", "blue"])
            ),
            1 => format!("{{matchLabels: {{size: {}}}}}", self.pick(&["s", "l"])),
            2 => format!(
                "{{matchExpressions: [{{key: color, operator: In, values: [{}]}}]}}",
                self.pick(&["red", "blue"])
            ),
            _ => format!(
                "{{matchLabels: {{color: {}, size: {}}}}}",
                self.pick(&["red", "blue"]),
                self.pick(&["s", "l"])
            ),
        }
    }

    /// Never the stranger: it has no colour and no size, and no block has its address.
    fn peers(&mut self) -> String {
        let peers: Vec<_> = (0..=self.below(2))
            .map(|_| match self.below(4) {
                0 => format!("{{podSelector: {}}}", self.selector()),
                1 => format!(
                    "{{namespaceSelector: {}, podSelector: {}}}",
                    self.selector(),
                    self.selector()
                ),
                2 => format!(
                    "{{ipBlock: {{cidr: 10.1.0.96/28, except: [10.1.0.{}/32]}}}}",
                    101 + self.below(6)
                ),
                _ => format!("{{ipBlock: {{cidr: \"fd00:1::6{}/124\"}}}}", self.below(8)),
            })
            .collect();
        peers.join(", ")
    }

    fn ports(&mut self) -> String {
        match self.below(4) {
            0 => String::new(),
            1 => format!(", ports: [{{port: {PORT}}}]"),
            2 => format!(
                ", ports: [{{port: {PORT}, protocol: UDP}}, {{port: 1, endPort: {}}}]",
                2 + self.below(200)
            ),
            _ => {
                let many: Vec<_> = (0..30)
                    .map(|n| format!("{{port: {}}}", 70 + 5 * n))
                    .collect();
                format!(", ports: [{}]", many.join(", "))
            }
        }
    }

    fn policy(&mut self, number: u64) -> String {
        let subjects = match self.below(3) {
            0 => "{}".to_owned(),
            1 => "{matchLabels: {app: web}}".to_owned(),
            _ => self.selector(),
        };
        let rule =
            |random: &mut Self, side| format!("{{{side}: [{}]{}}}", random.peers(), random.ports());
        let ingress: Vec<_> = (0..self.below(3)).map(|_| rule(self, "from")).collect();
        let egress: Vec<_> = (0..self.below(3)).map(|_| rule(self, "to")).collect();
        let types = self.pick(&["[Ingress]", "[Egress]", "[Ingress, Egress]"]);
        let spec = format!(
            "{{podSelector: {subjects}, policyTypes: {types}, ingress: [{}], egress: [{}]}}",
            ingress.join(", "),
            egress.join(", ")
        );
        policy("shop", &format!("random-{number}"), &spec)
    }
}

/// The manifests as they are, and what the specification says of them.
#[derive(Default)]
struct World {
    files: BTreeMap<String, String>,
    real: Vec<(ObjectName, u32)>,
}

impl World {
    fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let mut implied: BTreeMap<_, _> = BTreeMap::new();
        for text in self.files.values() {
            for document in serde_yaml_ng::Deserializer::from_str(text) {
                let value = serde_json::Value::deserialize(document).unwrap();
                let change = match convert::strict(&value).unwrap() {
                    Object::Namespace(fact) => Change::Namespace(fact),
                    Object::Pod(pod) => {
                        let name = pod.fact.name.namespace.clone();
                        implied.insert(name.clone(), convert::implied_namespace(&name));
                        Change::Pod(pod.fact)
                    }
                    Object::Policy(fact) => Change::Policy(fact),
                    _ => continue,
                };
                facts.apply(&change);
            }
        }
        for (name, fact) in implied {
            if facts.namespaces.iter().all(|known| known.name != name) {
                facts.apply(&Change::Namespace(fact));
            }
        }
        for (number, (pod, ifindex)) in (1..).zip(&self.real) {
            facts.apply(&Change::Endpoint(EndpointFact {
                ifindex: *ifindex,
                id: EndpointId(number),
                bridge: None,
                pod: Some(pod.clone()),
            }));
        }
        facts
    }

    /// Whether a connection between two real pods passes both.
    fn allows(facts: &Facts, scene: &Scene, from: &str, to: &str, protocol: u8, v6: bool) -> bool {
        let oracle = Oracle::new(facts);
        let side = |direction, subject: &str, peer: &str| {
            let Some((namespace, name)) = subject.split_once('/') else {
                return true;
            };
            let peer = Peer::Address(scene.address(peer, v6));
            let subject = ObjectName::new(namespace, name);
            oracle.allows(direction, &subject, peer, protocol, Some(PORT))
        };
        side(Direction::Egress, from, to) && side(Direction::Ingress, to, from)
    }
}

const FROM_CLIENT: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], \
     ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";
const CLIENT: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress, Egress], \
     egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}";

/// Pairs whose verdict no change may touch.
const ALWAYS: [(&str, &str); 1] = [("shop/client", "shop/web")];
const NEVER: [(&str, &str); 3] = [
    ("team/stranger", "shop/web"),
    ("outside", "shop/web"),
    ("shop/client", "team/stranger"),
];
/// Pairs whose verdict changes all the time.
const SOMETIMES: [(&str, &str); 6] = [
    ("shop/one", "shop/web"),
    ("team/two", "shop/web"),
    ("shop/one", "team/two"),
    ("team/two", "shop/one"),
    ("shop/web", "shop/one"),
    ("outside", "shop/one"),
];

#[test]
fn a_thousand_changes_interrupt_nothing_that_is_allowed_and_open_nothing_that_is_not() {
    in_every_setting(
        &[
            "--max-pod-opened-flows",
            "200000",
            "--max-peer-opened-flows",
            "200000",
        ],
        |scene| {
            let mut random = Random::new();
            let mut world = World::default();
            cast(scene, &mut world);
            let mut traffic = Vec::new();
            for v6 in [false, true] {
                for (from, to) in ALWAYS {
                    traffic.push(Steady::allowed(scene.netns(from), scene.server(to, v6)));
                }
            }
            for (from, to) in NEVER {
                for v6 in [false, true] {
                    traffic.push(Steady::forbidden(scene.netns(from), scene.server(to, v6)));
                }
            }
            let (mut changes, mut seen) = (0, [0_u32; 2]);
            for round in 0..ROUNDS {
                for (file, text, removes) in batch(&mut random, round) {
                    if removes && world.files.remove(&file).is_some() {
                        std::fs::remove_file(scene.cluster.manifests().join(file)).unwrap();
                    } else {
                        scene.cluster.write(&file, &text).unwrap();
                        world.files.insert(file, text);
                    }
                    changes += 1;
                    holds(scene, &world);
                }
                // What was written before it is read before it, or with it.
                scene
                    .cluster
                    .apply("round.yaml", &namespace("round", ""))
                    .unwrap();
                if round % 10 == 9 {
                    agrees(scene, &world, &mut seen);
                }
            }
            assert_eq!(changes, 1000);
            assert!(
                seen.iter().all(|count| *count > 0),
                "both verdicts were seen: {seen:?}"
            );
            for steady in traffic {
                assert!(steady.end() > 100);
            }
        },
    );
}

fn cast(scene: &mut Scene, world: &mut World) {
    let base = [
        ("shop/web", "app: web", 10),
        ("shop/client", "app: client", 20),
        ("team/stranger", "app: stranger", 30),
        ("shop/one", "color: red, size: s", 101),
        ("team/two", "color: blue, size: l", 102),
    ];
    for (name, labels, number) in base {
        scene.pod(name, labels, number);
        let (in_namespace, pod) = name.split_once('/').unwrap();
        let [v4, v6] = addresses(number);
        let text = pod_manifest(in_namespace, pod, labels, &[&v4, &v6]);
        world
            .files
            .insert(format!("pod-{in_namespace}-{pod}.yaml"), text);
        let ifindex = scene.cluster.pod(name).unwrap().ifindex;
        world
            .real
            .push((ObjectName::new(in_namespace, pod), ifindex));
    }
    for (from, to) in NEVER {
        scene.passes(from, to);
    }
    for (name, spec) in [("from-client", FROM_CLIENT), ("client", CLIENT)] {
        scene.policy(name, spec);
        let file = format!("policy-{name}.yaml");
        world.files.insert(file, policy("shop", name, spec));
    }
    scene.passes("shop/client", "shop/web");
}

/// One change of every file, twenty in all: its new text, and whether it rather is removed.
fn batch(random: &mut Random, round: usize) -> Vec<(String, String, bool)> {
    let mut changes = Vec::new();
    for number in 0..POLICIES {
        let text = random.policy(number);
        let removes = random.below(4) == 0;
        changes.push((format!("random-{number}.yaml"), text, removes));
    }
    for (in_namespace, name, number) in PODS {
        let [v4, v6] = addresses(number);
        let labels = random.labels(round);
        let text = pod_manifest(in_namespace, name, &labels, &[&v4, &v6]);
        changes.push((format!("pod-{in_namespace}-{name}.yaml"), text, false));
    }
    for name in NAMESPACES {
        let labels = random.labels(round);
        let removes = random.below(3) == 0;
        let text = namespace(name, &labels);
        changes.push((format!("namespace-{name}.yaml"), text, removes));
    }
    changes
}

/// The constant pairs are constant: the specification says so of every single state.
fn holds(scene: &Scene, world: &World) {
    let facts = world.facts();
    for (pairs, wanted) in [(&ALWAYS[..], true), (&NEVER[..], false)] {
        for (from, to) in pairs {
            for (protocol, v6) in [(6, false), (6, true), (17, false), (17, true)] {
                let allows = World::allows(&facts, scene, from, to, protocol, v6);
                assert_eq!(
                    allows, wanted,
                    "{from} → {to}, protocol {protocol}, IPv6 {v6}"
                );
            }
        }
    }
}

/// The pairs that change are as the specification says now.
fn agrees(scene: &Scene, world: &World, seen: &mut [u32; 2]) {
    let facts = world.facts();
    for (from, to) in SOMETIMES {
        for (protocol, number) in [(Protocol::Tcp, 6), (Protocol::Udp, 17)] {
            for v6 in [false, true] {
                let wanted = World::allows(&facts, scene, from, to, number, v6);
                let outcome = scene.ask(protocol, from, to, v6);
                assert_eq!(
                    outcome == Outcome::Allowed,
                    wanted,
                    "{protocol:?} {from} → {to}, IPv6 {v6}"
                );
                seen[usize::from(wanted)] += 1;
            }
        }
    }
}
