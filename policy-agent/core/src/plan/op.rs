//! One write to the kernel's tables each.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use policy_common::{EndpointId, IdentityId, PortSetId, RulesetId, Verdict};

/// One write. Executed in order, at every step the verdict for any packet is the old or the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// PORT_SETS and PORTS: a new set under a number that is not in use.
    PutPortSet(PortSetId, Arc<[PortSetEntry]>),
    /// The number is free again.
    DeletePortSet(PortSetId, Arc<[PortSetEntry]>),
    /// RULES.
    PutRule(RulesetId, IdentityId, PortSetId),
    /// RULES.
    DeleteRule(RulesetId, IdentityId),
    /// ADDRESSES_V4 or _V6, in one write also when the address changes hands.
    PutAddress {
        /// The address.
        address: IpAddr,
        /// Its identity.
        identity: IdentityId,
        /// The local endpoint that owns it.
        owner: Option<EndpointId>,
        /// An address of this host.
        host: bool,
    },
    /// ADDRESSES_V4 or _V6.
    DeleteAddress(IpAddr),
    /// CIDRS_V4 or _V6.
    PutCidr(IpNet, IdentityId),
    /// CIDRS_V4 or _V6.
    DeleteCidr(IpNet),
    /// ENDPOINTS, in one write also when the interface gets another endpoint number; the flows of
    /// the number that it had must then go as with [`Op::DeleteEndpoint`].
    PutEndpoint(EndpointEntry),
    /// ENDPOINTS; the flows of the endpoint go too before its number is used again.
    DeleteEndpoint {
        /// The interface.
        ifindex: u32,
        /// The endpoint's number.
        id: EndpointId,
    },
    /// Writes nothing: every program run that began before must have ended. Stands where something
    /// other than a removal, which waits by itself, must not overtake.
    Grace,
}

impl Op {
    /// Whether everything that ran before must have ended first: what goes may be on the way of a
    /// program that read what led to it.
    pub fn waits(&self) -> bool {
        matches!(
            self,
            Self::Grace | Self::DeleteRule(..) | Self::DeletePortSet(..)
        )
    }

    /// Whether a program finds what the operation writes without being led there by another write.
    pub fn is_visible(&self) -> bool {
        match self {
            Self::PutPortSet(..)
            | Self::DeletePortSet(..)
            | Self::PutRule(..)
            | Self::DeleteRule(..)
            | Self::Grace => false,
            Self::PutAddress { .. }
            | Self::DeleteAddress(_)
            | Self::PutCidr(..)
            | Self::DeleteCidr(_)
            | Self::PutEndpoint(_)
            | Self::DeleteEndpoint { .. } => true,
        }
    }
}

/// A range of ports of one protocol with a verdict; entries of one set do not overlap in a way
/// that leaves the verdict open: the narrower range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSetEntry {
    /// What the entry covers.
    pub range: PortRange,
    /// What it says.
    pub verdict: Verdict,
}

/// What one entry of a port set covers. Ports are split into prefixes: `port` has the bits outside
/// the first `bits` zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRange {
    /// Every protocol, with or without ports.
    AnyProtocol,
    /// Every port of the protocol (IANA number).
    Protocol(u8),
    /// Ports whose first `bits` (1 to 16) are those of `port`.
    Prefix {
        /// IANA number.
        protocol: u8,
        /// Host byte order.
        port: u16,
        /// Bits that count.
        bits: u8,
    },
}

/// The rules of one isolated direction of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionEntry {
    /// Key of RULES.
    pub ruleset: RulesetId,
    /// The port set for identities that the ruleset does not list.
    pub default_ports: PortSetId,
    /// A rule of the ruleset has an ipBlock: addresses without an entry are looked up in CIDRS.
    pub has_blocks: bool,
}

/// Everything ENDPOINTS says of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// Number of the endpoint.
    pub id: EndpointId,
    /// The bridge whose port it is.
    pub bridge: Option<u32>,
    /// Connections to the pod, `None` when not isolated.
    pub ingress: Option<DirectionEntry>,
    /// Connections from the pod, `None` when not isolated.
    pub egress: Option<DirectionEntry>,
    /// The pod's addresses, the first of each family.
    pub addresses: Vec<IpAddr>,
    /// The pod is not known yet.
    pub unknown: bool,
    /// A stable hash of the pod's UID and name, never 0 for a known pod.
    pub pod_tag: u64,
    /// The Ethernet address that its frames must carry; `None` leaves it unchecked.
    pub mac: Option<[u8; 6]>,
    /// Its link-local address is the one made of `mac`, and no other.
    pub eui_64: bool,
    /// Services' addresses are judged later, where egress is isolated.
    pub services_later: bool,
    /// The endpoint needs a new epoch: the writer gives it the next one of the node's counter.
    pub new_epoch: bool,
}
