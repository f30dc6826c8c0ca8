//! Upstream's tests of NetworkPolicy on a cluster, and which of them must pass.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    Cluster, binary,
    control_plane::{ADMINISTRATOR, Server},
};

/// Where the images of the tests are, by the names with which this release asks for a registry.
const REGISTRIES: &str = "promoterE2eRegistry: cluster.local/e2e\n\
                          gcRegistry: cluster.local\n\
                          dockerLibraryRegistry: cluster.local\n";
/// No kernel here has SCTP; the others would break what runs beside them.
const SKIPPED: &str = "SCTP|Serial|Disruptive";

/// Runs the tests of NetworkPolicy whose names a pattern finds, on a cluster on which the agent is.
///
/// # Errors
/// They cannot be run, or one fails.
pub fn run_upstream(cluster: &Cluster, filter: &str) -> Result<()> {
    let program = binary::e2e()?;
    let directory = cluster.directory().join("e2e");
    fs::create_dir_all(&directory)?;
    let file = |name: &str| directory.join(name);
    fs::write(file("registries.yaml"), REGISTRIES)?;
    // They know no name of a server but its address: from within its network namespace.
    let (namespace, server): (String, Server) = cluster.inside();
    server.write_kubeconfig(&file("kubeconfig"), ADMINISTRATOR)?;
    let mut tests = Command::new("nsenter");
    tests
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(program)
        .arg(format!("-kubeconfig={}", file("kubeconfig").display()))
        .args(["-provider=local", "-num-nodes=2", "-disable-log-dump=true"])
        .args(["-ginkgo.no-color", "-ginkgo.timeout=60m"])
        .arg(format!("-ginkgo.focus=NetworkPolicy.*{filter}"))
        .arg(format!("-ginkgo.skip={SKIPPED}"))
        .arg(format!(
            "-ginkgo.json-report={}",
            file("report.json").display()
        ))
        .env("KUBE_TEST_REPO_LIST", file("registries.yaml"))
        .current_dir(&directory);
    tests.status().context("starting the tests")?;
    let report = fs::read(file("report.json")).context("reading the report")?;
    judge(&serde_json::from_slice(&report)?)
}

/// Says what came of each test.
fn judge(report: &Value) -> Result<()> {
    let specs = report[0]["SpecReports"].as_array();
    let (mut passed, mut failed) = (0, 0);
    for spec in specs.context("the report has no tests")? {
        let (Some(name), Some(state)) = (spec["LeafNodeText"].as_str(), spec["State"].as_str())
        else {
            continue;
        };
        if spec["LeafNodeType"] != "It" || state == "skipped" {
            continue;
        }
        let said = if state == "passed" {
            passed += 1;
            "passed"
        } else {
            failed += 1;
            "FAILED"
        };
        println!("| {name} | {said} |");
    }
    println!("{passed} passed, {failed} failed");
    ensure!(passed + failed > 0, "no test was run");
    ensure!(failed == 0, "{failed} tests failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(specs: &[(&str, &str)]) -> Value {
        let spec = |(name, state): &(&str, &str)| json!({"LeafNodeType": "It", "LeafNodeText": name, "State": state});
        let specs: Vec<Value> = specs.iter().map(spec).collect();
        json!([{"SpecReports": specs}])
    }

    #[test]
    fn no_test_may_fail_and_one_must_have_run() {
        let (one, other) = ("should allow", "should deny");
        judge(&of(&[(one, "passed"), (other, "skipped")])).unwrap();
        for state in ["failed", "timedout", "panicked"] {
            judge(&of(&[(one, state), (other, "passed")])).unwrap_err();
        }
        judge(&of(&[(other, "skipped")])).unwrap_err();
    }
}
