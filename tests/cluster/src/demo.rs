//! The policy of `deploy/examples` on a real cluster, by `kubectl`: who reaches whom before it, with it
//! and after it.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{Cluster, Pod, deployment, matrix};

/// The ports that are tried: the policy's, and another.
const PORTS: [u16; 2] = [80, 81];
/// The pods that the example is about, on both nodes.
const PODS: [Pod; 4] = [
    pod("default", "frontend", "frontend", 0),
    pod("default", "backend", "backend", 1),
    pod("partner", "frontend", "frontend", 1),
    pod("guest", "frontend", "frontend", 0),
];
/// Who reaches whom with the policy, a line for each source: the ports of each target, `-` for one that
/// is denied. Written by hand from the policy's text.
const WITH_POLICY: [[&str; 4]; 4] = [
    [".. ..", "-- --", "80 --", "-- --"],
    ["-- --", ".. ..", "80 81", "80 81"],
    ["80 --", "80 81", ".. ..", "80 81"],
    ["-- --", "80 81", "80 81", ".. .."],
];
const OPEN: [[&str; 4]; 4] = [
    [".. ..", "80 81", "80 81", "80 81"],
    ["80 81", ".. ..", "80 81", "80 81"],
    ["80 81", "80 81", ".. ..", "80 81"],
    ["80 81", "80 81", "80 81", ".. .."],
];

const fn pod(namespace: &'static str, name: &'static str, app: &'static str, node: usize) -> Pod {
    Pod {
        namespace,
        name,
        app,
        node,
        ports: &PORTS,
    }
}

/// Shows it on a cluster on which the agent is.
///
/// # Errors
/// A connection comes about that should not, or the other way round.
pub fn tell(cluster: &Cluster) -> Result<()> {
    let api = cluster.api()?;
    let examples = deployment("examples");
    let file = |name: &str| Path::new(&examples).join(name).display().to_string();
    let (namespaces, policy) = (file("namespaces.yaml"), file("allow-frontend.yaml"));
    say(cluster, &["apply", "--filename", &namespaces])?;
    for pod in &PODS {
        pod.make(cluster, &api)?;
    }
    let mut addresses = Vec::new();
    for pod in &PODS {
        addresses.push(pod.wait(cluster, &api)?);
    }
    say(
        cluster,
        &["get", "pods", "--all-namespaces", "--output=wide"],
    )?;
    show(cluster, &addresses, &OPEN)?;
    say(cluster, &["apply", "--filename", &policy])?;
    show(cluster, &addresses, &WITH_POLICY)?;
    let name = "daemonset/policy-agent";
    let status = [
        "--namespace=kube-system",
        "exec",
        name,
        "--",
        "/policy-agent",
        "status",
    ];
    say(cluster, &status)?;
    say(cluster, &["delete", "--filename", &policy])?;
    show(cluster, &addresses, &OPEN)
}

/// Runs `kubectl` and shows both.
fn say(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    println!("\n$ kubectl {}", arguments.join(" "));
    print!("{}", cluster.kubectl(arguments)?);
    Ok(())
}

/// Connects from each to each, in both families, until all is as expected; a change is in force a moment
/// after the server has taken it.
fn show(cluster: &Cluster, addresses: &[Vec<String>], expected: &[[&str; 4]; 4]) -> Result<()> {
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen = matrix(cluster, &PODS, addresses)?;
        if seen
            .iter()
            .zip(expected)
            .all(|(row, expected)| row == expected)
        {
            break;
        }
    }
    let name = |pod: &Pod| pod.to_string();
    println!(
        "\n{:<18}{}",
        "from \\ to",
        PODS.each_ref()
            .map(|pod| format!("{:<18}", name(pod)))
            .concat()
    );
    for (from, row) in PODS.iter().zip(&seen) {
        let cells: String = row.iter().map(|cell| format!("{cell:<18}")).collect();
        println!("{:<18}{}", name(from), cells.trim_end());
    }
    if seen
        .iter()
        .zip(expected)
        .any(|(row, expected)| row != expected)
    {
        bail!("expected were {expected:?}");
    }
    Ok(())
}
