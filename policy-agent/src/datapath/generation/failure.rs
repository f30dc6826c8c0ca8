//! What the kernel refused to write, for people.

use aya::maps::MapError;
use policy_common::names;
use policy_core::plan::Op;

/// A write that the kernel refused. What it would have changed keeps its old state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table} is not up to date: {object}: {cause}")]
pub struct Failure {
    /// The map.
    pub table: &'static str,
    /// What should have been written.
    pub object: String,
    /// The kernel's reason.
    pub cause: String,
    /// The table has no room left.
    pub is_full: bool,
}

fn os_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// The kernel's reason, for people.
pub(super) fn cause(error: &MapError) -> String {
    match os_error(error) {
        _ if is_full(error) => "the table is full".into(),
        Some(code) => std::io::Error::from_raw_os_error(code).to_string(),
        None => error.to_string(),
    }
}

/// The failure of an operation.
pub(super) fn failure(op: &Op, source: &MapError) -> Failure {
    let (table, object) = describe(op);
    Failure {
        table,
        object,
        cause: cause(source),
        is_full: is_full(source),
    }
}

fn is_full(error: &MapError) -> bool {
    matches!(os_error(error), Some(libc::E2BIG | libc::ENOSPC))
        || matches!(error, MapError::OutOfBounds { .. })
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
