//! Traps that show only beside the other objects: pods that nobody selects, names that nobody has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use policy_core::model::{ContainerPort, PodFact, PolicyFact, PortMatch, Ports, Protocol, Rule};

use super::{Accepted, Finding};
use crate::convert::{Field, Object};

/// The port of DNS.
const DNS: u16 = 53;

/// Looks at all accepted objects together.
pub(super) fn check(accepted: &[Accepted<'_>], findings: &mut Vec<Finding>) {
    let pods: Vec<&PodFact> = accepted
        .iter()
        .filter_map(|accepted| match accepted.object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
        .collect();
    let policies = || {
        accepted
            .iter()
            .filter_map(|accepted| match accepted.object {
                Object::Policy(policy) => Some((accepted, policy)),
                _ => None,
            })
    };
    implied_namespaces(accepted, findings);
    let resolvers: BTreeSet<&Arc<str>> = policies()
        .filter(|(_, policy)| policy.egress.iter().flatten().any(allows_dns))
        .map(|(_, policy)| &policy.name.namespace)
        .collect();
    for (accepted, policy) in policies() {
        // Without pods in the files, who is selected is not known.
        if !pods.is_empty() {
            selection(accepted, policy, &pods, findings);
        }
        unlisted_rules(accepted, policy, findings);
        let rules = policy.egress.as_deref().unwrap_or_default();
        if !rules.is_empty() && !resolvers.contains(&policy.name.namespace) {
            findings.push(
                accepted
                    .finding(
                        Field::root().child("spec").child("egress"),
                        "allows no DNS: the pods cannot look up any name",
                    )
                    .hint("allow port 53, UDP and TCP, to the cluster's DNS if they use names"),
            );
        }
    }
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
            Object::Service(_) | Object::Ignored { .. } => {}
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
                    let protocol = format!("{protocol:?}").to_uppercase();
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

fn allows_dns(rule: &Rule) -> bool {
    let Ports::AnyOf(ports) = &rule.ports else {
        return true;
    };
    ports.iter().any(|port| match port {
        PortMatch::AnyPort(protocol) => *protocol == Protocol::Udp,
        PortMatch::Range(protocol, first, last) => {
            *protocol == Protocol::Udp && (*first..=*last).contains(&DNS)
        }
        PortMatch::Named(protocol, name) => *protocol == Protocol::Udp && name.contains("dns"),
    })
}
