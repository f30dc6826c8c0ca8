//! What a decision may ask of the world: the maps, the clock, the configuration. Generic, so that
//! the same decisions run in the kernel and on the host.

use policy_common::{
    AddressEntry, Direction, Endpoint, EndpointId, Flow, FragmentKey, FragmentPorts, IdentityId,
    PortKey, PortSet, PortSetId, Recent, RuleKey, Verdict,
};

use crate::{family::Family, rules::Answer};

/// The flow table has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What is asked of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<F> {
    /// Whose rules.
    pub endpoint: EndpointId,
    /// The direction in which the connection is opened.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// The port that the rules judge, host byte order; nothing for protocols without ports.
    pub port: Option<u16>,
    /// The other end.
    pub peer: F,
}

/// Maps that do not depend on the address family, and what else a decision needs.
pub trait World {
    /// Jiffies per second.
    fn hz(&self) -> u32;
    /// Most live flows of one endpoint that this side may have opened.
    fn flow_limit(&self, opener: u8) -> u32;
    /// Low 32 bits of jiffies.
    fn now(&self) -> u32;
    /// ENDPOINTS. A copy that stays what it is while the packet is decided: the element may be
    /// replaced at any time.
    fn endpoint(&self, ifindex: u32) -> Option<&Endpoint>;
    /// Lends memory that takes no stack for as long as one packet is decided.
    #[inline(always)]
    fn lend<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        Some(then(&mut T::default()))
    }
    /// As [`World::lend`]: other memory.
    #[inline(always)]
    fn lend_for_flow<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lend(then)
    }
    /// The version of the policy tables, 0 while they change: what a program learns of them under one
    /// version holds for as long as that is the version.
    #[inline(always)]
    fn version(&self) -> u64 {
        0
    }
    /// TUNNEL_PORTS: whether this node decapsulates UDP to this port (host byte order).
    fn is_tunnel_port(&self, port: u16) -> bool;
    /// RULES.
    fn rule(&self, key: &RuleKey) -> Option<PortSetId>;
    /// PORT_SETS.
    fn port_set(&self, set: PortSetId) -> Option<&PortSet>;
    /// PORTS: the entry with the longest prefix of at most `bits`.
    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict>;
    /// FRAGMENTS.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// FRAGMENTS: remembers an allowed first fragment.
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) -> bool;
    /// FLOW_COUNTS: live flows of the endpoint that this side opened.
    fn flow_count(&self, endpoint: EndpointId, opener: u8) -> u64;
    /// FLOW_COUNTS: one flow more, or one less.
    fn count_flow(&self, endpoint: EndpointId, opener: u8, more: bool);
    /// RECENT: a flow that this side opened lately. Slots go round: every number names one.
    fn recent(&self, endpoint: EndpointId, opener: u8, slot: u32) -> Option<Recent>;
    /// FLOW_COUNTS: the slot of RECENT into which this side's next flow goes.
    fn cursor(&self, endpoint: EndpointId, opener: u8) -> u32;
    /// FLOW_COUNTS: moves the cursor.
    fn set_cursor(&self, endpoint: EndpointId, opener: u8, slot: u32);
    /// RECENT: writes a slot.
    fn put_recent(
        &self,
        endpoint: EndpointId,
        opener: u8,
        slot: u32,
        write: impl FnOnce(&mut Recent),
    );
    /// FLOWS of the family that it says: removes the flow if it is unanswered and this side opened
    /// it. An endpoint's flows of both families share one limit.
    fn give_way(&self, recent: &Recent, opener: u8) -> bool;
}

/// Maps of one address family.
pub trait Tables<F: Family>: World {
    /// ADDRESSES.
    fn address(&self, address: F) -> Option<AddressEntry>;
    /// CIDRS: the longest prefix.
    fn cidr(&self, address: F) -> Option<IdentityId>;
    /// FLOWS. A copy: the element may be reused for another flow at any time.
    fn flow(&self, key: &F::Key) -> Option<Flow>;
    /// An answer that this processor got lately, under this version.
    #[inline(always)]
    fn known_answer(&self, _question: &Question<F>, _version: u64) -> Option<Answer> {
        None
    }
    /// Keeps an answer for this processor's next packets.
    #[inline(always)]
    fn know_answer(&self, _question: &Question<F>, _version: u64, _answer: Answer) {}
    /// A copy of the flow that this processor made lately, if it still has it: what the table held
    /// then.
    #[inline(always)]
    fn known_flow(&self, _key: &F::Key) -> Option<Flow> {
        None
    }
    /// Keeps a copy of the flow for this processor's next packets.
    #[inline(always)]
    fn know_flow(&self, _key: &F::Key, _flow: &Flow) {}
    /// FLOWS: a new entry, unless there is one with this key, or no room: whether it was made.
    fn add_flow(&self, key: &F::Key, flow: &Flow) -> bool;
    /// FLOWS: a new entry; replaces one with the same key.
    fn insert_flow(&self, key: &F::Key, flow: &Flow) -> Result<(), Full>;
    /// FLOWS: replaces the entry if the flow is still there.
    fn update_flow(&self, key: &F::Key, flow: &Flow);
    /// FLOWS.
    fn remove_flow(&self, key: &F::Key) -> bool;
}
