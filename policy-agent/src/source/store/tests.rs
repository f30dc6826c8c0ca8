//! Changes from lists and updates.

use policy_core::model::{NamespaceFact, ObjectName, PolicyFact, Selector};
use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 2] = [Kind::Namespace, Kind::NetworkPolicy];

/// A policy whose content tells `version`s apart.
fn policy(namespace: &str, name: &str, version: u8) -> (ObjectRef, Arc<Object>) {
    let name = ObjectName::new(namespace, name);
    let key = ObjectRef {
        kind: Kind::NetworkPolicy,
        name: name.clone(),
    };
    let fact = PolicyFact {
        name,
        subjects: Selector::everything(),
        ingress: (version & 1 != 0).then(Vec::new),
        egress: (version & 2 != 0).then(Vec::new),
    };
    (key, Arc::new(Object::Policy(fact)))
}

fn namespace(name: &str) -> (ObjectRef, Arc<Object>) {
    let name: Arc<str> = name.into();
    let fact = NamespaceFact {
        name: Arc::clone(&name),
        labels: [("team".into(), "a".into())].into(),
    };
    (
        ObjectRef::namespace(&name),
        Arc::new(Object::Namespace(fact)),
    )
}

fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Namespace(fact) => format!("+{}", fact.name),
        Change::NamespaceRemoved(name) => format!("-{name}"),
        Change::Policy(fact) => format!("+{}", fact.name),
        Change::PolicyRemoved(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    changes.iter().map(word).collect()
}

#[test]
fn what_a_complete_list_does_not_have_is_removed_and_what_is_the_same_is_no_change() {
    let mut store = Store::with_listed_namespaces();
    let list = [namespace("x"), policy("x", "a", 1), policy("x", "b", 1)];
    assert_eq!(
        words(&store.relist(&KINDS, list.clone())),
        ["+x", "+x/a", "+x/b"]
    );
    assert_eq!(words(&store.relist(&KINDS, list)), [] as [String; 0]);
    let list = [policy("x", "b", 2), policy("x", "c", 1)];
    assert_eq!(
        words(&store.relist(&KINDS, list)),
        ["+x/b", "+x/c", "-x/a", "-x"]
    );
}

#[test]
fn a_list_of_one_kind_says_nothing_of_the_others() {
    let mut store = Store::with_listed_namespaces();
    store.update([namespace("x"), policy("x", "a", 1)].map(|(key, new)| (key, Some(new))));
    assert_eq!(words(&store.relist(&[Kind::NetworkPolicy], [])), ["-x/a"]);
    assert_eq!(words(&store.relist(&[Kind::Namespace], [])), ["-x"]);
}

#[test]
fn a_namespace_is_implied_by_who_lives_in_it_only_where_nobody_lists_them() {
    let (key, object) = policy("x", "a", 1);
    let mut implied = Store::with_implied_namespaces();
    let update = [(key.clone(), Some(Arc::clone(&object)))];
    assert_eq!(words(&implied.update(update.clone())), ["+x", "+x/a"]);
    assert_eq!(words(&implied.update([(key, None)])), ["-x/a", "-x"]);
    let mut listed = Store::with_listed_namespaces();
    assert_eq!(words(&listed.update(update)), ["+x/a"]);
}

/// Objects of two namespaces.
fn list() -> impl Strategy<Value = BTreeMap<ObjectRef, Arc<Object>>> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let of_policy = (prop::sample::select(vec!["x", "z"]), name, 0..4_u8)
        .prop_map(|(namespace, name, version)| policy(namespace, name, version));
    let of_namespace = prop::sample::select(vec!["x", "z"]).prop_map(namespace);
    prop::collection::btree_map(any::<u8>(), prop_oneof![of_policy, of_namespace], 0..8)
        .prop_map(|objects| objects.into_values().collect())
}

proptest! {
    /// A receiver of the changes has what was listed last, whichever way it was told.
    #[test]
    fn a_list_and_single_updates_lead_to_the_same(lists in prop::collection::vec(list(), 1..5)) {
        let mut listed = Store::with_implied_namespaces();
        let mut updated = Store::with_implied_namespaces();
        for list in lists {
            let mut changes = listed.relist(&KINDS, list.clone());
            let gone: Vec<_> = updated
                .objects()
                .map(|(key, _)| key.clone())
                .filter(|key| !list.contains_key(key))
                .collect();
            let gone = gone.into_iter().map(|key| (key, None));
            let there = list.clone().into_iter().map(|(key, new)| (key, Some(new)));
            let mut others = updated.update(there.chain(gone));
            changes.sort_by_key(|change| words(std::slice::from_ref(change)));
            others.sort_by_key(|change| words(std::slice::from_ref(change)));
            prop_assert_eq!(changes, others);
            prop_assert!(listed.objects().eq(list.iter()));
            prop_assert_eq!(listed.relist(&KINDS, list), []);
        }
    }
}
