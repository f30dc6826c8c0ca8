//! Peers that are nobody in these manifests.

use std::{collections::BTreeMap, sync::Arc};

use policy_core::model::{Labels, PeerMatch, Peers, PodFact, PolicyFact, Requirement, Selector};

use super::{Accepted, Finding};
use crate::convert::{Field, NAME_LABEL};

/// The namespaces of the manifests with their labels.
pub(super) type Namespaces<'a> = BTreeMap<&'a Arc<str>, &'a Labels>;

/// Says which peers of a policy select nobody.
pub(super) fn check(
    accepted: &Accepted<'_>,
    policy: &PolicyFact,
    namespaces: &Namespaces<'_>,
    pods: &[&PodFact],
    findings: &mut Vec<Finding>,
) {
    let spec = Field::root().child("spec");
    for (direction, list, rules) in [
        ("ingress", "from", &policy.ingress),
        ("egress", "to", &policy.egress),
    ] {
        for (index, rule) in rules.iter().flatten().enumerate() {
            let Peers::AnyOf(peers) = &rule.peers else {
                continue;
            };
            let at = spec.child(direction).index(index).child(list);
            for (index, peer) in peers.iter().enumerate() {
                let PeerMatch::Pods {
                    namespaces: scope,
                    pods: wanted,
                } = peer
                else {
                    continue;
                };
                let at = at.index(index);
                let scope = scope.as_ref();
                let own = &policy.name.namespace;
                let finding = match scope {
                    Some(scope) if matches_none(scope, namespaces) => {
                        no_namespace(accepted, at, scope, namespaces)
                    }
                    _ => {
                        let is_in_scope = |name: &Arc<str>| match scope {
                            None => name == own,
                            Some(scope) => namespaces
                                .get(name)
                                .is_some_and(|labels| scope.matches(labels)),
                        };
                        no_pod(accepted, at, wanted, pods, is_in_scope)
                    }
                };
                findings.extend(finding);
            }
        }
    }
}

fn matches_none(scope: &Selector, namespaces: &Namespaces<'_>) -> bool {
    !namespaces.values().any(|labels| scope.matches(labels))
}

fn no_namespace(
    accepted: &Accepted<'_>,
    at: Field,
    scope: &Selector,
    namespaces: &Namespaces<'_>,
) -> Option<Finding> {
    let named = |wanted: &dyn Fn(&Arc<str>, &Arc<str>) -> bool| {
        scope.requirements().iter().any(|requirement| {
            matches!(requirement, Requirement::In(key, values)
                if values.iter().any(|value| wanted(key, value)))
        })
    };
    // One that is named and not here may be anywhere else.
    if named(&|key, value| &**key == NAME_LABEL && !namespaces.contains_key(value)) {
        return None;
    }
    let finding = accepted.finding(
        at.child("namespaceSelector"),
        "matches none of the namespaces in these manifests",
    );
    let by_name = named(&|key, value| &**key != NAME_LABEL && namespaces.contains_key(value));
    Some(if by_name {
        finding.hint(format!(
            "a namespace has its name in the label {NAME_LABEL}; other labels are only what it is given"
        ))
    } else {
        finding
    })
}

/// `None` also where no pod of the namespaces is known: they may have some elsewhere.
fn no_pod(
    accepted: &Accepted<'_>,
    at: Field,
    wanted: &Selector,
    pods: &[&PodFact],
    is_in_scope: impl Fn(&Arc<str>) -> bool,
) -> Option<Finding> {
    let candidates = pods.iter().filter(|pod| is_in_scope(&pod.name.namespace));
    let mut known = false;
    let mut of_host = false;
    for pod in candidates {
        known = true;
        if wanted.matches(&pod.labels) {
            if !pod.host_network {
                return None;
            }
            of_host = true;
        }
    }
    let message = if of_host {
        "matches only pods in the host's network, which are never peers"
    } else {
        "matches none of the pods in these manifests"
    };
    known.then(|| accepted.finding(at.child("podSelector"), message))
}
