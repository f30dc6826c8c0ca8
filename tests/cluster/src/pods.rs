//! Pods that serve and connect, by the cluster's own means: `kubectl` and what upstream's tests run.

use std::{panic::resume_unwind, thread};

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

    /// Whether a TCP connection from here to there comes about.
    ///
    /// # Errors
    /// It cannot be tried.
    pub fn reaches(&self, cluster: &Cluster, address: &str, port: u16) -> Result<bool> {
        let to = if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        };
        let namespace = format!("--namespace={}", self.namespace);
        let container = format!(
            "--container=serves-{}",
            self.ports.first().context("a port")?
        );
        let client = ["/agnhost", "connect", &to, "--timeout=2s"];
        let mut arguments = vec![namespace.as_str(), "exec", self.name, &container, "--"];
        arguments.extend(client);
        match cluster.kubectl(&arguments) {
            Ok(_) => Ok(true),
            // What the client says of a connection that was swallowed, or answered by a reset.
            Err(error) if format!("{error}").contains("TIMEOUT") => Ok(false),
            Err(error) if format!("{error}").contains("REFUSED") => Ok(false),
            Err(error) => Err(error),
        }
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
    let cell = |from: &Pod, to: &Pod, addresses: &[String]| -> Result<String> {
        let mut words = Vec::new();
        for port in to.ports {
            if from.is(to) {
                words.push("..".to_owned());
                continue;
            }
            let mut reached = Vec::new();
            for address in addresses {
                reached.push(from.reaches(cluster, address, *port)?);
            }
            words.push(match reached[..] {
                [true, true] => port.to_string(),
                [false, false] => "--".to_owned(),
                _ => format!("{port}?"),
            });
        }
        Ok(words.join(" "))
    };
    thread::scope(|scope| {
        let row = |from| {
            scope.spawn(move || {
                let targets = pods.iter().zip(addresses);
                targets
                    .map(|(to, addresses)| cell(from, to, addresses))
                    .collect()
            })
        };
        let rows: Vec<_> = pods.iter().map(row).collect();
        rows.into_iter()
            .map(|row| row.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
