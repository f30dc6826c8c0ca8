//! `lint-deploy`: helm has nothing to say against the chart, which renders what the kustomize base does, and
//! every value of which reaches an object.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use policy_deploy::{Helm, differences, kustomized};

/// One value each, other than the chart's own.
const VALUES: [&str; 13] = [
    r#"image.repository="registry.example/policy-agent""#,
    r#"image.tag="other""#,
    r#"image.digest="sha256:0123456789012345678901234567890123456789012345678901234567890123""#,
    r#"image.pullPolicy="Always""#,
    r#"imagePullSecrets=[{"name":"registry"}]"#,
    r#"apiServer.host="fd00::1""#,
    "sysAdmin=true",
    "sysResource=true",
    r#"logLevel="debug""#,
    "healthPort=9500",
    r#"extraArgs=["--max-endpoints=512"]"#,
    r#"tolerations=[{"operator":"Exists","effect":"NoSchedule"}]"#,
    r#"resources.limits.memory="2Gi""#,
];

/// Values that there are not, or that cannot be.
const WRONG: [&str; 3] = ["sysadmin=true", "healthPort=0", r#"image.digest="latest""#];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let helm = Helm::new()?;
    helm.lint()?;
    let chart = helm.render(&[])?;
    let lines = differences(&kustomized("kustomize")?, &chart);
    ensure!(
        lines.is_empty(),
        "kustomize and helm render different objects:\n{}",
        lines.join("\n")
    );
    for value in VALUES {
        let lines = differences(&chart, &helm.render(&[value])?);
        ensure!(!lines.is_empty(), "{value} changes nothing");
        let is_of_set =
            |line: &String| line.starts_with("/apps/v1 DaemonSet kube-system policy-agent/");
        ensure!(lines.iter().all(is_of_set), "{value}: {}", lines.join("\n"));
    }
    for value in WRONG {
        ensure!(helm.render(&[value]).is_err(), "{value} is taken");
    }
    println!(
        "chart and kustomize base render the same {} objects; {} values reach the DaemonSet",
        chart.len(),
        VALUES.len()
    );
    Ok(())
}
