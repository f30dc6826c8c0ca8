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
}

/// All of them; namespaces first.
pub(super) const ALL: [Resource; 3] = [
    Resource {
        kind: Kind::Namespace,
        removal: |name| Change::NamespaceRemoved(name.name),
        path: "/api/v1/namespaces",
        page: 500,
        keep: &NAMESPACE,
        announced: true,
    },
    Resource {
        kind: Kind::Pod,
        removal: Change::PodRemoved,
        path: "/api/v1/pods",
        page: 500,
        keep: &POD,
        announced: false,
    },
    Resource {
        kind: Kind::NetworkPolicy,
        removal: Change::PolicyRemoved,
        path: "/apis/networking.k8s.io/v1/networkpolicies",
        page: 100,
        keep: &POLICY,
        announced: true,
    },
];

const NAMESPACE: Keep = Members(&[(
    "metadata",
    Members(&[
        ("name", Whole),
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

/// The `status` that servers had for a time is nobody's concern.
const POLICY: Keep = Members(&[
    (
        "metadata",
        Members(&[
            ("name", Whole),
            ("namespace", Whole),
            ("resourceVersion", Whole),
        ]),
    ),
    ("spec", Whole),
]);
