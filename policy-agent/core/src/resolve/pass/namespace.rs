//! Which scopes a namespace is in follows its labels.

use crate::resolve::{compile::term::Scopes, facts::cluster::Cluster};

/// Puts the namespaces with other labels into their scopes, and marks the addresses of those that
/// are in others now.
pub(crate) fn match_namespaces(facts: &mut Cluster, scopes: &Scopes) {
    let mut names: Vec<_> = facts.dirty.labels.drain().collect();
    names.sort_unstable();
    for name in names {
        let Some(namespace) = facts.namespaces.get_mut(&name) else {
            continue;
        };
        let matching: Vec<_> = namespace
            .labels
            .iter()
            .flat_map(|labels| scopes.matching(labels))
            .collect();
        if namespace.scopes != matching {
            namespace.scopes = matching;
            let groups: Vec<_> = namespace.groups.iter().collect();
            for group in groups {
                facts.mark_group(group);
            }
        }
        facts.drop_if_empty(&name);
    }
}
