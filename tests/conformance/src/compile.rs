//! What the agent of one node makes of the cluster: its resolver, fed change by change.
//!
//! Knows the node's interfaces and nothing of other nodes'. Beside the resolver it keeps two
//! references that see the same changes: the tables in memory, and the plain facts for the literal
//! reading of the specification. Invariant: the resolver is made once per case; every table
//! content comes about by increments.

use std::{collections::HashMap, net::IpAddr};

use anyhow::{Context, Result, ensure};
use policy_common::{Direction, EndpointId};
use policy_core::{
    laws::{Facts, Oracle, Tables},
    model::{Change, EndpointFact, ObjectName, Peer},
    plan::{Contents, Op},
    resolve::Resolver,
};

use super::{
    cluster::{Host, Place, PodUpdate, Update},
    endpoint::Service,
    ground::Ground,
};

/// The agent of one node.
#[derive(Debug)]
pub(crate) struct NodeAgent {
    name: String,
    resolver: Resolver,
    tables: Tables,
    facts: Facts,
    interfaces: HashMap<ObjectName, u32>,
    last_id: u16,
}

/// What the references say of one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The tables in memory.
    pub(crate) tables: bool,
    /// The literal reading of the specification.
    pub(crate) oracle: bool,
}

impl NodeAgent {
    /// An agent that knows nothing but its own node's addresses.
    pub(crate) fn new(name: &str, addresses: &[IpAddr]) -> Self {
        let mut agent = Self {
            name: name.to_owned(),
            resolver: Resolver::new(),
            tables: Tables::default(),
            facts: Facts::default(),
            interfaces: HashMap::new(),
            last_id: 0,
        };
        agent.apply(Change::HostAddresses(addresses.to_vec()));
        agent
    }

    /// The node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes one update of the cluster.
    pub(crate) fn take(&mut self, update: &Update, ground: &mut dyn Ground) -> Result<()> {
        let change = match update {
            Update::Namespace(fact) => Change::Namespace(fact.clone()),
            Update::NamespaceRemoved(name) => Change::NamespaceRemoved(name.as_str().into()),
            Update::Policy(fact) => Change::Policy(fact.clone()),
            Update::PolicyRemoved(name) => Change::PolicyRemoved(name.clone()),
            Update::Pod(update) => {
                self.follow_interface(update, ground)?;
                Change::Pod(update.fact.clone())
            }
            Update::PodRemoved(name) => {
                self.remove_interface(name, ground)?;
                Change::PodRemoved(name.clone())
            }
        };
        self.apply(change);
        Ok(())
    }

    /// Has the ground's tables follow the updates taken.
    pub(crate) fn commit(&mut self, ground: &mut dyn Ground) -> Result<()> {
        let ops = self.resolver.commit();
        self.execute(&ops, ground)
    }

    /// Takes from the tables what nothing uses any more.
    pub(crate) fn collect(&mut self, ground: &mut dyn Ground) -> Result<()> {
        let ops = self.resolver.collect();
        self.execute(&ops, ground)
    }

    /// After everything in the cluster is gone: takes the node's own addresses away too, and
    /// checks that the tables are as empty as at the beginning.
    pub(crate) fn retire(&mut self, ground: &mut dyn Ground) -> Result<()> {
        self.apply(Change::HostAddresses(Vec::new()));
        self.commit(ground)?;
        self.collect(ground)?;
        ensure!(
            *self.tables.contents() == Contents::default(),
            "{} of an empty cluster keeps {:?}",
            self.name,
            self.tables.contents()
        );
        Ok(())
    }

    /// What the references say of a connection between a pod of this node and another place.
    pub(crate) fn reference(
        &self,
        pod: &ObjectName,
        direction: Direction,
        other: &Place,
        service: Service,
    ) -> Result<Reference> {
        let ifindex = self.interfaces.get(pod);
        let ifindex = *ifindex.with_context(|| format!("{pod} has no interface"))?;
        let peer = match &other.host {
            // Egress to this host is told by the address.
            Host::Node(node) if *node == self.name && direction == Direction::Ingress => Peer::Host,
            _ => Peer::Address(other.address),
        };
        let (protocol, port) = (service.protocol.number(), Some(service.port));
        let oracle = Oracle::new(&self.facts);
        Ok(Reference {
            tables: self
                .tables
                .verdict(ifindex, direction, peer, protocol, port),
            oracle: oracle.allows(direction, pod, peer, protocol, port),
        })
    }

    fn apply(&mut self, change: Change) {
        self.facts.apply(&change);
        self.resolver.apply(change);
    }

    fn execute(&mut self, ops: &[Op], ground: &mut dyn Ground) -> Result<()> {
        for op in ops {
            self.tables.execute(op);
        }
        let problems = self.tables.problems();
        ensure!(
            problems.is_empty(),
            "unlawful operations: {}",
            problems.join("; ")
        );
        ground
            .execute(&self.name, ops)
            .with_context(|| format!("tables of {}", self.name))
    }

    fn follow_interface(&mut self, update: &PodUpdate, ground: &mut dyn Ground) -> Result<()> {
        let name = &update.fact.name;
        if update.interface_on.as_deref() != Some(self.name.as_str()) {
            return self.remove_interface(name, ground);
        }
        let ifindex = ground.plug(&self.name, &update.fact)?;
        match self.interfaces.insert(name.clone(), ifindex) {
            Some(before) if before == ifindex => return Ok(()),
            Some(before) => self.apply(Change::EndpointRemoved(before)),
            None => {}
        }
        self.last_id = self
            .last_id
            .checked_add(1)
            .context("endpoint numbers are used up")?;
        self.apply(Change::Endpoint(EndpointFact {
            ifindex,
            id: EndpointId(self.last_id),
            bridge: None,
            pod: Some(name.clone()),
            ..EndpointFact::default()
        }));
        Ok(())
    }

    fn remove_interface(&mut self, pod: &ObjectName, ground: &mut dyn Ground) -> Result<()> {
        if let Some(ifindex) = self.interfaces.remove(pod) {
            ground.unplug(&self.name, ifindex)?;
            self.apply(Change::EndpointRemoved(ifindex));
        }
        Ok(())
    }
}
