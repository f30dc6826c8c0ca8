//! Traffic between two pods of a node, compared with no program at all.
//!
//! Every setting has a node and two pods in network namespaces of its own, behind routed veths, the
//! real agent where ours is measured. Client and server run on one processor, everything else is
//! kept away from it; samples of all settings alternate ([`rounds`]).
//!
//! - `tcp_rr`, `tcp_crr`, `bulk`, `udp` ([`settings`]): transactions, connections, bits and packets
//!   per second; `relative_to=nothing` is the ratio to the setting without anything, the median of
//!   the ratios of each round. `nothing-again` is a second world without anything: how far its ratio
//!   is from 1 is what measuring is worth. 1,000 policies select both pods where pods are isolated.
//! - `policies` ([`policies`]): nanoseconds added per packet against the number of policies that
//!   select the server.
//!
//! What a user would have otherwise are the rules of kube-router, which writes the same policies for
//! nftables and for iptables with ipset ([`nftables`], [`iptables`]); its agent is not needed for
//! packets and does not run. Invariant: what is measured was seen to happen ([`evidence`]).

mod cluster;
mod evidence;
mod iptables;
mod nftables;
mod offload;
mod policies;
mod processor;
mod rounds;
mod settings;
mod tcp;
mod udp;
mod world;

use anyhow::Result;

use self::processor::Processor;
use crate::{group::Group, options::Options, report::Report};

/// The group's name.
const NAME: &str = "wire";

/// The group.
pub(super) const GROUP: Group = Group {
    name: NAME,
    cases: &["tcp_rr", "tcp_crr", "bulk", "udp", policies::CASE],
    run,
};

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let on = Processor::last()?;
    // Agents and what else is started here inherit this.
    let _away = on.leave()?;
    settings::measure(options, on, report)?;
    policies::measure(options, on, report)
}
