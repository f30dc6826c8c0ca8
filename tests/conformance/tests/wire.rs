//! Conformance cases hold for real connections between network namespaces.

use std::path::PathBuf;

use policy_conformance::{Case, Options, Way, find, run_case, run_files};

/// Cases of every group and feature; `cargo xtask conformance --wire` runs all.
const CASES: &[&str] = &[
    "cases/cyclonus/action/004-namespace-label-added-then-removed",
    "cases/cyclonus/action/005-pod-created-then-deleted",
    "cases/cyclonus/conflict/002-egress-open-at-the-source-ingress-closed-at-the-destination",
    "cases/cyclonus/conflict/006-egress-closed-and-open-by-ip-on-one-pod",
    "cases/cyclonus/example/001-one-named-port-while-a-namespace-comes-and-goes",
    "cases/cyclonus/namespace/002-egress-namespace-by-automatic-label",
    "cases/cyclonus/peers/020-egress-pods-by-label-namespaces-by-label",
    "cases/cyclonus/peers/052-ingress-any-pods-any-namespace-plus-block-with-exception",
    "cases/cyclonus/ports/012-egress-sctp-any-port",
    "cases/cyclonus/ports/023-egress-udp-53-to-80",
    "cases/cyclonus/ports/047-ingress-sctp-named-serve-81-sctp",
    "cases/cyclonus/recipes/010-monitoring-pods-on-one-port",
    "cases/cyclonus/recipes/014-a-namespace-may-not-leave",
    "cases/cyclonus/rules/003-ingress-deny-all",
    "cases/cyclonus/target/006-pod-selector-by-expression",
    "cases/cyclonus/upstream/002-isolation-both-ways-but-for-dns",
    "cases/cyclonus/upstream/009-client-pod-gains-a-label",
    "cases/spec-extra/blocks/05-a-longer-prefix-with-other-ports-does-not-hide-a-shorter-one",
    "cases/spec-extra/blocks/12-an-ipv6-ingress-block-with-an-exception",
    "cases/spec-extra/blocks/14-a-long-exception-inside-an-ipv6-everything-block",
    "cases/spec-extra/lifecycle/04-a-clients-address-passes-to-a-pod-that-is-not-admitted",
    "cases/spec-extra/lifecycle/07-a-server-comes-back-under-the-same-name-with-a-new-address",
    "cases/spec-extra/nodes/01-the-hosting-node-always-reaches-an-isolated-pod",
    "cases/spec-extra/ports/01-a-named-ingress-port-resolves-on-each-selected-pod",
    "cases/spec-extra/ports/07-both-ends-of-an-ingress-range-are-inside-it",
    "cases/spec-extra/rules/07-twelve-policies-on-one-pod-one-port-each",
    "cases/spec-extra/rules/11-source-egress-closed-destination-ingress-closed",
    "cases/upstream-e2e/legacy/tcp-28-ingress-and-egress-of-one-pod-are-independent-with-pods-recreated",
    "cases/upstream-e2e/sctp-03-one-foreign-pod-admitted-over-sctp",
    "cases/upstream-e2e/tcp-21-a-namespace-gains-the-selected-label",
    "cases/upstream-e2e/tcp-33-deleting-the-policy-restores-connectivity",
    "cases/upstream-e2e/tcp-ipv6-36-a-block-replaced-by-the-address-it-used-to-except",
    "cases/upstream-e2e/udp-02-peer-and-numbered-udp-port-together",
    "cases-extra/lifecycle/01-finished-pods-and-namespaces-that-come-back",
    "cases-extra/nodes/01-host-network-pods-are-their-node",
    "cases-extra/ports/01-ranges-with-odd-ends-in-every-protocol",
    "cases-extra/unvalidated/01-what-cannot-be-read-grants-nothing",
];

#[test]
fn chosen_cases_hold_on_the_wire() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let files: Vec<PathBuf> = CASES
        .iter()
        .map(|case| root.join(format!("{case}.yaml")))
        .collect();
    // Every one is there: a renamed case is not left out.
    assert_eq!(find(&files).unwrap().len(), CASES.len());
    let options = Options {
        way: Way::Wire,
        ..Options::default()
    };
    let mut reports = String::new();
    let summary = run_files(&files, &options, |report| {
        reports.push_str(&report.to_string());
    });
    assert_eq!(summary.cases, CASES.len(), "{reports}{summary}");
    assert_eq!(summary.failed, 0, "{reports}{summary}");
}

#[test]
fn a_wrong_expectation_is_a_failure_on_the_wire_too() {
    let right = include_str!("../../cases-extra/rules/01-one-pod-is-admitted.yaml");
    for (expected, wrong, got) in [
        ("x/b: 'A'", "x/b: 'D'", "expected denied, got a connection"),
        (
            "x/c: 'I'",
            "x/c: 'A'",
            "expected allowed, got no connection (ingress: policy)",
        ),
    ] {
        let case = Case::parse(&right.replace(expected, wrong)).unwrap();
        let report = run_case(&case, Way::Wire);
        let [failure] = &report.failures[..] else {
            panic!("{report}")
        };
        assert!(failure.to_string().contains(got), "{report}");
    }
}
