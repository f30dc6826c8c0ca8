//! Every conformance case holds in the kernel, and the runner says so when one does not.

use std::path::PathBuf;

use policy_conformance::{Case, Options, Way, find, run_case, run_files};

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name)
}

fn every_case_holds(name: &str) {
    let files = find(&[directory(name)]).expect("a directory of cases");
    let mut reports = String::new();
    let summary = run_files(&files, &Options::default(), |report| {
        reports.push_str(&report.to_string());
    });
    assert!(summary.probes > 0, "no case in {name}");
    assert_eq!(summary.cases, files.len(), "{reports}{summary}");
    assert_eq!(summary.failed, 0, "{reports}{summary}");
}

#[test]
fn every_shared_case_holds_in_the_kernel() {
    every_case_holds("cases");
}

#[test]
fn every_case_of_our_own_holds_in_the_kernel() {
    every_case_holds("cases-extra");
}

const ONE_ADMITTED: &str = include_str!("../../cases-extra/rules/01-one-pod-is-admitted.yaml");

fn lines(text: &str) -> Vec<String> {
    let report = run_case(&Case::parse(text).expect("a case"), Way::Kernel);
    report.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_right_expectation_is_no_line() {
    assert_eq!(lines(ONE_ADMITTED), Vec::<String>::new());
}

#[test]
fn a_wrong_allow_names_the_probe_the_side_and_the_reason() {
    let wrong = ONE_ADMITTED.replace("x/c: 'I'", "x/c: 'A'");
    assert_eq!(
        lines(&wrong),
        [
            "extra/rules/01-one-pod-is-admitted: step 1 \"x/a accepts x/b\": x/c → x/a TCP 80 ipv4: expected allowed, \
          got denied by ingress only (ingress: policy); \
          tables in memory: denied by ingress only; literal reading: denied by ingress only"
        ]
    );
}

#[test]
fn a_wrong_deny_is_a_failure() {
    let wrong = ONE_ADMITTED.replace("x/b: 'A'", "x/b: 'D'");
    let [line] = &lines(&wrong)[..] else {
        panic!("one line")
    };
    assert!(
        line.contains("x/b → x/a TCP 80 ipv4: expected denied, got allowed"),
        "{line}"
    );
}

#[test]
fn the_wrong_side_is_a_failure() {
    for wrong in ["x/c: 'E'", "x/c: 'B'"] {
        let [line] = &lines(&ONE_ADMITTED.replace("x/c: 'I'", wrong))[..] else {
            panic!("one line")
        };
        assert!(line.contains("got denied by ingress only"), "{line}");
    }
}

#[test]
fn an_end_that_does_not_exist_is_a_failure_in_every_family() {
    let wrong = ONE_ADMITTED.replace("from: {x/b: 'A'", "from: {x/d: 'A', x/b: 'A'");
    let lines = lines(&wrong);
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(
            line.contains("cannot be run: Pod x/d does not exist"),
            "{line}"
        );
    }
}

#[test]
fn a_policy_that_the_source_refuses_ends_the_case_with_its_reason() {
    let wrong = ONE_ADMITTED.replace("podSelector: {matchLabels: {pod: a}}", "podSelectr: {}");
    let [line] = &lines(&wrong)[..] else {
        panic!("one line")
    };
    assert!(
        line.contains("cannot go on: NetworkPolicy x/b-only"),
        "{line}"
    );
    assert!(line.contains("podSelectr"), "{line}");
}

#[test]
fn a_family_that_a_case_asks_for_and_no_end_has_is_a_failure() {
    let wrong = ONE_ADMITTED.replace(
        "      - traffic:",
        "      - families: [ipv6]\n        traffic:",
    );
    assert_eq!(lines(&wrong).len(), 2);
}

#[test]
fn a_kind_that_is_not_supported_is_named_and_nothing_passes() {
    let other = ONE_ADMITTED
        .replace(
            "requires: [NetworkPolicy]",
            "requires: [ClusterNetworkPolicy]",
        )
        .replace("kind: NetworkPolicy", "kind: ClusterNetworkPolicy");
    let report = run_case(&Case::parse(&other).unwrap(), Way::Kernel);
    assert_eq!(
        report.to_string(),
        "extra/rules/01-one-pod-is-admitted: not supported: ClusterNetworkPolicy\n"
    );
    assert_eq!(report.probes, 0);
    assert!(!report.passed());
}

#[test]
fn an_unknown_field_anywhere_in_a_case_is_an_error() {
    for (known, unknown) in [
        ("title:", "titel:"),
        ("{name: one, ips", "{name: one, ip"),
        (
            "      - traffic:",
            "      - famlies: [ipv4]\n        traffic:",
        ),
        ("x/c: 'I'", "x/c: 'X'"),
        ("x/c: 'I'", "x/c: 'I I'"),
        ("      - apply:", "      - aply:"),
    ] {
        let text = ONE_ADMITTED.replace(known, unknown);
        assert_ne!(text, ONE_ADMITTED);
        assert!(Case::parse(&text).is_err(), "{unknown} was read");
    }
}

#[test]
fn a_file_that_is_no_case_fails_the_run() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("broken.yaml"), "schema: [").unwrap();
    let files = find(&[directory.path().to_owned()]).unwrap();
    let summary = run_files(&files, &Options::default(), |_| {});
    assert_eq!(summary.failed, 1);
}

#[test]
fn a_case_broken_by_the_run_before_it_is_still_run() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = ONE_ADMITTED.replace("x/c: 'I'", "x/c: 'A'");
    std::fs::write(directory.path().join("1.yaml"), wrong).unwrap();
    std::fs::write(directory.path().join("2.yaml"), ONE_ADMITTED).unwrap();
    let files = find(&[directory.path().to_owned()]).unwrap();
    let summary = run_files(&files, &Options::default(), |_| {});
    assert_eq!(summary.to_string(), "2 cases, 4 probes: 3 passed, 1 failed");
}
