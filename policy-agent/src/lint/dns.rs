//! Pods whose egress is limited and which cannot look up a name.

use std::sync::Arc;

use policy_core::model::{PodFact, PolicyFact, PortMatch, Ports, Protocol, Rule};

use super::{Accepted, Finding};
use crate::convert::Field;

/// The port of DNS.
const DNS: u16 = 53;

/// Says of which policies the pods cannot look up names.
pub(super) fn check(
    policies: &[(&Accepted<'_>, &PolicyFact)],
    pods: &[&PodFact],
    findings: &mut Vec<Finding>,
) {
    let resolving: Vec<&PolicyFact> = policies
        .iter()
        .map(|(_, policy)| *policy)
        .filter(|policy| {
            let mut rules = policy.egress.iter().flatten();
            rules.any(|rule| allows_dns(rule, pods))
        })
        .collect();
    for (accepted, policy) in policies {
        let rules = policy.egress.as_deref().unwrap_or_default();
        if rules.is_empty() || is_resolved(policy, &resolving, pods) {
            continue;
        }
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

/// Whether every pod that the policy selects may look up names by some policy.
fn is_resolved(policy: &PolicyFact, resolving: &[&PolicyFact], pods: &[&PodFact]) -> bool {
    let namespace = &policy.name.namespace;
    let mut in_namespace = resolving
        .iter()
        .filter(|other| other.name.namespace == *namespace);
    let subjects: Vec<_> = pods
        .iter()
        .filter(|pod| is_subject(policy, namespace, pod))
        .collect();
    if subjects.is_empty() {
        // Which pods there are is not known: one that selects at least as many will do.
        let own = policy.subjects.requirements();
        return in_namespace.any(|other| {
            let mut all = other.subjects.requirements().iter();
            all.all(|requirement| own.contains(requirement))
        });
    }
    let in_namespace: Vec<_> = in_namespace.collect();
    subjects.iter().all(|pod| {
        in_namespace
            .iter()
            .any(|other| other.subjects.matches(&pod.labels))
    })
}

fn is_subject(policy: &PolicyFact, namespace: &Arc<str>, pod: &PodFact) -> bool {
    pod.name.namespace == *namespace && !pod.host_network && policy.subjects.matches(&pod.labels)
}

fn allows_dns(rule: &Rule, pods: &[&PodFact]) -> bool {
    let Ports::AnyOf(ports) = &rule.ports else {
        return true;
    };
    ports.iter().any(|port| match port {
        PortMatch::AnyPort(protocol) => *protocol == Protocol::Udp,
        PortMatch::Range(protocol, first, last) => {
            let within = |number: u16| (*first..=*last).contains(&number);
            // Some clusters' resolvers listen elsewhere, behind the Service's port 53.
            let elsewhere = || {
                let mut declared = pods.iter().flat_map(|pod| &pod.ports);
                declared.any(|port| {
                    port.protocol == Protocol::Udp
                        && port.name.contains("dns")
                        && within(port.number)
                })
            };
            *protocol == Protocol::Udp && (within(DNS) || elsewhere())
        }
        PortMatch::Named(protocol, name) => *protocol == Protocol::Udp && name.contains("dns"),
    })
}
