//! What is known of one kind: which objects there are, each by a digest of what policies depend on.
//!
//! Turns objects into changes. Knows no connection. Invariants: only real differences are changes;
//! nothing follows from a list before it is complete; what a complete list does not have is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use policy_core::model::{Change, ObjectName};
use serde_json::Value;

use super::{Trouble, resource::Resource};
use crate::{
    convert::{self, Kind, Object, ObjectRef},
    source::{Kept, Origin, Problem, Refusal},
};

/// More problems of one object are not listed.
const MOST_PROBLEMS: usize = 16;

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Known {
    kind: Kind,
    removal: fn(ObjectName) -> Change,
    hasher: RandomState,
    objects: BTreeMap<ObjectName, Entry>,
    /// The number of the list that was begun last.
    round: u32,
    words: Words,
    /// What there is to say is other than when it was asked for last.
    anew: bool,
}

#[derive(Debug)]
struct Entry {
    digest: u64,
    /// The last list that has it.
    round: u32,
    /// Of a policy: which pods it is about could not be read when it was taken.
    unreadable: bool,
}

/// What there is to say about objects.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    refused: BTreeMap<ObjectName, Vec<Refusal>>,
    kept: BTreeMap<ObjectName, Kept>,
}

/// A list that is not complete yet.
#[derive(Debug)]
pub(super) struct Draft {
    round: u32,
    changed: Vec<Read>,
    words: Words,
    /// What a watch spoke of meanwhile: it knows better.
    touched: BTreeSet<ObjectName>,
}

/// An object as it was read.
#[derive(Debug)]
struct Read {
    name: ObjectName,
    version: Arc<str>,
    uid: Arc<str>,
    change: Change,
    digest: u64,
    unreadable: bool,
    problems: Vec<convert::FieldError>,
}

/// A change, and the version of the object that it comes from.
pub(super) type Versioned = (Change, Arc<str>);

impl Known {
    pub(super) fn new(resource: &Resource) -> Self {
        Self {
            kind: resource.kind,
            removal: resource.removal,
            hasher: RandomState::new(),
            objects: BTreeMap::new(),
            round: 0,
            words: Words::default(),
            anew: false,
        }
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is one of this name in no namespace.
    pub(super) fn has(&self, name: &Arc<str>) -> bool {
        let name = ObjectName::new("", Arc::clone(name));
        self.objects.contains_key(&name)
    }

    /// An object is there like this.
    pub(super) fn there(
        &mut self,
        object: Value,
        draft: Option<&mut Draft>,
    ) -> Result<Option<Versioned>, Trouble> {
        let read = self.read(object)?;
        if let Some(draft) = draft {
            draft.touched.insert(read.name.clone());
        }
        let mut words = std::mem::take(&mut self.words);
        self.anew |= words.forget(&read.name);
        let is_kept = self.say(&mut words, &read);
        self.anew |= words.is_about(&read.name);
        self.words = words;
        let is_same = self
            .objects
            .get(&read.name)
            .is_some_and(|entry| entry.digest == read.digest);
        if is_same || is_kept {
            return Ok(None);
        }
        Ok(Some(self.put(read, self.round)))
    }

    /// An object is gone.
    pub(super) fn gone(
        &mut self,
        mut object: Value,
        draft: Option<&mut Draft>,
    ) -> Result<Option<Versioned>, Trouble> {
        let version = self.complete(&mut object)?;
        let ObjectRef { name, .. } =
            convert::identify(&object).ok_or_else(|| Trouble::Nameless(String::new()))?;
        if let Some(draft) = draft {
            draft.touched.insert(name.clone());
        }
        self.anew |= self.words.forget(&name);
        let was_there = self.objects.remove(&name).is_some();
        Ok(was_there.then(|| (self.removal(name), version)))
    }

    /// A list begins.
    pub(super) fn begin(&mut self) -> Draft {
        self.round = self.round.wrapping_add(1);
        Draft {
            round: self.round,
            changed: Vec::new(),
            words: Words::default(),
            touched: BTreeSet::new(),
        }
    }

    /// The list has an object.
    pub(super) fn draft(&mut self, draft: &mut Draft, object: Value) -> Result<(), Trouble> {
        let read = self.read(object)?;
        let is_kept = self.say(&mut draft.words, &read);
        if let Some(entry) = self.objects.get_mut(&read.name) {
            entry.round = draft.round;
            if is_kept || entry.digest == read.digest {
                return Ok(());
            }
        }
        draft.changed.push(read);
        Ok(())
    }

    /// The list is complete.
    pub(super) fn finish(&mut self, draft: Draft) -> Vec<Versioned> {
        let Draft {
            round,
            changed,
            mut words,
            touched,
        } = draft;
        let mut changes = Vec::new();
        for read in changed {
            if !touched.contains(&read.name) {
                changes.push(self.put(read, round));
            }
        }
        let gone = self.objects.extract_if(.., |name, entry| {
            entry.round != round && !touched.contains(name)
        });
        let gone: Vec<ObjectName> = gone.map(|(name, _)| name).collect();
        let nobody: Arc<str> = "".into();
        changes.extend(
            gone.into_iter()
                .map(|name| (self.removal(name), Arc::clone(&nobody))),
        );
        for name in &touched {
            words.forget(name);
            words.take(name, &mut self.words);
        }
        self.anew |= words != self.words;
        self.words = words;
        changes
    }

    /// What there is to say about objects, when that is other than when this was called last.
    pub(super) fn news(&mut self) -> Option<(Vec<Refusal>, Vec<Kept>)> {
        if !std::mem::take(&mut self.anew) {
            return None;
        }
        let refused = self.words.refused.values().flatten().cloned();
        let kept = self.words.kept.values().cloned();
        Some((refused.collect(), kept.collect()))
    }

    fn put(&mut self, read: Read, round: u32) -> Versioned {
        let entry = Entry {
            digest: read.digest,
            round,
            unreadable: read.unreadable,
        };
        self.objects.insert(read.name, entry);
        (read.change, read.version)
    }

    fn removal(&self, name: ObjectName) -> Change {
        (self.removal)(name)
    }

    /// Says what is wrong with an object; whether its earlier form stays: which pods it is about
    /// cannot be read now, and could be.
    fn say(&self, words: &mut Words, read: &Read) -> bool {
        let Some(first) = read.problems.first() else {
            return false;
        };
        let object = ObjectRef {
            kind: self.kind,
            name: read.name.clone(),
        };
        let origin = Origin::Api {
            resource_version: Arc::clone(&read.version),
            uid: Arc::clone(&read.uid),
        };
        let is_kept = read.unreadable
            && self
                .objects
                .get(&read.name)
                .is_some_and(|entry| !entry.unreadable);
        if is_kept {
            let kept = Kept {
                object: object.clone(),
                origin: origin.clone(),
                by_earlier_run: false,
                problem: Some(Problem::Field(first.problem.clone())),
            };
            words.kept.insert(read.name.clone(), kept);
        }
        let refusals = read.problems.iter().take(MOST_PROBLEMS);
        let refusals = refusals.map(|error| Refusal {
            object: Some(object.clone()),
            origin: origin.clone(),
            field: error.field.clone(),
            problem: error.problem.clone().into(),
        });
        words.refused.insert(read.name.clone(), refusals.collect());
        is_kept
    }

    /// The items of a list do not say what they are; the version is said for the log only.
    fn complete(&self, object: &mut Value) -> Result<Arc<str>, Trouble> {
        let members = object
            .as_object_mut()
            .ok_or_else(|| Trouble::Nameless("it is no object".to_owned()))?;
        members.insert("apiVersion".to_owned(), self.kind.api_version().into());
        members.insert("kind".to_owned(), self.kind.name().into());
        Ok(version_of(object).unwrap_or_default().into())
    }

    fn read(&self, mut object: Value) -> Result<Read, Trouble> {
        let version = self.complete(&mut object)?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let uid = uid.into();
        let nameless = |why: String| Trouble::Nameless(why);
        let lenient = convert::lenient(&object).map_err(|invalid| nameless(invalid.to_string()))?;
        let (name, digest, change) = match lenient.object {
            Object::Namespace(fact) => {
                let name = ObjectName::new("", Arc::clone(&fact.name));
                (name, self.hasher.hash_one(&fact), Change::Namespace(fact))
            }
            Object::Pod(fact) => {
                let name = fact.name.clone();
                (name, self.hasher.hash_one(&fact), Change::Pod(fact))
            }
            Object::Policy(fact) => {
                let name = fact.name.clone();
                (name, self.hasher.hash_one(&fact), Change::Policy(fact))
            }
            Object::Node(fact) => {
                let name = ObjectName::new("", Arc::clone(&fact.name));
                (name, self.hasher.hash_one(&fact), Change::Node(fact))
            }
            Object::Service(_) | Object::Ignored { .. } => {
                return Err(nameless("it is of another kind".to_owned()));
            }
        };
        Ok(Read {
            name,
            version,
            uid,
            change,
            digest,
            unreadable: lenient.subjects_unreadable,
            problems: lenient.problems,
        })
    }
}

impl Words {
    fn is_about(&self, name: &ObjectName) -> bool {
        self.refused.contains_key(name) || self.kept.contains_key(name)
    }

    /// Whether there was anything to forget.
    fn forget(&mut self, name: &ObjectName) -> bool {
        let refused = self.refused.remove(name).is_some();
        self.kept.remove(name).is_some() || refused
    }

    fn take(&mut self, name: &ObjectName, others: &mut Self) {
        let refused = others.refused.remove_entry(name);
        self.refused.extend(refused);
        self.kept.extend(others.kept.remove_entry(name));
    }
}

/// The version of an object.
pub(super) fn version_of(object: &Value) -> Option<&str> {
    let version = object.get("metadata")?.get("resourceVersion")?.as_str()?;
    Some(version).filter(|version| !version.is_empty())
}

/// Whether a version is before another one of the same server. Versions that are no numbers have
/// no order.
pub(super) fn is_before(version: &str, other: &str) -> bool {
    match (version.parse::<u64>(), other.parse::<u64>()) {
        (Ok(version), Ok(other)) => version < other,
        _ => false,
    }
}
