//! Executes the operations of plans.
//!
//! Owns what happens when the kernel refuses a write: the operation waits in the backlog with all
//! that depends on it, and every later call tries again. Invariant: at every step the verdict for
//! any packet is that of the old or of the new tables.

use aya::maps::MapError;
use policy_common::{AddressEntry, Endpoint, RuleKey, names};
use policy_core::plan::{EndpointEntry, Op};

use super::{
    Datapath,
    backlog::{Blocked, Replaced, Thing},
    encode,
};

/// A write that the kernel refused. What it would have changed keeps its old state; the write is
/// tried again with every later [`Datapath::apply`].
#[derive(Debug, thiserror::Error)]
#[error("{table} is not up to date: {object}: {}", cause(source))]
pub struct Failure {
    /// The map.
    pub table: &'static str,
    /// What should have been written.
    pub object: String,
    /// The kernel's reason.
    #[source]
    pub source: MapError,
}

impl Failure {
    /// Whether the table has no room left.
    pub fn is_full(&self) -> bool {
        matches!(os_error(&self.source), Some(libc::E2BIG | libc::ENOSPC))
            || matches!(self.source, MapError::OutOfBounds { .. })
    }
}

fn os_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn cause(error: &MapError) -> String {
    match os_error(error) {
        Some(libc::E2BIG | libc::ENOSPC) => "the table is full".into(),
        Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
        None => error.to_string(),
    }
}

impl Datapath {
    /// Executes what waits from earlier calls, then `ops`, in order.
    ///
    /// Returns what the kernel refused; empty when the tables hold everything. An operation that
    /// depends on a refused one waits behind it, what has nothing to do with it goes on.
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        let waited = std::mem::take(&mut self.backlog);
        let mut blocked = Blocked::default();
        let mut failures = Vec::new();
        for op in &waited {
            self.step(op, &mut blocked, &mut failures);
        }
        let caught_up = self.backlog.len() < waited.len();
        for op in ops {
            self.step(op, &mut blocked, &mut failures);
        }
        // An epoch that moved before the write it stood for would leave flows on old verdicts.
        if caught_up && let Err(source) = self.renew_epochs() {
            failures.push(Failure {
                table: names::ENDPOINTS,
                object: "epochs of all endpoints".into(),
                source,
            });
        }
        if let Err(source) = self.settle() {
            failures.push(Failure {
                table: names::CONTROL,
                object: "what programs may remember of the tables".into(),
                source,
            });
        }
        failures
    }

    /// Lets the programs remember what they read again, if a table was changed.
    fn settle(&mut self) -> Result<(), MapError> {
        if self.tables.is_unsettled() {
            self.grace.wait()?;
            self.tables.settle()?;
        }
        Ok(())
    }

    /// Operations that wait because of a refused write.
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    fn step(&mut self, op: &Op, blocked: &mut Blocked, failures: &mut Vec<Failure>) {
        if !blocked.is_empty() && blocked.holds_back(op) {
            self.put_off(op, blocked);
        } else if let Err(source) = self.execute(op) {
            failures.push(failure(op, source));
            self.put_off(op, blocked);
        }
    }

    fn put_off(&mut self, op: &Op, blocked: &mut Blocked) {
        let replaced = self.replaced(op);
        blocked.add(op, replaced);
        self.backlog.push(op.clone());
    }

    /// What the kernel holds today where `op` writes. What cannot be read is taken as nothing:
    /// the write itself then fails too.
    fn replaced(&self, op: &Op) -> Replaced {
        let mut replaced = Replaced::default();
        match op {
            Op::PutAddress { address, .. } | Op::DeleteAddress(address) => {
                let entry = self.tables.address(*address).ok().flatten();
                replaced.identity = entry.map(|entry| entry.identity);
            }
            Op::PutCidr(cidr, _) | Op::DeleteCidr(cidr) => {
                replaced.identity = self.tables.cidr(*cidr).ok().flatten();
            }
            Op::PutEndpoint(EndpointEntry { ifindex, .. }) | Op::DeleteEndpoint { ifindex, .. } => {
                if let Ok(Some(old)) = self.tables.endpoint_at(*ifindex) {
                    replaced.endpoint = uses(&old);
                }
            }
            _ => {}
        }
        replaced
    }

    fn execute(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::PutPortSet(id, entries) => self
                .tables
                .put_port_set(*id, &encode::port_set(*id, entries)),
            Op::DeletePortSet(id, entries) => self
                .tables
                .delete_port_set(*id, &encode::port_set(*id, entries)),
            Op::PutRule(ruleset, identity, ports) => {
                let key = RuleKey {
                    ruleset: *ruleset,
                    identity: *identity,
                };
                self.tables.put_rule(key, *ports)
            }
            Op::DeleteRule(ruleset, identity) => self.tables.delete_rule(RuleKey {
                ruleset: *ruleset,
                identity: *identity,
            }),
            Op::PutAddress {
                address,
                identity,
                owner,
                host,
            } => {
                let entry = AddressEntry {
                    identity: *identity,
                    owner: owner.unwrap_or_default(),
                    flags: if *host { AddressEntry::HOST } else { 0 },
                };
                self.tables.put_address(*address, entry)
            }
            Op::DeleteAddress(address) => self.tables.delete_address(*address),
            Op::PutCidr(cidr, identity) => self.tables.put_cidr(*cidr, *identity),
            Op::DeleteCidr(cidr) => self.tables.delete_cidr(*cidr),
            Op::PutEndpoint(entry) => self.put_endpoint(entry),
            Op::DeleteEndpoint { ifindex, id } => self.tables.delete_endpoint(*ifindex, *id),
            Op::Grace => self.grace.wait(),
        }
    }

    fn put_endpoint(&mut self, entry: &EndpointEntry) -> Result<(), MapError> {
        let current = self.tables.endpoint_at(entry.ifindex)?;
        let epoch = match current {
            Some(current) if !entry.new_epoch && current.id == entry.id => current.epoch,
            _ => self.next_epoch()?,
        };
        self.tables.put_endpoint(encode::endpoint(entry, epoch))
    }

    /// The next epoch, remembered before it is used.
    fn next_epoch(&mut self) -> Result<u32, MapError> {
        self.node.epoch += 1;
        self.tables.put_node_state(self.node)?;
        // The programs compare for equality only: a wrap after 2^32 changes is harmless.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low 32 bits are the epoch"
        )]
        let epoch = self.node.epoch as u32;
        Ok(epoch)
    }

    /// Has every flow evaluated again.
    fn renew_epochs(&mut self) -> Result<(), MapError> {
        for endpoint in self.tables.endpoints()? {
            let epoch = self.next_epoch()?;
            let renewed = Endpoint { epoch, ..endpoint };
            self.tables.put_endpoint(renewed.sealed())?;
        }
        Ok(())
    }
}

/// What an endpoint's entry refers to.
fn uses(endpoint: &Endpoint) -> Vec<Thing> {
    [endpoint.ingress, endpoint.egress]
        .into_iter()
        .flat_map(|rules| {
            [
                Thing::Ruleset(rules.ruleset),
                Thing::Ports(rules.default_ports),
            ]
        })
        .chain([Thing::Number(endpoint.id)])
        .collect()
}

fn failure(op: &Op, source: MapError) -> Failure {
    let (table, object) = describe(op);
    Failure {
        table,
        object,
        source,
    }
}

/// The table that an operation writes, and what it writes, for people.
fn describe(op: &Op) -> (&'static str, String) {
    match op {
        Op::PutPortSet(id, entries) => (
            if entries.len() > policy_common::limits::INLINE_PORTS {
                names::PORTS
            } else {
                names::PORT_SETS
            },
            format!("port set {} with {} entries", id.0, entries.len()),
        ),
        Op::DeletePortSet(id, _) => (names::PORT_SETS, format!("removal of port set {}", id.0)),
        Op::PutRule(ruleset, identity, _) => (
            names::RULES,
            format!("ruleset {} for identity {}", ruleset.0, identity.0),
        ),
        Op::DeleteRule(ruleset, identity) => (
            names::RULES,
            format!(
                "removal of ruleset {} for identity {}",
                ruleset.0, identity.0
            ),
        ),
        Op::PutAddress { address, .. } => (addresses(address), address.to_string()),
        Op::DeleteAddress(address) => (addresses(address), format!("removal of {address}")),
        Op::PutCidr(cidr, _) => (cidrs(cidr), cidr.to_string()),
        Op::DeleteCidr(cidr) => (cidrs(cidr), format!("removal of {cidr}")),
        Op::PutEndpoint(entry) => (names::ENDPOINTS, format!("interface {}", entry.ifindex)),
        Op::DeleteEndpoint { ifindex, .. } => {
            (names::ENDPOINTS, format!("removal of interface {ifindex}"))
        }
        Op::Grace => ("none", "grace period".into()),
    }
}

fn addresses(address: &std::net::IpAddr) -> &'static str {
    if address.is_ipv4() {
        names::ADDRESSES_V4
    } else {
        names::ADDRESSES_V6
    }
}

fn cidrs(cidr: &ipnet::IpNet) -> &'static str {
    if cidr.addr().is_ipv4() {
        names::CIDRS_V4
    } else {
        names::CIDRS_V6
    }
}
