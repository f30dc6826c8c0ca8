//! The kinds that are followed: where they are served, and what of them is read.

use policy_core::model::{Change, ObjectName};

use super::decode::Keep::{self, Items, Members, Whole};
use crate::convert::Kind;

/// A kind as an API server serves it.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// What follows when one is gone.
    pub(super) removal: fn(ObjectName) -> Change,
    /// Its list of all namespaces.
    pub(super) path: &'static str,
    /// How many objects are asked for at once. Policies may have 2 MB each.
    pub(super) page: usize,
    /// What of an object is read; the rest is skipped while it is decoded.
    pub(super) keep: &'static Keep,
    /// Whether a revision is announced though no fact changed: somebody may wait for what he wrote.
    pub(super) announced: bool,
    /// Whether it is watched. What is written often, and seldom so that it matters, is listed now and then
    /// instead; its versions are nobody's revision.
    pub(super) watched: bool,
}

/// All of them; namespaces first.
pub(super) const ALL: [Resource; 4] = [
    Resource {
        kind: Kind::Namespace,
        removal: |name| Change::NamespaceRemoved(name.name),
        path: "/api/v1/namespaces",
        page: 500,
        keep: &NAMESPACE,
        announced: true,
        watched: true,
    },
    Resource {
        kind: Kind::Pod,
        removal: Change::PodRemoved,
        path: "/api/v1/pods",
        page: 500,
        keep: &POD,
        announced: false,
        watched: true,
    },
    Resource {
        kind: Kind::NetworkPolicy,
        removal: Change::PolicyRemoved,
        path: "/apis/networking.k8s.io/v1/networkpolicies",
        page: 100,
        keep: &POLICY,
        announced: true,
        watched: true,
    },
    Resource {
        kind: Kind::Node,
        removal: |name| Change::NodeRemoved(name.name),
        path: "/api/v1/nodes",
        // Of 10 to 20 kB each.
        page: 250,
        keep: &NODE,
        announced: false,
        watched: false,
    },
];

const NAMESPACE: Keep = Members(&[(
    "metadata",
    Members(&[
        ("name", Whole),
        ("uid", Whole),
        ("labels", Whole),
        ("resourceVersion", Whole),
    ]),
)]);

const POD: Keep = Members(&[
    (
        "metadata",
        Members(&[
            ("name", Whole),
            ("namespace", Whole),
            ("uid", Whole),
            ("labels", Whole),
            ("deletionTimestamp", Whole),
            ("resourceVersion", Whole),
            (
                "annotations",
                Members(&[("kubernetes.io/config.mirror", Whole)]),
            ),
        ]),
    ),
    (
        "spec",
        Members(&[
            ("nodeName", Whole),
            ("hostNetwork", Whole),
            ("containers", Items(&CONTAINER)),
            ("initContainers", Items(&CONTAINER)),
        ]),
    ),
    (
        "status",
        Members(&[
            ("phase", Whole),
            ("podIP", Whole),
            ("podIPs", Whole),
            ("startTime", Whole),
        ]),
    ),
]);

const CONTAINER: Keep = Members(&[("ports", Whole), ("restartPolicy", Whole)]);

const NODE: Keep = Members(&[
    (
        "metadata",
        Members(&[
            ("name", Whole),
            ("uid", Whole),
            ("labels", Whole),
            ("resourceVersion", Whole),
        ]),
    ),
    ("status", Members(&[("addresses", Whole)])),
]);

/// The `status` that servers had for a time is nobody's concern.
const POLICY: Keep = Members(&[
    (
        "metadata",
        Members(&[
            ("name", Whole),
            ("namespace", Whole),
            ("uid", Whole),
            ("resourceVersion", Whole),
        ]),
    ),
    ("spec", Whole),
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::fields;

    fn keeps(keep: &Keep, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        match keep {
            Whole => true,
            Members(members) => members
                .iter()
                .any(|(name, keep)| name == first && (keeps(keep, rest) || matches!(keep, Whole))),
            Items(keep) => *first == "[]" && keeps(keep, rest),
        }
    }

    /// `a.b[].c["d.e"]` as its parts.
    fn parts(path: &'static str) -> Vec<&'static str> {
        let (path, last) = match path.split_once("[\"") {
            Some((path, last)) => (path, Some(last.trim_end_matches("\"]"))),
            None => (path, None),
        };
        let parts = path
            .split('.')
            .flat_map(|part| match part.strip_suffix("[]") {
                Some(name) => vec![name, "[]"],
                None => vec![part],
            });
        parts.chain(last).collect()
    }

    #[test]
    fn the_sieve_keeps_every_field_that_facts_are_made_of() {
        for resource in &ALL {
            for path in fields(resource.kind).unwrap_or(&["metadata.name", "spec.podSelector"]) {
                // The items of a list do not say these.
                if !matches!(*path, "apiVersion" | "kind") {
                    let kept = keeps(resource.keep, &parts(path));
                    assert!(kept, "{}: {path}", resource.kind.name());
                }
            }
        }
        assert!(!keeps(&POD, &parts("spec.volumes[].name")));
        assert!(!keeps(&NODE, &parts("status.images")));
        assert!(!keeps(&POD, &parts("metadata.annotations[\"other\"]")));
    }
}
