//! Traps that show only beside the other objects: pods that nobody selects, names that nobody has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::{ContainerPort, PodFact, PolicyFact, PortMatch, Ports};

use super::{
    Accepted, Finding, dns,
    peers::{self, Namespaces},
};
use crate::convert::{Field, Object};

/// Looks at all accepted objects together.
pub(super) fn check(accepted: &[Accepted<'_>], findings: &mut Vec<Finding>) {
    let pods: Vec<&PodFact> = accepted
        .iter()
        .filter_map(|accepted| match accepted.object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
        .collect();
    let policies: Vec<(&Accepted<'_>, &PolicyFact)> = accepted
        .iter()
        .filter_map(|accepted| match accepted.object {
            Object::Policy(policy) => Some((accepted, policy)),
            _ => None,
        })
        .collect();
    let namespaces: Namespaces<'_> = accepted
        .iter()
        .filter_map(|accepted| match accepted.object {
            Object::Namespace(namespace) => Some((&namespace.name, &namespace.labels)),
            _ => None,
        })
        .collect();
    implied_namespaces(accepted, findings);
    for (accepted, policy) in &policies {
        // Without pods in the files, who is selected is not known.
        if !pods.is_empty() {
            selection(accepted, policy, &pods, findings);
            if !namespaces.is_empty() {
                peers::check(accepted, policy, &namespaces, &pods, findings);
            }
        }
        unlisted_rules(accepted, policy, findings);
    }
    dns::check(&policies, &pods, findings);
}

fn implied_namespaces(accepted: &[Accepted<'_>], findings: &mut Vec<Finding>) {
    let mut implied: BTreeMap<&Arc<str>, &Accepted<'_>> = BTreeMap::new();
    let mut defined = BTreeSet::new();
    for accepted in accepted {
        match accepted.object {
            Object::Namespace(namespace) => {
                defined.insert(&namespace.name);
            }
            Object::Pod(pod) => {
                implied.entry(&pod.name.namespace).or_insert(accepted);
            }
            Object::Policy(policy) => {
                implied.entry(&policy.name.namespace).or_insert(accepted);
            }
            Object::Node(_) | Object::Service(_) | Object::Ignored { .. } => {}
        }
    }
    for (name, accepted) in implied {
        if defined.contains(name) || &**name == "default" {
            continue;
        }
        let field = Field::root().child("metadata").child("namespace");
        findings.push(
            accepted
                .finding(field, format!("no manifest defines the namespace {name:?}"))
                .hint(
                    "it is taken to exist with no label but its name; a cluster would refuse this",
                ),
        );
    }
}

fn selection(
    accepted: &Accepted<'_>,
    policy: &PolicyFact,
    pods: &[&PodFact],
    findings: &mut Vec<Finding>,
) {
    let spec = Field::root().child("spec");
    let subjects: Vec<&PodFact> = pods
        .iter()
        .filter(|pod| {
            pod.name.namespace == policy.name.namespace
                && !pod.host_network
                && policy.subjects.matches(&pod.labels)
        })
        .copied()
        .collect();
    if subjects.is_empty() {
        let namespace = &policy.name.namespace;
        findings.push(accepted.finding(
            spec.child("podSelector"),
            format!("selects none of the pods of namespace {namespace:?} in these manifests"),
        ));
    }
    // Ingress names are the subjects' own; without subjects there is nothing to compare with.
    let directions = [
        (
            "ingress",
            &policy.ingress,
            subjects.as_slice(),
            "no pod that the policy selects",
        ),
        ("egress", &policy.egress, pods, "no pod"),
    ];
    for (direction, rules, candidates, nobody) in directions {
        if candidates.is_empty() {
            continue;
        }
        for (rule, index) in rules.iter().flatten().zip(0..) {
            let Ports::AnyOf(ports) = &rule.ports else {
                continue;
            };
            for (port, position) in ports.iter().zip(0..) {
                let PortMatch::Named(protocol, name) = port else {
                    continue;
                };
                let declares =
                    |port: &ContainerPort| port.name == *name && port.protocol == *protocol;
                if !candidates.iter().any(|pod| pod.ports.iter().any(declares)) {
                    let at = spec.child(direction).index(index);
                    let at = at.child("ports").index(position).child("port");
                    findings.push(accepted.finding(
                        at,
                        format!("{nobody} declares a {protocol} port named {name:?}"),
                    ));
                }
            }
        }
    }
}

fn unlisted_rules(accepted: &Accepted<'_>, policy: &PolicyFact, findings: &mut Vec<Finding>) {
    for (direction, covered) in [
        ("ingress", policy.ingress.is_some()),
        ("egress", policy.egress.is_some()),
    ] {
        let written = &accepted.entry.written["spec"][direction];
        if !covered && written.as_array().is_some_and(|rules| !rules.is_empty()) {
            findings.push(accepted.finding(
                Field::root().child("spec").child(direction),
                "has no effect: policyTypes does not list this direction",
            ));
        }
    }
}
