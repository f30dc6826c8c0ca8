//! What is in force of a source, as objects: from what was said anew, one by one or as a complete
//! list, to the changes that it makes.
//!
//! Knows no files and no connections. Invariants: only real differences are changes; a namespace
//! comes before what lives in it and goes after it; what a complete list does not have is removed.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::Change;

use crate::convert::{Kind, Object, ObjectRef, implied_namespace};

/// The objects that are in force.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<ObjectRef, Arc<Object>>,
    /// The number of pods and policies in each namespace; `None` where a namespace is only there
    /// when it is said to be.
    inhabitants: Option<BTreeMap<Arc<str>, usize>>,
}

/// An object as it is now; `None` when it is gone.
pub type Update = (ObjectRef, Option<Arc<Object>>);

impl Store {
    /// A store in which a namespace is there as soon as anything lives in it.
    pub fn with_implied_namespaces() -> Self {
        Self {
            objects: BTreeMap::new(),
            inhabitants: Some(BTreeMap::new()),
        }
    }

    /// A store in which a namespace is there when it is said to be.
    pub fn with_listed_namespaces() -> Self {
        Self {
            objects: BTreeMap::new(),
            inhabitants: None,
        }
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectRef, &Arc<Object>)> {
        self.objects.iter()
    }

    /// An object.
    pub fn get(&self, key: &ObjectRef) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Takes a complete list of the objects of some kinds: those of these kinds that are not in it
    /// are gone.
    pub fn relist(
        &mut self,
        kinds: &[Kind],
        list: impl IntoIterator<Item = (ObjectRef, Arc<Object>)>,
    ) -> Vec<Change> {
        let mut updates: BTreeMap<ObjectRef, Option<Arc<Object>>> = self
            .objects
            .keys()
            .filter(|key| kinds.contains(&key.kind))
            .map(|key| (key.clone(), None))
            .collect();
        updates.extend(list.into_iter().map(|(key, object)| (key, Some(object))));
        self.update(updates)
    }

    /// Takes what is said anew of some objects, each at most once.
    pub fn update(&mut self, updates: impl IntoIterator<Item = Update>) -> Vec<Change> {
        let updates: BTreeMap<ObjectRef, Option<Arc<Object>>> = updates.into_iter().collect();
        let namespaces: BTreeSet<Arc<str>> = updates.keys().filter_map(namespace_of).collect();
        let before = self.namespaces(&namespaces);
        let mut upserts = Vec::new();
        let mut removals = Vec::new();
        for (key, new) in updates {
            let old = match &new {
                Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
                None => self.objects.remove(&key),
            };
            if key.kind == Kind::Namespace {
                continue;
            }
            let is_fact = |object: &Arc<Object>| upsert(object).is_some();
            let was = old.as_ref().is_some_and(is_fact);
            let is = new.as_ref().is_some_and(is_fact);
            match (was, is) {
                (false, true) => self.enter(&key),
                (true, false) => {
                    self.leave(&key);
                    removals.extend(removal(&key));
                }
                _ => {}
            }
            if let Some(new) = new.filter(|new| old.as_ref() != Some(new)) {
                upserts.extend(upsert(&new));
            }
        }
        // Namespaces first, and last to go: whoever reads along meets no pod without its own.
        let after = self.namespaces(&namespaces);
        let mut changes = Vec::new();
        for ((name, before), after) in namespaces.into_iter().zip(before).zip(after) {
            match after {
                Some(change) if Some(&change) != before.as_ref() => changes.push(change),
                None if before.is_some() => removals.push(Change::NamespaceRemoved(name)),
                _ => {}
            }
        }
        changes.extend(upserts);
        changes.extend(removals);
        changes
    }

    fn enter(&mut self, key: &ObjectRef) {
        if let Some((inhabitants, namespace)) = self.inhabitants.as_mut().zip(namespace_of(key)) {
            *inhabitants.entry(namespace).or_default() += 1;
        }
    }

    fn leave(&mut self, key: &ObjectRef) {
        let Some((inhabitants, namespace)) = self.inhabitants.as_mut().zip(namespace_of(key))
        else {
            return;
        };
        if let Some(count) = inhabitants.get_mut(&namespace) {
            *count -= 1;
            if *count == 0 {
                inhabitants.remove(&namespace);
            }
        }
    }

    /// The namespaces as they are: defined, implied by what lives in them, or not at all.
    fn namespaces(&self, names: &BTreeSet<Arc<str>>) -> Vec<Option<Change>> {
        let of = |name: &Arc<str>| {
            let defined = self.objects.get(&ObjectRef::namespace(name));
            defined.and_then(|object| upsert(object)).or_else(|| {
                let inhabitants = self.inhabitants.as_ref();
                let implied = inhabitants.is_some_and(|all| all.contains_key(name));
                implied.then(|| Change::Namespace(implied_namespace(name)))
            })
        };
        names.iter().map(of).collect()
    }
}

/// The object exists like this; `None` for kinds that the model does not have.
pub(super) fn upsert(object: &Object) -> Option<Change> {
    match object {
        Object::Namespace(fact) => Some(Change::Namespace(fact.clone())),
        Object::Pod(pod) => Some(Change::Pod(pod.clone())),
        Object::Policy(fact) => Some(Change::Policy(fact.clone())),
        Object::Node(fact) => Some(Change::Node(fact.clone())),
        Object::Service(fact) => Some(Change::Service(fact.clone())),
        Object::Ignored { .. } => None,
    }
}

/// The object is gone.
fn removal(key: &ObjectRef) -> Option<Change> {
    match key.kind {
        Kind::Namespace => Some(Change::NamespaceRemoved(Arc::clone(&key.name.name))),
        Kind::Pod => Some(Change::PodRemoved(key.name.clone())),
        Kind::NetworkPolicy => Some(Change::PolicyRemoved(key.name.clone())),
        Kind::Node => Some(Change::NodeRemoved(Arc::clone(&key.name.name))),
        Kind::Service => Some(Change::ServiceRemoved(key.name.clone())),
    }
}

/// The namespace that an object lives in, or is; none of a Node, and none of a Service, which makes none be
/// there.
fn namespace_of(key: &ObjectRef) -> Option<Arc<str>> {
    match key.kind {
        Kind::Namespace => Some(Arc::clone(&key.name.name)),
        Kind::Pod | Kind::NetworkPolicy => Some(Arc::clone(&key.name.namespace)),
        Kind::Node | Kind::Service => None,
    }
}
