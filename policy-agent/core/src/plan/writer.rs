//! How an operation becomes keys and values of the kernel's tables, whoever writes them.
//!
//! Knows layouts and no maps. Invariant: every writer gives an operation the same meaning; what
//! goes away goes after a wait.

use std::net::IpAddr;

use ipnet::IpNet;
use policy_common::{AddressEntry, Endpoint, EndpointId, IdentityId, PortSetId, RuleKey};

use super::{
    encode::{self, EncodedPortSet},
    op::{EndpointEntry, Op},
};

/// Somebody who has the tables. A write that fails changes nothing.
pub trait Writer {
    /// Why a write failed.
    type Error;

    /// PORTS, then PORT_SETS.
    ///
    /// # Errors
    /// The tables refuse it.
    fn put_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), Self::Error>;

    /// PORT_SETS, then PORTS.
    ///
    /// # Errors
    /// The tables refuse it.
    fn delete_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), Self::Error>;

    /// RULES.
    ///
    /// # Errors
    /// The tables refuse it.
    fn put_rule(&mut self, key: RuleKey, ports: PortSetId) -> Result<(), Self::Error>;

    /// RULES.
    ///
    /// # Errors
    /// The tables refuse it.
    fn delete_rule(&mut self, key: RuleKey) -> Result<(), Self::Error>;

    /// ADDRESSES_V4 or _V6, in one write.
    ///
    /// # Errors
    /// The tables refuse it.
    fn put_address(&mut self, address: IpAddr, entry: AddressEntry) -> Result<(), Self::Error>;

    /// ADDRESSES_V4 or _V6.
    ///
    /// # Errors
    /// The tables refuse it.
    fn delete_address(&mut self, address: IpAddr) -> Result<(), Self::Error>;

    /// CIDRS_V4 or _V6.
    ///
    /// # Errors
    /// The tables refuse it.
    fn put_cidr(&mut self, cidr: IpNet, identity: IdentityId) -> Result<(), Self::Error>;

    /// CIDRS_V4 or _V6.
    ///
    /// # Errors
    /// The tables refuse it.
    fn delete_cidr(&mut self, cidr: IpNet) -> Result<(), Self::Error>;

    /// The endpoint that the tables have for an interface.
    ///
    /// # Errors
    /// The tables cannot be read.
    fn endpoint_at(&self, ifindex: u32) -> Result<Option<Endpoint>, Self::Error>;

    /// ENDPOINTS, then INTERFACES; removes the endpoint that the interface had under another
    /// number.
    ///
    /// # Errors
    /// The tables refuse it.
    fn put_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Self::Error>;

    /// INTERFACES, then ENDPOINTS.
    ///
    /// # Errors
    /// The tables refuse it.
    fn delete_endpoint(&mut self, ifindex: u32, id: EndpointId) -> Result<(), Self::Error>;

    /// An epoch that no endpoint had before.
    ///
    /// # Errors
    /// It cannot be remembered.
    fn next_epoch(&mut self) -> Result<u32, Self::Error>;

    /// Returns when no program runs that began before the last [visible](Op::is_visible) write.
    ///
    /// # Errors
    /// The wait failed: nothing may be removed.
    fn wait(&mut self) -> Result<(), Self::Error>;
}

/// Executes an operation; one that [waits](Op::waits) only after the wait.
///
/// # Errors
/// The writer refuses it.
pub fn write<W: Writer + ?Sized>(writer: &mut W, op: &Op) -> Result<(), W::Error> {
    if op.waits() {
        writer.wait()?;
    }
    match op {
        Op::PutPortSet(id, entries) => writer.put_port_set(*id, &encode::port_set(*id, entries)),
        Op::DeletePortSet(id, entries) => {
            writer.delete_port_set(*id, &encode::port_set(*id, entries))
        }
        &Op::PutRule(ruleset, identity, ports) => {
            writer.put_rule(RuleKey { ruleset, identity }, ports)
        }
        &Op::DeleteRule(ruleset, identity) => writer.delete_rule(RuleKey { ruleset, identity }),
        &Op::PutAddress {
            address,
            identity,
            owner,
            host,
        } => writer.put_address(address, encode::address(identity, owner, host)),
        Op::DeleteAddress(address) => writer.delete_address(*address),
        Op::PutCidr(cidr, identity) => writer.put_cidr(*cidr, *identity),
        Op::DeleteCidr(cidr) => writer.delete_cidr(*cidr),
        Op::PutEndpoint(entry) => {
            let epoch = epoch(writer, entry)?;
            writer.put_endpoint(encode::endpoint(entry, epoch))
        }
        &Op::DeleteEndpoint { ifindex, id } => writer.delete_endpoint(ifindex, id),
        Op::Grace => Ok(()),
    }
}

/// The epoch of an endpoint: it keeps its own unless its flows must be judged again.
fn epoch<W: Writer + ?Sized>(writer: &mut W, entry: &EndpointEntry) -> Result<u32, W::Error> {
    match writer.endpoint_at(entry.ifindex)? {
        Some(current) if !entry.new_epoch && current.id == entry.id => Ok(current.epoch),
        _ => writer.next_epoch(),
    }
}
