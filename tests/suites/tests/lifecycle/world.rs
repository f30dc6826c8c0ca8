//! A cluster under change: what its manifests say, what the specification says of them, and pairs
//! of which it always says the same.

use std::collections::BTreeMap;

use policy_agent::convert::{self, Object};
use policy_common::{Direction, EndpointId};
use policy_core::{
    laws::{Facts, Oracle},
    model::{Change, EndpointFact, ObjectName, Peer},
};
use policy_harness::{Wiring, cluster::pod_manifest, topology::BRIDGE};
use serde::Deserialize as _;

use crate::scene::{PORT, Scene, addresses, policy};

const FROM_CLIENT: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], \
     ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";
const CLIENT: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress, Egress], \
     egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}";

/// Pairs whose verdict no change may touch.
pub(crate) const ALWAYS: [(&str, &str); 1] = [("shop/client", "shop/web")];
/// The same; none of them has the other's address from before.
pub(crate) const NEVER: [(&str, &str); 3] = [
    ("team/stranger", "shop/web"),
    ("outside", "shop/web"),
    ("shop/client", "team/stranger"),
];

/// The cluster as its manifests say, one object in a file.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) facts: Facts,
    files: BTreeMap<String, Change>,
}

impl World {
    /// Real pods with the policies that hold whatever changes.
    pub(crate) fn new(scene: &mut Scene) -> Self {
        let pods = [
            ("shop/web", "app: web", 10),
            ("shop/client", "app: client", 20),
            ("team/stranger", "app: stranger", 30),
            ("shop/one", "color: red, size: s", 101),
            ("team/two", "color: blue, size: l", 102),
        ];
        let mut world = Self::default();
        for (id, (name, labels, number)) in (1..).zip(pods) {
            scene.pod(name, labels, number);
            let (namespace, pod) = name.split_once('/').unwrap();
            let [v4, v6] = addresses(number);
            let text = pod_manifest(namespace, pod, labels, &[&v4, &v6]);
            let implied = convert::implied_namespace(&namespace.into());
            world.facts.apply(&Change::Namespace(implied));
            world.write(&format!("pod-{namespace}-{pod}.yaml"), &text);
            let bridge = (scene.cluster.node.wiring() == Wiring::Bridged)
                .then(|| scene.netns("host").ifindex(BRIDGE).unwrap());
            world.facts.apply(&Change::Endpoint(EndpointFact {
                ifindex: scene.cluster.pod(name).unwrap().ifindex,
                id: EndpointId(id),
                bridge,
                pod: Some(ObjectName::new(namespace, pod)),
                ..EndpointFact::default()
            }));
        }
        for (from, to) in NEVER {
            scene.passes(from, to);
        }
        for (name, spec) in [("from-client", FROM_CLIENT), ("client", CLIENT)] {
            scene.policy(name, spec);
            let text = policy("shop", name, spec);
            world.write(&format!("policy-{name}.yaml"), &text);
        }
        for (from, to) in ALWAYS {
            scene.passes(from, to);
        }
        world
    }

    /// A file has this text now; what that changes.
    pub(crate) fn write(&mut self, file: &str, text: &str) -> Change {
        let value = serde_json::Value::deserialize(serde_yaml_ng::Deserializer::from_str(text));
        let change = match convert::strict(&value.unwrap()).unwrap() {
            Object::Namespace(fact) => Change::Namespace(fact),
            Object::Pod(pod) => Change::Pod(pod),
            Object::Policy(fact) => Change::Policy(fact),
            other => panic!("{other:?}"),
        };
        self.files.insert(file.to_owned(), change.clone());
        self.facts.apply(&change);
        change
    }

    /// A file is gone; what that changes, if it was there.
    pub(crate) fn remove(&mut self, file: &str) -> Option<Change> {
        let mut pods = self.facts.pods.iter();
        let change = match self.files.remove(file)? {
            Change::Policy(fact) => Change::PolicyRemoved(fact.name),
            Change::Namespace(fact) if pods.any(|pod| pod.name.namespace == fact.name) => {
                Change::Namespace(convert::implied_namespace(&fact.name))
            }
            Change::Namespace(fact) => Change::NamespaceRemoved(fact.name),
            other => panic!("{other:?}"),
        };
        self.facts.apply(&change);
        Some(change)
    }

    /// Whether a connection passes both sides.
    pub(crate) fn allows(
        &self,
        scene: &Scene,
        from: &str,
        to: &str,
        protocol: u8,
        v6: bool,
    ) -> bool {
        let oracle = Oracle::new(&self.facts);
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

    /// The constant pairs are constant: the specification says so of this very state.
    pub(crate) fn holds(&self, scene: &Scene) {
        for (pairs, wanted) in [(&ALWAYS[..], true), (&NEVER[..], false)] {
            for (from, to) in pairs {
                for (protocol, v6) in [(6, false), (6, true), (17, false), (17, true)] {
                    let allows = self.allows(scene, from, to, protocol, v6);
                    assert_eq!(
                        allows, wanted,
                        "{from} → {to}, protocol {protocol}, IPv6 {v6}"
                    );
                }
            }
        }
    }
}
