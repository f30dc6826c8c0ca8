//! What a decision may ask of the world: policy tables, flow tables, what a processor remembers,
//! memory, the clock. Generic, so that the same decisions run in the kernel and on the host.
//!
//! Knows no decision: what stands on these questions never appears here.

use policy_common::{
    AddressEntry, Endpoint, EndpointId, Flow, FlowState, FragmentKey, FragmentPorts, IdentityId,
    PortKey, PortSet, PortSetId, Recent, RuleKey, V4, V6, Verdict,
};

use crate::{
    family::Family,
    flows::shares::Charge,
    origin::Link,
    port::Port,
    question::{Answer, Question},
};

/// The flow table has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Time, as flows count it.
pub trait Clock {
    /// Jiffies per second.
    fn hz(&self) -> u32;
    /// Jiffies.
    fn now(&self) -> u64;
}

/// Memory that takes no stack, for as long as one packet is decided.
pub trait Memory {
    /// Lends memory for what was found in the flow table.
    #[inline(always)]
    fn lend_for_flow<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        Some(then(&mut T::default()))
    }
}

/// The policy tables that do not depend on the address family.
pub trait Policy {
    /// The version of the policy tables, 0 while they change: what a program learns of them under one
    /// version holds for as long as that is the version.
    #[inline(always)]
    fn version(&self) -> u64 {
        0
    }
    /// INTERFACES and ENDPOINTS: the endpoint at whose interface the program runs, in memory of its
    /// own. A copy that stays what it is while the packet is decided: the element may be replaced at
    /// any time.
    fn endpoint_at(&self, ifindex: u32) -> Option<&Endpoint>;
    /// INTERFACES: the number of the endpoint whose interface this is.
    fn number_at(&self, ifindex: u32) -> Option<EndpointId>;
    /// ENDPOINTS: the endpoint that sent the packet, as its number says; also a copy, in other memory
    /// than [`Policy::endpoint_at`], so that one run may hold both.
    fn source_endpoint(&self, id: EndpointId) -> Option<&Endpoint>;
    /// POD_LINKS: what is known of this interface, and maybe of another.
    fn link(&self, ifindex: u32) -> Link;
    /// TUNNEL_PORTS: whether this node decapsulates UDP to this port (host byte order).
    fn is_tunnel_port(&self, port: u16) -> bool;
    /// RULES.
    fn rule(&self, key: &RuleKey) -> Option<PortSetId>;
    /// As [`verdict`](crate::rules::verdict).
    fn verdict(
        &self,
        rule: &RuleKey,
        default_ports: PortSetId,
        protocol: u8,
        port: Port,
    ) -> Verdict;
    /// PORT_SETS.
    fn port_set(&self, set: PortSetId) -> Option<&PortSet>;
    /// PORTS: the entry with the longest prefix of at most `bits`.
    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict>;
}

/// The policy tables of one address family.
pub trait Addresses<F: Family> {
    /// ADDRESSES.
    fn address(&self, address: F) -> Option<AddressEntry>;
    /// CIDRS: the longest prefix.
    fn cidr(&self, address: F) -> Option<IdentityId>;
    /// LOCALS: whether the kernel delivers packets to this address locally.
    fn is_local(&self, address: F) -> bool;
    /// SERVICES: whether a Service has this address.
    fn is_service(&self, address: F) -> bool;
}

/// The policy tables of both families: a pod with addresses of both is the same pod.
pub trait Identities: Policy + Addresses<V4> + Addresses<V6> {}

impl<W: Policy + Addresses<V4> + Addresses<V6>> Identities for W {}

/// FRAGMENTS.
pub trait Fragments {
    /// What an allowed first fragment said.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// Remembers an allowed first fragment.
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) -> bool;
}

/// The flow table of one address family.
pub trait Flows<F: Family> {
    /// A copy: the element may be reused for another flow at any time.
    fn flow(&self, key: &F::Key) -> Option<Flow>;
    /// A new entry, unless there is one with this key, or no room: whether it was made.
    fn add_flow(&self, key: &F::Key, flow: &Flow) -> bool;
    /// A new entry; replaces one with the same key.
    fn replace_flow(&self, key: &F::Key, flow: &Flow) -> Result<(), Full>;
    /// Replaces the entry if the flow is still there.
    fn update_flow(&self, key: &F::Key, flow: &Flow);
    /// Whether there was an entry.
    fn remove_flow(&self, key: &F::Key) -> bool;
}

/// What each side of an endpoint holds of the flow tables. An endpoint's flows of both families share
/// one limit.
pub trait Shares {
    /// FLOW_COUNTS: one flow more, if the bounds allow it, and its place in RECENT.
    fn charge(&self, endpoint: EndpointId, opener: u8) -> Charge;
    /// The same where few packets come, which need not look first at what this processor was lent.
    #[inline(always)]
    fn charge_seldom(&self, endpoint: EndpointId, opener: u8) -> Charge {
        self.charge(endpoint, opener)
    }
    /// FLOW_COUNTS: one flow less.
    fn release(&self, endpoint: EndpointId, opener: u8);
    /// As [`make_room`](crate::flows::limits::make_room).
    fn make_room(&self, endpoint: EndpointId, opener: u8, peer_hash: u32) -> u32;
    /// As [`gives_way`](crate::flows::limits::gives_way).
    fn gives_way(&self, endpoint: EndpointId, asks: u8, place: u32, peer_hash: u32) -> u32;
    /// FLOW_COUNTS: the place in RECENT of the side's oldest recent flow, or
    /// [`NOWHERE`](crate::flows::blocks::NOWHERE); each call names the next one.
    fn oldest_place(&self, endpoint: EndpointId, opener: u8) -> u32;
    /// RECENT: what stands in a place; `None`: there is no such place.
    fn with_recent<R>(&self, place: u32, then: impl FnOnce(&Recent) -> R) -> Option<R>;
    /// RECENT: writes into a place, if there is one.
    fn put_recent(&self, place: u32, write: impl FnOnce(&mut Recent));
}

/// What this processor remembers of the tables of one address family. Remembering nothing is right too.
pub trait Recall<F: Family> {
    /// An answer that this processor got lately, under this version.
    #[inline(always)]
    fn known_answer(&self, _question: &Question<F>, _version: u64) -> Option<Answer> {
        None
    }
    /// Keeps an answer for this processor's next packets.
    #[inline(always)]
    fn know_answer(&self, _question: &Question<F>, _version: u64, _answer: Answer) {}
    /// What this processor remembers of the flow, if it still does: the state that the table held, and
    /// the jiffies of the last packet.
    #[inline(always)]
    fn known_flow(&self, _key: &F::Key) -> Option<(FlowState, u64)> {
        None
    }
    /// Keeps a copy of the flow for this processor's next packets.
    #[inline(always)]
    fn know_flow(&self, _key: &F::Key, _flow: &Flow) {}
}

/// Everything that a decision about a packet of one address family asks.
pub trait Tables<F: Family>:
    Addresses<F> + Clock + Flows<F> + Fragments + Memory + Policy + Recall<F> + Shares
{
}

impl<F, W> Tables<F> for W
where
    F: Family,
    W: Addresses<F> + Clock + Flows<F> + Fragments + Memory + Policy + Recall<F> + Shares,
{
}

/// Everything that decisions ask: both families share the limits of an endpoint's flows.
pub trait World: Tables<V4> + Tables<V6> {}

impl<W: Tables<V4> + Tables<V6>> World for W {}
