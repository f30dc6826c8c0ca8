//! Laws that hold for whatever bytes the files have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::{Change, Labels, ObjectName, PodFact, PolicyFact};
use proptest::prelude::*;

use super::{File, Manifests};
use crate::{convert, lint};

/// Documents to cut up and to put together.
const CORPUS: [&str; 9] = [
    include_str!("../../../tests/data/seed-example.yaml"),
    include_str!("../../../tests/data/cases/api-01-end-port-validation.yaml"),
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {team: a}}\n",
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: z}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\nspec: {nodeName: m, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}\nstatus: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], phase: Running}\n",
    "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b, namespace: x}}\n- &p {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: z}}\n- *p\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n    ports:\n    - {port: 1, endPort: 9}\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: z}\nspec: {podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}, egress: [{}]}\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems: [{metadata: {name: q, namespace: x}, spec: {podSelector: {}}}]\n",
];

/// Some documents, with a few bytes replaced, removed or repeated.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let documents = prop::collection::vec(prop::sample::select(CORPUS.to_vec()), 0..4);
    let edit = (
        any::<prop::sample::Index>(),
        0..4_u8,
        any::<u8>(),
        1..40_usize,
    );
    let edits = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(edit, 0..6),
    ];
    (documents, edits).prop_map(|(documents, edits)| {
        let mut bytes = documents.join("---\n").into_bytes();
        for (index, kind, byte, length) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            let end = (at + length).min(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] = b" \n-:{}[]#&*!|>'\"%@`,?0"[usize::from(byte) % 22],
                2 => drop(bytes.drain(at..end)),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        bytes
    })
}

/// What happens to three files one after the other: a new content, or none any more.
pub(super) fn edits() -> impl Strategy<Value = Vec<(Arc<str>, Option<Vec<u8>>)>> {
    let name = prop::sample::select(vec!["a.yaml", "b.yaml", "c.yaml"]);
    let content = prop::option::weighted(0.8, bytes());
    prop::collection::vec((name.prop_map(Arc::from), content), 0..12)
}

/// What a receiver of the changes knows.
#[derive(Debug, Default, PartialEq)]
struct Receiver {
    namespaces: BTreeMap<Arc<str>, Labels>,
    pods: BTreeMap<ObjectName, PodFact>,
    policies: BTreeMap<ObjectName, PolicyFact>,
}

impl Receiver {
    fn apply(&mut self, change: Change) {
        let new = match change {
            Change::Namespace(fact) => {
                let labels = fact.labels;
                self.namespaces.insert(fact.name, labels.clone()) != Some(labels)
            }
            Change::NamespaceRemoved(name) => self.namespaces.remove(&name).is_some(),
            Change::Pod(fact) => self.pods.insert(fact.name.clone(), fact.clone()) != Some(fact),
            Change::PodRemoved(name) => self.pods.remove(&name).is_some(),
            Change::Policy(fact) => {
                self.policies.insert(fact.name.clone(), fact.clone()) != Some(fact)
            }
            Change::PolicyRemoved(name) => self.policies.remove(&name).is_some(),
            Change::Node(_)
            | Change::NodeRemoved(_)
            | Change::Service(_)
            | Change::ServiceRemoved(_)
            | Change::Services(_)
            | Change::Endpoint(_)
            | Change::EndpointRemoved(_)
            | Change::HostAddresses(_) => {
                panic!("no file says this")
            }
        };
        assert!(new, "only real differences are sent");
    }

    /// The namespaces that pods and policies live in.
    fn inhabited(&self) -> BTreeSet<&Arc<str>> {
        let names = self.pods.keys().chain(self.policies.keys());
        names.map(|name| &name.namespace).collect()
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in bytes()) {
        let file = File::read(&bytes);
        for entry in &file.entries {
            let _ = convert::lenient(&entry.written);
        }
        lint::lint(&[("f.yaml".into(), file)]);
    }

    #[test]
    fn arbitrary_text_does_not_make_reading_panic(text in "\\PC{0,200}") {
        File::read(text.as_bytes());
    }

    #[test]
    fn the_changes_add_up_to_what_is_in_force(edits in edits()) {
        let mut manifests = Manifests::default();
        let mut receiver = Receiver::default();
        for (name, content) in edits {
            let changes = match &content {
                Some(bytes) => manifests.replace(&name, File::read(bytes)),
                None => manifests.remove(&name),
            };
            for change in changes {
                receiver.apply(change);
            }
            // The same files again change nothing.
            if let Some(bytes) = &content {
                prop_assert_eq!(manifests.replace(&name, File::read(bytes)), []);
            }
            let mut expected = Receiver::default();
            for (_, _, object) in manifests.objects() {
                if let Some(change) = crate::source::store::upsert(object) {
                    expected.apply(change);
                }
            }
            prop_assert_eq!(&receiver.pods, &expected.pods);
            prop_assert_eq!(&receiver.policies, &expected.policies);
            for name in receiver.inhabited() {
                prop_assert!(receiver.namespaces.contains_key(name));
            }
            for name in expected.namespaces.keys() {
                prop_assert_eq!(receiver.namespaces.get(name), expected.namespaces.get(name));
            }
            let known = receiver.namespaces.keys().filter(|name| {
                !expected.namespaces.contains_key(*name) && !receiver.inhabited().contains(name)
            });
            prop_assert_eq!(known.count(), 0);
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter_where_none_defines_the_same(
        order in Just(vec![2, 4, 6, 8]).prop_shuffle()
    ) {
        let mut manifests = Manifests::default();
        let mut receiver = Receiver::default();
        for index in order {
            let name: Arc<str> = format!("{index}.yaml").into();
            for change in manifests.replace(&name, File::read(CORPUS[index].as_bytes())) {
                receiver.apply(change);
            }
        }
        prop_assert_eq!(receiver.namespaces.len(), 1);
        prop_assert_eq!(receiver.namespaces["x"].len(), 2);
        prop_assert_eq!((receiver.pods.len(), receiver.policies.len()), (1, 2));
        prop_assert_eq!(manifests.refused(), []);
    }
}
