//! The indexes say what a walk over all files says, whatever happens to the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::Manifests;
use crate::{
    convert::{Field, ObjectRef},
    source::{
        Origin, Problem, Refusal,
        manifests::{File, laws::edits},
    },
};

/// The files that define each object.
fn definitions(manifests: &Manifests) -> BTreeMap<&ObjectRef, BTreeSet<&Arc<str>>> {
    let mut definitions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, held) in &manifests.files {
        for key in held.objects.keys() {
            definitions.entry(key).or_default().insert(name);
        }
    }
    definitions
}

/// What is refused, file by file: what is wrong in it, and what another file defined before it.
fn refused(manifests: &Manifests) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for (name, held) in &manifests.files {
        refused.extend(held.refused.iter().cloned());
        for (key, accepted) in &held.objects {
            let owner = &manifests.claims[key][0];
            if owner != name {
                refused.push(Refusal {
                    object: Some(key.clone()),
                    origin: Origin::File {
                        name: Arc::clone(name),
                        place: accepted.place,
                    },
                    field: Field::root(),
                    problem: Problem::InFile(Arc::clone(owner)),
                });
            }
        }
    }
    refused.sort_by_key(in_order);
    refused
}

fn in_order(refusal: &Refusal) -> (Origin, String) {
    (refusal.origin.clone(), refusal.to_string())
}

proptest! {
    #[test]
    fn the_indexes_say_what_a_walk_over_all_files_says(edits in edits()) {
        let mut manifests = Manifests::default();
        for (name, content) in edits {
            match content {
                Some(bytes) => manifests.replace(&name, File::read(&bytes)),
                None => manifests.remove(&name),
            };

            let definitions = definitions(&manifests);
            let claims: BTreeMap<_, BTreeSet<_>> = manifests
                .claims
                .iter()
                .map(|(key, files)| (key, files.iter().collect()))
                .collect();
            prop_assert_eq!(&claims, &definitions);
            let several = definitions.iter().filter(|(_, files)| files.len() > 1);
            prop_assert!(manifests.contested.iter().eq(several.map(|(key, _)| *key)));
            let broken = manifests.files.iter().filter(|(_, held)| !held.refused.is_empty());
            prop_assert!(manifests.faulty.iter().eq(broken.map(|(name, _)| name)));

            let mut said = manifests.refused();
            prop_assert!(said.is_sorted_by_key(|refusal| &refusal.origin));
            said.sort_by_key(in_order);
            prop_assert_eq!(said, refused(&manifests));
        }
    }
}
