//! What all files together say: which version of which object is in force, and what changed.
//!
//! Pure: knows file names but no files. Invariants: an object is in force as long as a file defines
//! it, in its last accepted version, and is gone when no document of it is left; of two files that
//! define one object the first keeps it; [`Manifests::replace`] gives only real differences.

#[cfg(test)]
mod laws;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::Change;

use super::{
    change::{removal, upsert},
    digest::{self, Digest},
    file::{Entry, File},
    kept::Kept,
};
use crate::{
    convert::{Field, Kind, Object, ObjectRef, implied_namespace},
    source::{Origin, Place, Problem, Refusal, Revision},
};

/// All files of a directory.
#[derive(Debug, Default)]
pub struct Manifests {
    files: BTreeMap<Arc<str>, Held>,
    /// The files that define an object; the first is the one whose version is in force, the others
    /// are in order.
    claims: BTreeMap<ObjectRef, Vec<Arc<str>>>,
    /// The objects that several files define.
    contested: BTreeSet<ObjectRef>,
    /// The files of which something is refused.
    faulty: BTreeSet<Arc<str>>,
    /// The number of pods and policies in force in each namespace.
    inhabitants: BTreeMap<Arc<str>, usize>,
}

/// What one file has in force, or would have if no other file came first.
#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<ObjectRef, Accepted>,
    refused: Vec<Refusal>,
    digest: Option<Digest>,
}

#[derive(Clone, Debug)]
struct Accepted {
    place: Option<Place>,
    object: Arc<Object>,
    /// As it was written, for the next run; `None` of what was not accepted.
    written: Option<Arc<str>>,
}

impl Accepted {
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
                    place,
                    object: Arc::new(object),
                    written: Some(written.to_string().into()),
                };
                held.objects.insert(key, accepted);
            } else if let Some(pod) = pod {
                nobodies.entry(key).or_insert(Accepted {
                    place,
                    object: Arc::new(Object::Pod(*pod)),
                    written: None,
                });
            }
        }
        for key in present {
            let last = last.remove(&key);
            let nobody = nobodies.remove(&key);
            let kept = match last {
                Some(last) if last.is_nobody() => nobody.or(Some(last)),
                last => last.or(nobody),
            };
            if let Some(kept) = kept {
                held.objects.entry(key).or_insert(kept);
            }
        }
        if unidentified {
            held.objects.extend(last);
        }
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
                place: None,
                object: Arc::new(object),
                written: Some(written),
            };
            files.entry(file).or_default().objects.insert(key, accepted);
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
        self.claims.iter().filter_map(|(key, claims)| {
            let file = claims.first()?;
            let accepted = self.files.get(file)?.objects.get(key)?;
            Some((file, key, &*accepted.object))
        })
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
        let namespaces: BTreeSet<Arc<str>> = touched.iter().map(namespace_of).collect();
        let namespaces_before: Vec<_> = self.namespace_changes(&namespaces);
        let before: Vec<Option<Change>> = touched.iter().map(|key| self.change(key)).collect();

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

        let mut upserts = Vec::new();
        let mut removals = Vec::new();
        for (key, before) in touched.iter().zip(before) {
            if key.kind == Kind::Namespace {
                continue;
            }
            let after = self.change(key);
            match (before.is_some(), after.is_some()) {
                (false, true) => *self.inhabitants.entry(namespace_of(key)).or_default() += 1,
                (true, false) => self.leave(&namespace_of(key)),
                _ => {}
            }
            match after {
                Some(change) if Some(&change) != before.as_ref() => upserts.push(change),
                None if before.is_some() => removals.extend(removal(key)),
                _ => {}
            }
        }
        // Namespaces first, and last to go: whoever reads along meets no pod without its own.
        let after = self.namespace_changes(&namespaces);
        let mut changes = Vec::new();
        for ((name, before), after) in namespaces.iter().zip(namespaces_before).zip(after) {
            match after {
                Some(change) if Some(&change) != before.as_ref() => changes.push(change),
                None if before.is_some() => {
                    removals.push(Change::NamespaceRemoved(Arc::clone(name)));
                }
                _ => {}
            }
        }
        changes.extend(upserts);
        changes.extend(removals);
        changes
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

    fn leave(&mut self, namespace: &Arc<str>) {
        if let Some(count) = self.inhabitants.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.inhabitants.remove(namespace);
            }
        }
    }

    fn change(&self, key: &ObjectRef) -> Option<Change> {
        upsert(&self.in_force(key)?.object)
    }

    /// The namespaces as they are: defined, implied by what lives in them, or not at all.
    fn namespace_changes(&self, names: &BTreeSet<Arc<str>>) -> Vec<Option<Change>> {
        let of = |name: &Arc<str>| {
            let key = ObjectRef::namespace(name);
            self.change(&key).or_else(|| {
                let implied = self.inhabitants.contains_key(name);
                implied.then(|| Change::Namespace(implied_namespace(name)))
            })
        };
        names.iter().map(of).collect()
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

/// The namespace that an object lives in, or is.
fn namespace_of(key: &ObjectRef) -> Arc<str> {
    Arc::clone(match key.kind {
        Kind::Namespace => &key.name.name,
        Kind::Pod | Kind::Service | Kind::NetworkPolicy => &key.name.namespace,
    })
}
