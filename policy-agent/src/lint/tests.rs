//! Findings for manifests as people write them.

use super::{Severity, lint};
use crate::source::manifests::File;

fn findings(text: &str) -> Vec<String> {
    let files = [("f.yaml".into(), File::read(text.as_bytes()))];
    let findings = lint(&files);
    findings
        .iter()
        .map(|finding| {
            let severity = finding.severity.name();
            format!("{severity}: {}: {}", finding.field, finding.message)
        })
        .collect()
}

/// A policy in a namespace that is defined, beside a pod that it may select.
fn with_cluster(spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: x}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: x, labels: {{app: a}}}}
spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: 80}}]}}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, namespace: x}}
spec:
{spec}
"
    )
}

#[test]
fn a_sound_policy_has_no_findings() {
    let spec = "
  podSelector: {matchLabels: {app: a}}
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector: {}
    ports: [{port: http}]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/8}}]
    ports: [{port: 53, protocol: UDP}, {port: http}]
";
    assert_eq!(findings(&with_cluster(spec)), [] as [String; 0]);
}

#[test]
fn two_peers_where_one_was_meant() {
    let spec = "
  podSelector: {}
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: a}}
    - podSelector: {matchLabels: {app: a}}
";
    assert_eq!(
        findings(&with_cluster(spec)),
        [
            "warning: spec.ingress[0].from[1]: this podSelector and the namespaceSelector before it are two peers, either of which is enough"
        ]
    );
}

#[test]
fn a_policy_that_selects_nothing() {
    let spec = "  podSelector: {matchLabels: {app: b}}";
    assert_eq!(
        findings(&with_cluster(spec)),
        [
            "warning: spec.podSelector: selects none of the pods of namespace \"x\" in these manifests"
        ]
    );
}

#[test]
fn a_named_port_that_no_pod_has() {
    let spec = "
  podSelector: {}
  ingress: [{ports: [{port: 80}, {port: https}]}]
  egress: [{ports: [{port: 53, protocol: UDP}, {port: http, protocol: UDP}]}]
";
    assert_eq!(
        findings(&with_cluster(spec)),
        [
            "warning: spec.ingress[0].ports[1].port: no pod that the policy selects declares a TCP port named \"https\"",
            "warning: spec.egress[0].ports[1].port: no pod declares a UDP port named \"http\"",
        ]
    );
}

#[test]
fn a_namespace_that_is_only_implied() {
    let text =
        with_cluster("  podSelector: {}").replace("metadata: {name: x}", "metadata: {name: z}");
    assert_eq!(
        findings(&text),
        ["warning: metadata.namespace: no manifest defines the namespace \"x\""]
    );
}

#[test]
fn selectors_without_a_value_take_everything() {
    let spec = "
  podSelector:
    matchLabels:
  ingress:
  - from:
    - podSelector:
      namespaceSelector: {}
    ports:
";
    assert_eq!(
        findings(&with_cluster(spec)),
        [
            "warning: spec.podSelector.matchLabels: has no value: the selector takes everything",
            "warning: spec.ingress[0].from[0].podSelector: has no value: it is as if it were not there",
            "warning: spec.ingress[0].ports: has no value: allows every port",
        ]
    );
}

#[test]
fn rules_of_a_direction_that_is_not_listed() {
    let spec = "  {podSelector: {}, policyTypes: [Ingress], egress: [{}]}";
    assert_eq!(
        findings(&with_cluster(spec)),
        ["warning: spec.egress: has no effect: policyTypes does not list this direction"]
    );
}

#[test]
fn egress_without_dns_unless_another_policy_allows_it() {
    let spec = "  {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}";
    let text = with_cluster(spec);
    assert_eq!(
        findings(&text),
        ["warning: spec.egress: allows no DNS: the pods cannot look up any name"]
    );
    let dns = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dns, namespace: x}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}
";
    assert_eq!(findings(&(text + dns)), [] as [String; 0]);
}

#[test]
fn kinds_without_effect_are_mentioned() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    assert_eq!(
        findings(text),
        ["notice: : Deployment of apps/v1 has no effect here"]
    );
}

#[test]
fn lost_indentation_is_an_error_with_a_hint() {
    let text = include_str!("../../tests/data/seed-example.yaml");
    let findings = lint(&[("seed.yaml".into(), File::read(text.as_bytes()))]);
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Error)
    );
    let hinted: Vec<_> = findings
        .iter()
        .filter(|finding| finding.hint.is_some())
        .map(|finding| finding.field.as_str())
        .collect();
    assert!(hinted.contains(&"spec.podSelector.app"), "{findings:#?}");
}
