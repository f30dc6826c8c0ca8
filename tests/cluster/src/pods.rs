//! Pods that serve and connect, by the cluster's own means: `kubectl` and what upstream's tests run.

use std::{collections::BTreeSet, panic::resume_unwind, thread};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};

use crate::{AGNHOST, Api, Cluster};

/// A pod that listens on some TCP ports.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace, which is there.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The value of its label `app`.
    pub app: &'static str,
    /// Its node, from 0 on.
    pub node: usize,
    /// Where it listens; there is at least one.
    pub ports: &'static [u16],
}

impl Pod {
    /// The object for the API.
    fn object(&self, cluster: &Cluster) -> Value {
        let containers: Vec<Value> = self
            .ports
            .iter()
            .map(|port| {
                json!({
                    "name": format!("serves-{port}"),
                    "image": AGNHOST,
                    "imagePullPolicy": "Never",
                    "args": ["netexec", format!("--http-port={port}"), "--udp-port=-1"],
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                })
            })
            .collect();
        json!({
            "metadata": {"name": self.name, "labels": {"app": self.app}},
            "spec": {
                "nodeName": cluster.nodes()[self.node].name(),
                "terminationGracePeriodSeconds": 0,
                "containers": containers,
            },
        })
    }

    /// Makes it, and does not wait.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn make(&self, cluster: &Cluster, api: &Api) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        // A namespace that was made now has no service account yet, and takes no pod without.
        cluster.wait("a pod is taken", || {
            let object = self.object(cluster);
            let (status, _) = api.ask(Method::POST, &path, Some(&object))?;
            Ok(status == 201)
        })
    }

    /// Waits until it is ready; its addresses, IPv4 first.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait(&self, cluster: &Cluster, api: &Api) -> Result<Vec<String>> {
        let mut addresses = Vec::new();
        cluster.wait(&format!("{self} is ready"), || {
            let pod = api.must(Method::GET, &self.path(), None)?;
            let ips = pod["status"]["podIPs"].as_array();
            addresses = ips
                .into_iter()
                .flatten()
                .filter_map(|one| Some(one["ip"].as_str()?.to_owned()))
                .collect();
            let conditions = pod["status"]["conditions"].as_array();
            Ok(conditions.is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Ready" && one["status"] == "True")
            }))
        })?;
        Ok(addresses)
    }

    /// Those of some addresses with ports to which a TCP connection from here comes about, all tried at
    /// the same time.
    ///
    /// # Errors
    /// They cannot be tried.
    pub fn reached(&self, cluster: &Cluster, targets: &[String]) -> Result<BTreeSet<String>> {
        let tries = targets.iter().map(|to| {
            format!("{{ /agnhost connect {to} --timeout=2s >/dev/null 2>&1 && echo {to}; }} & ")
        });
        let script = tries.collect::<String>() + "wait";
        let namespace = format!("--namespace={}", self.namespace);
        let port = self.ports.first().context("a pod has a port")?;
        let container = format!("--container=serves-{port}");
        let exec = [&namespace, "exec", self.name, &container, "--", "sh", "-c"];
        let said = cluster.kubectl(&[&exec[..], &[&script]].concat())?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    fn is(&self, other: &Self) -> bool {
        (self.namespace, self.name) == (other.namespace, other.name)
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }
}

/// Who reaches whom, a line for each source and a cell for each target: a word for each of its ports, `--`
/// where no family gets through and `80?` where one does; dots for itself. `addresses` are those of each.
///
/// # Errors
/// A connection cannot be tried.
pub fn matrix(
    cluster: &Cluster,
    pods: &[Pod],
    addresses: &[Vec<String>],
) -> Result<Vec<Vec<String>>> {
    let row = |from: &Pod| -> Result<Vec<String>> {
        let others = || {
            let pods = pods.iter().zip(addresses);
            pods.filter(|(to, _)| !from.is(to))
        };
        let mut targets = Vec::new();
        for (to, addresses) in others() {
            for port in to.ports {
                targets.extend(addresses.iter().map(|address| target(address, *port)));
            }
        }
        let reached = from.reached(cluster, &targets)?;
        let cells = pods.iter().zip(addresses).map(|(to, addresses)| {
            let words = to.ports.iter().map(|port| {
                let count = addresses
                    .iter()
                    .filter(|address| reached.contains(&target(address, *port)))
                    .count();
                match count {
                    _ if from.is(to) => "..".to_owned(),
                    0 => "--".to_owned(),
                    count if count == addresses.len() => port.to_string(),
                    _ => format!("{port}?"),
                }
            });
            words.collect::<Vec<_>>().join(" ")
        });
        Ok(cells.collect())
    };
    thread::scope(|scope| {
        let row = &row;
        let rows: Vec<_> = pods
            .iter()
            .map(|from| scope.spawn(move || row(from)))
            .collect();
        rows.into_iter()
            .map(|row| row.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// An address and a port as a client wants them.
pub fn target(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
