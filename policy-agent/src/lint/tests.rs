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
    - namespaceSelector: {}
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

/// A policy of this namespace, name and specification.
fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn names_are_looked_up_by_each_pod_and_not_by_its_namespace() {
    let dns =
        "{podSelector: {matchLabels: {role: r}}, egress: [{ports: [{port: 53, protocol: UDP}]}]}";
    let limited = |labels: &str| {
        format!("{{podSelector: {{matchLabels: {labels}}}, egress: [{{ports: [{{port: 443}}]}}]}}")
    };
    let pods = with_cluster("  podSelector: {}");
    let no_dns = |text: &str| {
        let findings = findings(text);
        findings
            .iter()
            .filter(|finding| finding.contains("allows no DNS"))
            .count()
    };
    let of = |labels: &str| policy("x", "q", &limited(labels)) + &policy("x", "r", dns);
    assert_eq!(no_dns(&(pods.clone() + &of("{app: a}"))), 1);
    let both = pods.replace("labels: {app: a}", "labels: {app: a, role: r}");
    assert_eq!(no_dns(&(both + &of("{app: a}"))), 0);
    // Without pods: by what the selectors say.
    assert_eq!(no_dns(&of("{app: a}")), 1);
    assert_eq!(no_dns(&of("{app: a, role: r}")), 0);
    assert_eq!(
        no_dns(&(policy("x", "q", &limited("{role: r}")) + &policy("z", "r", dns))),
        1
    );
}

#[test]
fn a_resolver_may_listen_on_another_port() {
    let resolver = |port: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: d, namespace: x, labels: {{k: dns}}}}\nspec: {{containers: [{{ports: [{{name: {port}, containerPort: 5353, protocol: UDP}}]}}]}}\n"
        )
    };
    let spec = "
  podSelector: {matchLabels: {app: a}}
  egress: [{ports: [{port: 5353, protocol: UDP}]}]";
    assert_eq!(
        findings(&(with_cluster(spec) + &resolver("dns"))),
        [] as [String; 0]
    );
    assert_eq!(
        findings(&(with_cluster(spec) + &resolver("mdast"))).len(),
        1
    );
}

#[test]
fn peers_that_are_nobody_here() {
    let with = |peer: &str| {
        with_cluster(&format!(
            "  podSelector: {{}}\n  ingress: [{{from: [{peer}]}}]"
        ))
    };
    let namespace = "warning: spec.ingress[0].from[0].namespaceSelector: matches none of the namespaces in these manifests";
    let pod =
        "warning: spec.ingress[0].from[0].podSelector: matches none of the pods in these manifests";
    for (peer, expected) in [
        (
            "{namespaceSelector: {matchLabels: {name: x}}}",
            Some(namespace),
        ),
        (
            "{namespaceSelector: {matchLabels: {team: a}}, podSelector: {}}",
            Some(namespace),
        ),
        ("{podSelector: {matchLabels: {name: a}}}", Some(pod)),
        (
            "{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [a]}]}}",
            Some(pod),
        ),
        (
            "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: elsewhere}}}",
            None,
        ),
        (
            "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}",
            None,
        ),
        ("{podSelector: {matchLabels: {app: a}}}", None),
    ] {
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(findings(&with(peer)), expected, "{peer}");
    }
    let host = with("{podSelector: {matchLabels: {app: h}}}")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: h, namespace: x, labels: {app: h}}\nspec: {hostNetwork: true}\n";
    assert!(findings(&host)[0].contains("matches only pods in the host's network"));
}

#[test]
fn lists_that_are_empty_allow_everything() {
    let spec = "{podSelector: {}, ingress: [{from: [], ports: []}], egress: [{to: []}]}";
    assert_eq!(
        findings(&policy("default", "p", spec)),
        [
            "warning: spec.ingress[0].from: is empty: allows every peer",
            "warning: spec.ingress[0].ports: is empty: allows every port",
            "warning: spec.egress[0].to: is empty: allows every peer",
        ]
    );
}

#[test]
fn policies_of_others_are_worth_a_warning_with_their_name() {
    let text = "apiVersion: example.org/v1\nkind: ClusterwideNetworkPolicy\nmetadata: {name: c}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let found = lint(&[("f.yaml".into(), File::read(text.as_bytes()))]);
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "warning: f.yaml:1: document 1: ClusterwideNetworkPolicy c: ClusterwideNetworkPolicy of example.org/v1 has no effect here",
            "notice: f.yaml:4: document 2: Deployment d: Deployment of apps/v1 has no effect here",
        ]
    );
}

#[test]
fn what_yaml_reads_otherwise_is_named_with_its_line() {
    let spec = "{podSelector: {matchLabels: {on: a}}}";
    let text = policy("default", "p", spec);
    let found = lint(&[("f.yaml".into(), File::read(text.as_bytes()))]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].field.as_str(), "spec.podSelector.matchLabels.true");
    assert_eq!(found[0].place.map(|place| place.line), Some(5));
    let found = lint(&[(
        "f.yaml".into(),
        File::read(text.replace("on: a", "a: on").as_bytes()),
    )]);
    assert_eq!(found[0].severity, Severity::Error);
    assert!(
        found[0]
            .hint
            .as_deref()
            .unwrap()
            .contains("put it in quotes")
    );
}
