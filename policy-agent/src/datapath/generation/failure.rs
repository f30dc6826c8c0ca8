//! What the kernel refused to write, for people.

use aya::maps::MapError;
use policy_common::names;
use policy_core::plan::Op;

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

/// The failure of an operation.
pub(super) fn failure(op: &Op, source: MapError) -> Failure {
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
