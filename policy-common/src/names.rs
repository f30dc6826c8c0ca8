//! Names of maps and programs: in the object, as pins, in `bpftool` and in the docs.

/// interface index → [`crate::EndpointId`] (hash).
pub const INTERFACES: &str = "INTERFACES";
/// endpoint number → [`crate::Endpoint`] (hash).
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Lines of IPv4 addresses with a [`crate::AddressEntry`] each (array).
pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
/// Lines of IPv6 addresses with a [`crate::AddressEntry`] each (array).
pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
/// IPv4 prefix → [`crate::IdentityId`] (LPM trie).
pub const CIDRS_V4: &str = "CIDRS_V4";
/// IPv6 prefix → [`crate::IdentityId`] (LPM trie).
pub const CIDRS_V6: &str = "CIDRS_V6";
/// IPv4 prefix → 1, where this node delivers packets locally (LPM trie).
pub const LOCALS_V4: &str = "LOCALS_V4";
/// IPv6 prefix → 1, where this node delivers packets locally (LPM trie).
pub const LOCALS_V6: &str = "LOCALS_V6";
/// Prefixes of Services' IPv4 addresses.
pub const SERVICES_V4: &str = "SERVICES_V4";
/// Prefixes of Services' IPv6 addresses.
pub const SERVICES_V6: &str = "SERVICES_V6";
/// Lines of [`crate::RuleKey`] with a [`crate::PortSetId`] each (array).
pub const RULES: &str = "RULES";
/// IPv4 address → [`crate::AddressEntry`] (trie of whole addresses), where a line has no room.
pub const SPILLED_V4: &str = "SPILLED_V4";
/// IPv6 address → [`crate::AddressEntry`] (trie of whole addresses), where a line has no room.
pub const SPILLED_V6: &str = "SPILLED_V6";
/// [`crate::RuleKey`] → [`crate::PortSetId`] (trie of whole keys), where a line has no room.
pub const SPILLED_RULES: &str = "SPILLED_RULES";
/// [`crate::PortSetId`] → [`crate::PortSet`] (array).
pub const PORT_SETS: &str = "PORT_SETS";
/// [`crate::PortKey`] prefix → [`crate::Verdict`] (LPM trie), for sets that do not stand inline.
pub const PORTS: &str = "PORTS";
/// [`crate::FlowKeyV4`] → [`crate::Flow`] (preallocated hash).
pub const FLOWS_V4: &str = "FLOWS_V4";
/// [`crate::FlowKeyV6`] → [`crate::Flow`] (preallocated hash).
pub const FLOWS_V6: &str = "FLOWS_V6";
/// FLOWS_V4 of the generation before, while links move to one with another ([`crate::Control::carries`]).
pub const PREVIOUS_FLOWS_V4: &str = "PREVIOUS_FLOWS_V4";
/// FLOWS_V6 of the generation before.
pub const PREVIOUS_FLOWS_V6: &str = "PREVIOUS_FLOWS_V6";
/// [`crate::FragmentKey`] → [`crate::FragmentPorts`] (LRU hash).
pub const FRAGMENTS: &str = "FRAGMENTS";
/// endpoint number → [`crate::FlowCounts`] (array).
pub const FLOW_COUNTS: &str = "FLOW_COUNTS";
/// endpoint number × 2 + opener → [`crate::Credit`] (per-CPU array).
pub const FLOW_CREDITS: &str = "FLOW_CREDITS";
/// One word: entries of the flow tables that endpoints hold beyond their own shares (array).
pub const FLOW_SHARED: &str = "FLOW_SHARED";
/// place → [`crate::Recent`] (array): [`crate::shares::CHUNK_SLOTS`] for each of RECENT_BLOCKS, then
/// [`crate::shares::FIRST_SLOTS`] for every ring, by endpoint number × 2 + opener.
pub const RECENT: &str = "RECENT";
/// block of RECENT → [`crate::Block`] (array).
pub const RECENT_BLOCKS: &str = "RECENT_BLOCKS";
/// endpoint number → [`crate::EventBudget`] (array).
pub const EVENT_BUDGETS: &str = "EVENT_BUDGETS";
/// [`crate::Event`] (ring buffer).
pub const EVENTS: &str = "EVENTS";
/// direction × [`crate::Reason::COUNT`] + reason → [`crate::Counter`] (per-CPU array).
pub const METRICS: &str = "METRICS";
/// 0 → [`crate::PodLinks`] (array). The pin's name: in the object it is [`crate::PodLinks::MAP`].
pub const POD_LINKS: &str = "POD_LINKS";
/// The programs that call one another: [`TO_POD_OWED`] at [`CALL_TO_POD_OWED`], [`TO_POD`] at
/// [`CALL_TO_POD`], [`TO_POD_LAST`] at [`CALL_TO_POD_LAST`] where it is loaded (program array).
pub const CALLS: &str = "CALLS";
/// UDP destination port / 64 → bit per port on which this node decapsulates (array).
pub const TUNNEL_PORTS: &str = "TUNNEL_PORTS";
/// 0 → [`crate::Control`] (array). The pin's name: in the object it is [`crate::Control::MAP`].
pub const CONTROL: &str = "CONTROL";
/// 0 → [`crate::NodeState`] (array).
pub const NODE_STATE: &str = "NODE_STATE";
/// What the next run has to know of interfaces and pods (hash). The agent's alone: no program knows it.
pub const SANDBOXES: &str = "SANDBOXES";

/// Maps whose content a restart keeps; all others are filled afresh beside the old ones.
pub const KEPT: [&str; 9] = [
    FLOWS_V4,
    FLOWS_V6,
    FRAGMENTS,
    FLOW_COUNTS,
    FLOW_SHARED,
    RECENT,
    RECENT_BLOCKS,
    METRICS,
    NODE_STATE,
];

/// TC ingress of the pod's host-side interface.
pub const FROM_POD: &str = "from_pod";
/// TC egress of the pod's host-side interface.
pub const TO_POD: &str = "to_pod";
/// Called by [`TO_POD`] or [`TO_POD_LAST`] where the sender's egress is still to be judged; calls it again
/// when it is.
pub const TO_POD_OWED: &str = "to_pod_owed";
/// Element of [`CALLS`].
pub const CALL_TO_POD_OWED: u32 = 0;
/// Element of [`CALLS`].
pub const CALL_TO_POD: u32 = 1;
/// Element of [`CALLS`].
pub const CALL_TO_POD_LAST: u32 = 2;
/// [`FROM_POD`], and no program runs after it: a link's, while a filter of the same stands behind it.
pub const FROM_POD_LAST: &str = "from_pod_last";
/// [`TO_POD`], and no program runs after it.
pub const TO_POD_LAST: &str = "to_pod_last";
/// TC ingress of bridge ports that are not pods: clears a stamp that came from outside.
pub const CLEAR_STAMP: &str = "clear_stamp";
/// TC egress of bridges that have pods, where the host has IFBs: stamps packets of the host.
pub const STAMP_HOST: &str = "stamp_host";
/// TC egress of interfaces by which packets leave the node: judges what is still owed.
pub const EXIT: &str = "exit";
/// Returns the low half of jiffies to a frame of even length, the high half to one of odd length; run by
/// the agent, which has no other way to learn the programs' time.
pub const JIFFIES: &str = "jiffies";
