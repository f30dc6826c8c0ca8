//! What all files together say: which version of which object is in force, and what changed.
//!
//! Pure: knows file names but no files. Invariants: an object is in force as long as a file defines
//! it, in its last accepted version, and is gone when no document of it is left; of two files that
//! define one object the first keeps it; [`Manifests::replace`] gives only real differences.

mod closing;
#[cfg(test)]
mod laws;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::Change;

use super::{
    digest::{self, Digest},
    file::{Entry, File},
    kept::Kept,
};
use crate::{
    convert::{Field, Object, ObjectRef},
    source::{Kept as KeptObject, Origin, Place, Problem, Refusal, Revision, Store},
};

/// All files of a directory.
#[derive(Debug)]
pub struct Manifests {
    files: BTreeMap<Arc<str>, Held>,
    /// The files that define an object; the first is the one whose version is in force, the others
    /// are in order.
    claims: BTreeMap<ObjectRef, Vec<Arc<str>>>,
    /// The objects that several files define.
    contested: BTreeSet<ObjectRef>,
    /// The files of which something is refused.
    faulty: BTreeSet<Arc<str>>,
    /// What is in force.
    store: Store,
}

impl Default for Manifests {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            claims: BTreeMap::new(),
            contested: BTreeSet::new(),
            faulty: BTreeSet::new(),
            store: Store::with_implied_namespaces(),
        }
    }
}

/// What one file has in force, or would have if no other file came first.
#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<ObjectRef, Accepted>,
    refused: Vec<Refusal>,
    digest: Option<Digest>,
    /// How many of the objects are there in an earlier form only.
    kept: usize,
}

#[derive(Clone, Debug)]
struct Accepted {
    age: Age,
    place: Option<Place>,
    object: Arc<Object>,
    /// As it was written, for the next run; `None` of what was not accepted.
    written: Option<Arc<str>>,
}

/// When an object was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It is what the file says now.
    Current,
    /// The file does not say it any more in a way that can be read.
    Earlier,
    /// An earlier run read it.
    EarlierRun,
}

impl Accepted {
    /// What it is when the file does not say it now.
    fn kept(self) -> Self {
        Self {
            age: match self.age {
                Age::Current | Age::Earlier => Age::Earlier,
                Age::EarlierRun => Age::EarlierRun,
            },
            ..self
        }
    }

    /// A pod that was refused and never accepted.
    fn is_nobody(&self) -> bool {
        matches!(&*self.object, Object::Pod(pod) if pod.unreadable)
    }
}

impl Manifests {
    /// Takes a new version of a file. What it still defines, but broken, stays as it was; so does
    /// what it defined before when something in it cannot be told apart.
    pub fn replace(&mut self, name: &Arc<str>, file: File) -> Vec<Change> {
        let mut last = match self.files.get(name) {
            Some(held) => held.objects.clone(),
            None => BTreeMap::new(),
        };
        let mut held = Held {
            digest: file.digest,
            ..Held::default()
        };
        let mut present = BTreeSet::new();
        // Pods that are refused: isolated and nobody, unless an earlier version is in force.
        let mut nobodies: BTreeMap<ObjectRef, Accepted> = BTreeMap::new();
        let mut unidentified = false;
        if file.blank && !last.is_empty() {
            unidentified = true;
            held.refuse(name, None, None, Problem::Blank);
        }
        for entry in file.entries {
            held.refused.extend(entry.refusals(name));
            let Entry {
                place,
                object: key,
                outcome,
                pod,
                written,
                ..
            } = entry;
            let Some(key) = key else {
                unidentified |= outcome.is_err();
                continue;
            };
            if let Some(first) = held.objects.get(&key) {
                let first = first.place.map_or(0, |place| place.document);
                held.refuse(name, place, Some(key), Problem::InDocument(first));
                continue;
            }
            present.insert(key.clone());
            if let Ok(object) = outcome {
                let accepted = Accepted {
                    age: Age::Current,
                    place,
                    object: Arc::new(object),
                    written: Some(written.to_string().into()),
                };
                held.objects.insert(key, accepted);
            } else if let Some(pod) = pod {
                nobodies.entry(key).or_insert(Accepted {
                    age: Age::Current,
                    place,
                    object: Arc::new(Object::Pod(*pod)),
                    written: None,
                });
            }
        }
        for key in present {
            let last = last.remove(&key);
            let nobody = nobodies.remove(&key);
            let last = last.map(Accepted::kept);
            let kept = match last {
                Some(last) if last.is_nobody() => nobody.or(Some(last)),
                last => last.or(nobody),
            };
            if let Some(kept) = kept {
                held.objects.entry(key).or_insert(kept);
            }
        }
        if unidentified {
            let kept = last.into_iter();
            held.objects
                .extend(kept.map(|(key, last)| (key, last.kept())));
        }
        let is_kept = |accepted: &&Accepted| accepted.age != Age::Current && !accepted.is_nobody();
        held.kept = held.objects.values().filter(is_kept).count();
        self.put(name, Some(held))
    }

    /// Goes on with what an earlier run had accepted, as if its files had been read.
    pub(super) fn restore(&mut self, kept: Vec<Kept>) -> Vec<Change> {
        let mut files: BTreeMap<Arc<str>, Held> = BTreeMap::new();
        for Kept {
            file,
            key,
            object,
            written,
        } in kept
        {
            let accepted = Accepted {
                age: Age::EarlierRun,
                place: None,
                object: Arc::new(object),
                written: Some(written),
            };
            let held = files.entry(file).or_default();
            held.objects.insert(key, accepted);
            held.kept = held.objects.len();
        }
        let files = files.into_iter();
        files
            .flat_map(|(name, held)| self.put(&name, Some(held)))
            .collect()
    }

    /// Everything that was accepted, with the file that it is in.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(name, held)| {
            let objects = held.objects.values();
            objects.filter_map(|accepted| Some((&**name, accepted.written.as_deref()?)))
        })
    }

    /// The objects in force of which the file says nothing now that can be read, and why; `away` is
    /// why files could not even be looked at.
    pub fn kept(&self, away: Option<&Problem>) -> Vec<KeptObject> {
        let mut kept = Vec::new();
        for (name, held) in self.files.iter().filter(|(_, held)| held.kept > 0) {
            for (key, accepted) in &held.objects {
                let is_owner = || self.owner(key) == Some(name);
                if accepted.age == Age::Current || accepted.is_nobody() || !is_owner() {
                    continue;
                }
                let own =
                    |refusal: &&Refusal| refusal.object.as_ref().is_none_or(|object| object == key);
                let problem = held
                    .refused
                    .iter()
                    .find(own)
                    .map(|refusal| &refusal.problem);
                kept.push(KeptObject {
                    object: key.clone(),
                    origin: Origin::File {
                        name: Arc::clone(name),
                        place: None,
                    },
                    by_earlier_run: accepted.age == Age::EarlierRun,
                    problem: problem.or(away).cloned(),
                });
            }
        }
        kept
    }

    /// The file that an object in force is in.
    pub(super) fn owner(&self, key: &ObjectRef) -> Option<&Arc<str>> {
        self.claims.get(key)?.first()
    }

    /// Forgets a file that is gone.
    pub fn remove(&mut self, name: &Arc<str>) -> Vec<Change> {
        self.put(name, None)
    }

    /// The names of all files.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
    }

    /// All objects in force, with the file that defines each.
    pub fn objects(&self) -> impl Iterator<Item = (&Arc<str>, &ObjectRef, &Object)> {
        let objects = self.store.objects();
        objects.filter_map(|(key, object)| Some((self.owner(key)?, key, &**object)))
    }

    /// Everything that is refused, in the order of files and documents. Takes as long as there is to
    /// say, not as there are objects: it is asked after every change.
    pub fn refused(&self) -> Vec<Refusal> {
        let files = self.faulty.iter().filter_map(|name| self.files.get(name));
        let mut refused: Vec<Refusal> = files
            .flat_map(|held| held.refused.iter().cloned())
            .collect();
        for key in &self.contested {
            let claims = self.claims.get(key).and_then(|claims| claims.split_first());
            let Some((owner, others)) = claims else {
                continue;
            };
            for name in others {
                let held = self.files.get(name);
                let accepted = held.and_then(|held| held.objects.get(key));
                refused.push(Refusal {
                    object: Some(key.clone()),
                    origin: Origin::File {
                        name: Arc::clone(name),
                        place: accepted.and_then(|accepted| accepted.place),
                    },
                    field: Field::root(),
                    problem: Problem::InFile(Arc::clone(owner)),
                });
            }
        }
        refused.sort_by(|a, b| a.origin.cmp(&b.origin));
        refused
    }

    /// The revision of what all files said when they were read last. Takes as long as there are
    /// files.
    pub fn revision(&self) -> Revision {
        digest::revision(
            self.files
                .iter()
                .filter_map(|(name, held)| Some((&**name, held.digest?))),
        )
    }

    /// Puts a file in the place of its last version and says what that changes.
    fn put(&mut self, name: &Arc<str>, new: Option<Held>) -> Vec<Change> {
        let keys = |held: Option<&Held>| -> Vec<ObjectRef> {
            held.into_iter()
                .flat_map(|held| held.objects.keys().cloned())
                .collect()
        };
        let defined = keys(new.as_ref());
        let mut touched = BTreeSet::from_iter(keys(self.files.get(name)));
        touched.extend(defined.iter().cloned());

        for key in &touched {
            self.claim(key, name, defined.binary_search(key).is_ok());
        }
        match &new {
            Some(held) if !held.refused.is_empty() => self.faulty.insert(Arc::clone(name)),
            _ => self.faulty.remove(name),
        };
        match new {
            Some(held) => self.files.insert(Arc::clone(name), held),
            None => self.files.remove(name),
        };

        let updates: Vec<_> = touched
            .into_iter()
            .map(|key| {
                let object = self
                    .in_force(&key)
                    .map(|accepted| Arc::clone(&accepted.object));
                (key, object)
            })
            .collect();
        self.store.update(updates)
    }

    fn claim(&mut self, key: &ObjectRef, name: &Arc<str>, defines: bool) {
        let claims = self.claims.entry(key.clone()).or_default();
        match (claims.iter().position(|claim| claim == name), defines) {
            (Some(position), false) => {
                claims.remove(position);
                if claims.is_empty() {
                    self.claims.remove(key);
                }
            }
            (None, true) => {
                let others = claims.get(1..).unwrap_or_default();
                let position = others.partition_point(|claim| claim < name);
                claims.insert(claims.len().min(position + 1), Arc::clone(name));
            }
            _ => {}
        }
        if self.claims.get(key).is_some_and(|claims| claims.len() > 1) {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(key);
        }
    }

    fn in_force(&self, key: &ObjectRef) -> Option<&Accepted> {
        let owner = self.claims.get(key)?.first()?;
        self.files.get(owner)?.objects.get(key)
    }
}

impl Held {
    fn refuse(
        &mut self,
        file: &Arc<str>,
        place: Option<Place>,
        object: Option<ObjectRef>,
        problem: Problem,
    ) {
        let name = Arc::clone(file);
        self.refused.push(Refusal {
            object,
            origin: Origin::File { name, place },
            field: Field::root(),
            problem,
        });
    }
}
