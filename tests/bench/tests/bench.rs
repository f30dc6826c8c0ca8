//! The bench still measures what it says: every case checks verdicts and paths itself, so a run is
//! a test. Times are not looked at.

use anyhow::Result;
use policy_bench::{self as bench, Options};

/// Measures what the filter names and returns the figures' names.
fn figures(filter: &str) -> Result<Vec<String>> {
    let options = Options {
        quick: true,
        filter: Some(filter.to_owned()),
    };
    let (report, errors) = bench::run(&options)?;
    assert!(errors.is_empty(), "{errors:#?}");
    Ok(report.figures.iter().map(bench::Figure::name).collect())
}

#[test]
fn a_pod_without_policy_is_measured_by_both_families_in_both_directions() -> Result<()> {
    assert_eq!(
        figures("datapath/free")?,
        [
            "datapath/free family=v4 direction=ingress",
            "datapath/free family=v4 direction=egress",
            "datapath/free family=v6 direction=ingress",
            "datapath/free family=v6 direction=egress",
        ]
    );
    Ok(())
}

#[test]
fn errors_about_known_flows_are_measured() -> Result<()> {
    assert_eq!(figures("datapath/icmp_error")?.len(), 2);
    Ok(())
}

#[test]
fn new_flows_of_changing_peers_are_measured_on_two_processors_at_once() -> Result<()> {
    assert_eq!(
        figures("two_cpus/insert")?,
        ["two_cpus/insert family=v4", "two_cpus/insert family=v6"]
    );
    Ok(())
}

#[test]
fn the_kernels_account_of_each_program_is_reported() -> Result<()> {
    let figures = figures("programs/size")?;
    for what in ["instructions", "stack", "helper_calls"] {
        let name = format!("programs/size program=to_pod what={what}");
        assert!(figures.contains(&name), "{name} in {figures:?}");
    }
    Ok(())
}
