//! The cluster of a case as it stands at one moment, and what each action changes in it.
//!
//! Keeps whole API objects, because `setLabels` changes part of one and the conversion takes
//! whole ones: every object reaches the tables through the agent's own conversion. Knows no
//! tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result, bail, ensure};
use policy_agent::convert::Object;
use policy_core::model::{NamespaceFact, ObjectName, PodFact, PolicyFact};
use serde_json::{Value, json};

use super::{
    case::Case,
    endpoint::{End, Family},
    objects::{Key, Kind, pod_ips, pod_object},
    regime::Regime,
    step::{Action, SetLabels},
};

/// One change of facts, in the form in which every node gets it.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// A namespace exists like this.
    Namespace(NamespaceFact),
    /// A namespace is gone.
    NamespaceRemoved(String),
    /// A pod exists like this.
    Pod(PodUpdate),
    /// A pod is gone.
    PodRemoved(ObjectName),
    /// A policy exists like this.
    Policy(PolicyFact),
    /// A policy is gone.
    PolicyRemoved(ObjectName),
}

/// A pod with what only its node needs to know.
#[derive(Clone, Debug)]
pub(crate) struct PodUpdate {
    /// The pod.
    pub(crate) fact: PodFact,
    /// The node on which it has an interface of its own; `None` for host-network, finished and
    /// unscheduled pods.
    pub(crate) interface_on: Option<String>,
}

/// Where one end of a probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its address.
    pub(crate) address: IpAddr,
    /// What has the address.
    pub(crate) host: Host,
}

/// What has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A pod with an interface on this node.
    Pod {
        /// The node.
        node: String,
        /// The pod.
        name: ObjectName,
    },
    /// A node itself, or a host-network pod on it.
    Node(String),
    /// Something else.
    Outside,
}

/// The cluster at one moment.
#[derive(Debug)]
pub(crate) struct Cluster {
    regime: Regime,
    nodes: BTreeMap<String, Vec<IpAddr>>,
    objects: BTreeMap<Key, Value>,
    /// Policies of which a version could be read.
    read_once: BTreeSet<Key>,
}

impl Cluster {
    /// The state before the first step, and the updates that lead to it.
    pub(crate) fn new(case: &Case) -> Result<(Self, Vec<Update>)> {
        let nodes = case.cluster.nodes.iter();
        let mut cluster = Self {
            regime: Regime::of(case),
            nodes: nodes
                .map(|node| (node.name.clone(), node.ips.clone()))
                .collect(),
            objects: BTreeMap::new(),
            read_once: BTreeSet::new(),
        };
        let applied = case.steps.iter().flat_map(|step| &step.actions);
        let applied =
            applied.filter_map(|action| action.apply.as_ref()?["spec"]["nodeName"].as_str());
        let hosting = case.cluster.pods.iter().map(|pod| pod.node.as_str());
        for node in hosting.chain(applied) {
            cluster.nodes.entry(node.to_owned()).or_default();
        }
        let mut updates = Vec::new();
        for namespace in &case.cluster.namespaces {
            updates.extend(cluster.put(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": namespace.name, "labels": namespace.labels},
            }))?);
        }
        for pod in &case.cluster.pods {
            let ports = pod.container_ports.as_ref();
            let ports = ports.unwrap_or(&case.cluster.defaults.container_ports);
            updates.extend(cluster.put(pod_object(pod, ports))?);
        }
        Ok((cluster, updates))
    }

    /// Every node that the case ever names, with its addresses.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        self.nodes
            .iter()
            .map(|(name, ips)| (name.as_str(), ips.as_slice()))
    }

    /// Carries one action out.
    pub(crate) fn act(&mut self, action: &Action) -> Result<Vec<Update>> {
        if let Some(object) = &action.apply {
            return self.put(object.clone());
        }
        if let Some(reference) = &action.delete {
            let namespace = reference.namespace.clone().unwrap_or_default();
            let key = Key::new(&reference.kind, namespace, &reference.name)?;
            let version = key.kind.api_version();
            ensure!(reference.api_version == version, "{key} is of {version}");
            return self.delete(&key);
        }
        match &action.set_labels {
            Some(set) => self.set_labels(set),
            None => bail!("an action without apply, delete and setLabels"),
        }
    }

    fn put(&mut self, object: Value) -> Result<Vec<Update>> {
        let key = Key::of(&object)?;
        let converted = self
            .regime
            .convert(&object)
            .with_context(|| key.to_string())?;
        let update = match converted.object {
            Object::Namespace(fact) => Some(Update::Namespace(fact)),
            // The version that could be read last stays in force.
            Object::Policy(_) if !converted.subjects_readable && self.read_once.contains(&key) => {
                None
            }
            Object::Policy(fact) => {
                if converted.subjects_readable {
                    self.read_once.insert(key.clone());
                }
                Some(Update::Policy(fact))
            }
            Object::Pod(fact) => {
                let has_interface = !fact.host_network && !fact.finished;
                let has_node = has_interface && !fact.node.is_empty();
                let interface_on = has_node.then(|| fact.node.to_string());
                Some(Update::Pod(PodUpdate { fact, interface_on }))
            }
            Object::Node(_) | Object::Service(_) | Object::Ignored { .. } => {
                bail!("{key} has no effect")
            }
        };
        self.objects.insert(key, object);
        Ok(update.into_iter().collect())
    }

    fn delete(&mut self, key: &Key) -> Result<Vec<Update>> {
        ensure!(self.objects.remove(key).is_some(), "{key} does not exist");
        self.read_once.remove(key);
        let mut updates = Vec::new();
        if key.kind == Kind::Namespace {
            let inside: Vec<Key> = self
                .objects
                .keys()
                .filter(|other| other.kind != Kind::Namespace && other.namespace == key.name)
                .cloned()
                .collect();
            for other in inside {
                updates.extend(self.delete(&other)?);
            }
        }
        updates.push(key.removed());
        Ok(updates)
    }

    /// Deletes everything.
    pub(crate) fn clear(&mut self) -> Vec<Update> {
        self.read_once.clear();
        // Namespaces sort before what is inside them; they go last.
        let objects = std::mem::take(&mut self.objects);
        objects.keys().rev().map(Key::removed).collect()
    }

    fn set_labels(&mut self, set: &SetLabels) -> Result<Vec<Update>> {
        if set.kind == "Node" {
            // NetworkPolicies do not select nodes.
            ensure!(
                self.nodes.contains_key(&set.name),
                "node {} does not exist",
                set.name
            );
            return Ok(Vec::new());
        }
        let key = Key::new(
            &set.kind,
            set.namespace.clone().unwrap_or_default(),
            &set.name,
        )?;
        let object = self.objects.get(&key);
        let mut object = object
            .with_context(|| format!("{key} does not exist"))?
            .clone();
        object["metadata"]["labels"] = json!(set.labels);
        self.put(object)
    }

    /// Where an end is, seen together with the other end; `None` when it has no address of the
    /// family.
    ///
    /// # Errors
    /// When it does not exist.
    pub(crate) fn place(&self, end: &End, other: &End, family: Family) -> Result<Option<Place>> {
        let (addresses, host) = self.locate(end, other)?;
        let address = family.pick(&addresses);
        Ok(address.map(|address| Place { address, host }))
    }

    fn locate(&self, end: &End, other: &End) -> Result<(Vec<IpAddr>, Host)> {
        match end {
            End::Outside(address) => Ok((vec![*address], Host::Outside)),
            End::Node(name) => self.locate_node(name),
            End::HostingNode => {
                ensure!(*other != End::HostingNode, "\"node\" at both ends");
                match self.locate(other, end)?.1 {
                    Host::Pod { node, .. } | Host::Node(node) => self.locate_node(&node),
                    Host::Outside => bail!("\"node\" opposite of what is no pod"),
                }
            }
            End::Pod { namespace, name } => self.locate_pod(namespace, name),
        }
    }

    fn locate_node(&self, name: &str) -> Result<(Vec<IpAddr>, Host)> {
        let ips = self
            .nodes
            .get(name)
            .with_context(|| format!("no node {name}"))?;
        Ok((ips.clone(), Host::Node(name.to_owned())))
    }

    fn locate_pod(&self, namespace: &str, name: &str) -> Result<(Vec<IpAddr>, Host)> {
        let key = Key::new("Pod", namespace.to_owned(), name)?;
        let pod = self.objects.get(&key);
        let pod = pod.with_context(|| format!("{key} does not exist"))?;
        let node = pod["spec"]["nodeName"].as_str();
        let finished = matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        );
        let mut ips = pod_ips(pod)?;
        let host = match node {
            Some(node) if pod["spec"]["hostNetwork"] == true => {
                // An API server repeats the node's addresses here; a case may leave them out.
                ips.extend(self.nodes.get(node).into_iter().flatten());
                Host::Node(node.to_owned())
            }
            Some(node) if !finished => Host::Pod {
                node: node.to_owned(),
                name: ObjectName::new(namespace, name),
            },
            _ => Host::Outside,
        };
        Ok((ips, host))
    }
}
