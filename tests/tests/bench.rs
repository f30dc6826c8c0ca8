//! The bench still measures what it says: every case checks verdicts and paths itself, so a run is
//! a test. Times are not looked at.

use policy_tests::bench::{self, Options};

/// Measures what the filter names and returns the figures' names.
fn figures(filter: &str) -> Vec<String> {
    let options = Options {
        quick: true,
        filter: Some(filter.to_owned()),
    };
    let (report, errors) = bench::run(&options).unwrap();
    assert!(errors.is_empty(), "{errors:#?}");
    report.figures.iter().map(bench::Figure::name).collect()
}

#[test]
fn a_pod_without_policy_is_measured_by_both_families_in_both_directions() {
    assert_eq!(
        figures("datapath/free"),
        [
            "datapath/free family=v4 direction=ingress",
            "datapath/free family=v4 direction=egress",
            "datapath/free family=v6 direction=ingress",
            "datapath/free family=v6 direction=egress",
        ]
    );
}

#[test]
fn errors_about_known_flows_are_measured() {
    assert_eq!(figures("datapath/icmp_error").len(), 2);
}

#[test]
fn new_flows_of_changing_peers_are_measured_on_two_processors_at_once() {
    assert_eq!(
        figures("two_cpus/insert"),
        ["two_cpus/insert family=v4", "two_cpus/insert family=v6"]
    );
}

#[test]
fn the_kernels_account_of_each_program_is_reported() {
    let figures = figures("programs/size");
    for what in ["instructions", "stack", "helper_calls"] {
        let name = format!("programs/size program=to_pod what={what}");
        assert!(figures.contains(&name), "{name} in {figures:?}");
    }
}
