//! Random changes of a cluster: policies, labels of pods and of namespaces.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use policy_harness::cluster::pod_manifest;

use crate::scene::{PORT, addresses, namespace, policy};

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
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("POLICY_TESTS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        eprintln!("POLICY_TESTS_SEED={seed}");
        Self(seed)
    }

    /// splitmix64, below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
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
                _ => format!(
                    "{{ipBlock: {{cidr: \"fd00:1::6{}/126\"}}}}",
                    4 * self.below(3)
                ),
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

/// One change of every file, twenty in all: its new text, and whether it rather is removed.
pub(crate) fn batch(random: &mut Random, round: usize) -> Vec<(String, String, bool)> {
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
