//! The kernel's tables in memory, read by the programs' own code.
//!
//! Gives operations no meaning of its own: [`write()`] writes them, `policy-ebpf` reads them.

use std::{collections::BTreeMap, convert::Infallible, net::IpAddr};

use ipnet::IpNet;
use policy_common::{
    AddressEntry, Direction, Endpoint, EndpointId, IdentityId, PortSetId, RuleKey, V4, V6,
};
use policy_ebpf::{
    Port,
    lookup::Addresses,
    memory::MemoryWorld,
    rules::{ask_as_opened, identify},
};

use super::lawful::is_lawful;
use crate::{
    model::Peer,
    plan::{Contents, EndpointEntry, Op, Writer, encode::EncodedPortSet, write},
};

/// The tables, and their elements as plans name them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    contents: Contents,
    problems: Vec<String>,
    memory: Memory,
}

/// The maps in memory, and the counter of epochs.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The maps.
    pub world: MemoryWorld,
    epoch: u32,
}

impl Memory {
    /// Maps that hold something already.
    pub fn new(world: MemoryWorld) -> Self {
        Self { world, epoch: 0 }
    }

    /// Executes a plan.
    pub fn execute_all(&mut self, ops: &[Op]) {
        for op in ops {
            let Ok(()) = write(self, op);
        }
    }
}

impl Tables {
    /// Executes one operation.
    pub fn execute(&mut self, op: &Op) {
        if !is_lawful(&self.contents, op) {
            self.problems.push(format!("{op:?}"));
        }
        self.contents.execute(op);
        let Ok(()) = write(&mut self.memory, op);
    }

    /// Executes a plan.
    pub fn execute_all(&mut self, ops: &[Op]) {
        ops.iter().for_each(|op| self.execute(op));
    }

    /// What was written.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What the programs read.
    pub fn world(&self) -> &MemoryWorld {
        &self.memory.world
    }

    /// The operations so far that broke a law of the tables.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// These tables as a program sees them that read its endpoint when ENDPOINTS was `endpoints`.
    pub fn with_endpoints(&self, endpoints: &BTreeMap<u32, EndpointEntry>) -> Self {
        let mut late = self.clone();
        let now: Vec<_> = late.contents.endpoints.values().cloned().collect();
        for entry in now {
            late.execute(&Op::DeleteEndpoint {
                ifindex: entry.ifindex,
                id: entry.id,
            });
        }
        for entry in endpoints.values() {
            late.execute(&Op::PutEndpoint(entry.clone()));
        }
        late
    }

    /// What the programs say of a connection between the endpoint of an interface and a peer;
    /// `port` is the destination's, `None` for packets without ports. An interface without entry is
    /// not enforced. What comes from the pod's own address came out of the pod.
    pub fn verdict(
        &self,
        ifindex: u32,
        direction: Direction,
        peer: Peer,
        protocol: u8,
        port: Option<u16>,
    ) -> bool {
        let Some(endpoint) = self.memory.world.interfaces.get(&ifindex) else {
            return true;
        };
        let Some(endpoint) = self.memory.world.endpoints.get(endpoint) else {
            return true;
        };
        let identity = match peer {
            Peer::Host => IdentityId::HOST,
            Peer::Address(IpAddr::V4(peer)) => {
                identity(&self.memory.world, endpoint, direction, V4(peer.octets()))
            }
            Peer::Address(IpAddr::V6(peer)) => {
                identity(&self.memory.world, endpoint, direction, V6(peer.octets()))
            }
        };
        if endpoint.has(Endpoint::UNKNOWN) {
            return identity == IdentityId::HOST;
        }
        ask_as_opened(
            &self.memory.world,
            endpoint,
            direction,
            identity,
            protocol,
            port.map_or(Port::NONE, Port::of),
        )
        .verdict()
        .allows()
    }
}

fn identity<F: policy_ebpf::family::Family>(
    world: &MemoryWorld,
    endpoint: &Endpoint,
    direction: Direction,
    peer: F,
) -> IdentityId
where
    MemoryWorld: Addresses<F>,
{
    identify(
        world,
        endpoint,
        direction,
        endpoint.ifindex,
        policy_ebpf::neighbour::Neighbour::ELSEWHERE,
        peer,
        false,
    )
}

impl Writer for Memory {
    type Error = Infallible;

    fn put_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), Infallible> {
        for entry in &set.trie {
            self.world
                .ports
                .insert((entry.key, entry.bits), entry.verdict);
        }
        self.world.port_sets.insert(id, set.header);
        Ok(())
    }

    fn delete_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), Infallible> {
        self.world.port_sets.remove(&id);
        for entry in &set.trie {
            self.world.ports.remove(&(entry.key, entry.bits));
        }
        Ok(())
    }

    fn put_rule(&mut self, key: RuleKey, ports: PortSetId) -> Result<(), Infallible> {
        self.world.rules.insert(key, ports);
        Ok(())
    }

    fn delete_rule(&mut self, key: RuleKey) -> Result<(), Infallible> {
        self.world.rules.remove(&key);
        Ok(())
    }

    fn put_address(&mut self, address: IpAddr, entry: AddressEntry) -> Result<(), Infallible> {
        match address {
            IpAddr::V4(address) => {
                self.world.addresses_v4.insert(V4(address.octets()), entry);
            }
            IpAddr::V6(address) => {
                self.world.addresses_v6.insert(V6(address.octets()), entry);
            }
        }
        Ok(())
    }

    fn delete_address(&mut self, address: IpAddr) -> Result<(), Infallible> {
        match address {
            IpAddr::V4(address) => {
                self.world.addresses_v4.remove(&V4(address.octets()));
            }
            IpAddr::V6(address) => {
                self.world.addresses_v6.remove(&V6(address.octets()));
            }
        }
        Ok(())
    }

    fn put_cidr(&mut self, cidr: IpNet, identity: IdentityId) -> Result<(), Infallible> {
        let bits = u32::from(cidr.prefix_len());
        match cidr.addr() {
            IpAddr::V4(address) => {
                self.world
                    .cidrs_v4
                    .insert((V4(address.octets()), bits), identity);
            }
            IpAddr::V6(address) => {
                self.world
                    .cidrs_v6
                    .insert((V6(address.octets()), bits), identity);
            }
        }
        Ok(())
    }

    fn delete_cidr(&mut self, cidr: IpNet) -> Result<(), Infallible> {
        let bits = u32::from(cidr.prefix_len());
        match cidr.addr() {
            IpAddr::V4(address) => {
                self.world.cidrs_v4.remove(&(V4(address.octets()), bits));
            }
            IpAddr::V6(address) => {
                self.world.cidrs_v6.remove(&(V6(address.octets()), bits));
            }
        }
        Ok(())
    }

    fn endpoint_at(&self, ifindex: u32) -> Result<Option<Endpoint>, Infallible> {
        let id = self.world.interfaces.get(&ifindex);
        Ok(id.and_then(|id| self.world.endpoints.get(id)).copied())
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Infallible> {
        self.world.put_endpoint(endpoint);
        Ok(())
    }

    fn delete_endpoint(&mut self, ifindex: u32, _id: EndpointId) -> Result<(), Infallible> {
        self.world.remove_endpoint(ifindex);
        Ok(())
    }

    fn next_epoch(&mut self) -> Result<u32, Infallible> {
        self.epoch += 1;
        Ok(self.epoch)
    }

    fn wait(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
