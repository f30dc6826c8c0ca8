//! The indexes say what a walk over all files says, whatever happens to the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::Manifests;
use crate::{
    convert::{Field, ObjectRef},
    source::manifests::{File, Problem, laws::edits},
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
fn refused(manifests: &Manifests) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, held) in &manifests.files {
        problems.extend(held.problems.iter().cloned());
        for (key, accepted) in &held.objects {
            let owner = &manifests.claims[key][0];
            if owner != name {
                problems.push(Problem {
                    file: Arc::clone(name),
                    place: accepted.place,
                    object: Some(key.clone()),
                    field: Field::root(),
                    message: format!("is already defined in {owner}, which is used"),
                });
            }
        }
    }
    problems.sort();
    problems
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
            let broken = manifests.files.iter().filter(|(_, held)| !held.problems.is_empty());
            prop_assert!(manifests.refused.iter().eq(broken.map(|(name, _)| name)));

            let mut problems = manifests.problems();
            prop_assert!(problems.is_sorted_by_key(|problem| (&problem.file, problem.place)));
            problems.sort();
            prop_assert_eq!(problems, refused(&manifests));
        }
    }
}
