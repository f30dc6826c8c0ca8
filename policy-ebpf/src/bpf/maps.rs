//! The maps, under the names of [`policy_common::names`]. Sizes are those of
//! [`policy_common::limits`] unless the agent loads others.

use core::cell::UnsafeCell;

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use policy_common::{
    AddressEntry, Block, Config, Control, Counter, Credit, Endpoint, EndpointId, Event,
    EventBudget, Flow, FlowCounts, FlowKeyV4, FlowKeyV6, FragmentKey, FragmentPorts, IdentityId,
    NodeState, PodLinks, PortKey, PortSet, PortSetId, Reason, Recent, RuleKey, V4, V6, Verdict,
    limits::{
        EVENT_BYTES, LINES_V4, LINES_V6, MAX_ADDRESSES, MAX_BLOCKS, MAX_CIDRS, MAX_ENDPOINTS,
        MAX_FLOWS, MAX_FRAGMENTS, MAX_LOCALS, MAX_PORT_SETS, MAX_PORTS, MAX_RULES, MAX_SERVICES,
        RULE_LINES, TUNNEL_PORT_WORDS,
    },
    shares::{CHUNK_SLOTS, FIRST_SLOTS},
};
use policy_ebpf::lines::WORDS;
use policy_ebpf::recall::{ENDPOINT_SLOTS, Role, SLOTS};

/// A copy of an element of ENDPOINTS, so that not every packet looks it up.
#[repr(C, align(8))]
pub(crate) struct KnownEndpoint {
    /// The version of the tables; 0 in an empty slot, or when they were changing.
    pub(crate) version: u64,
    pub(crate) endpoint: Endpoint,
}

/// What is remembered of an entry of the flow tables.
#[repr(C, align(8))]
pub(crate) struct KnownFlow<const WORDS: usize> {
    pub(crate) key: [u64; WORDS],
    pub(crate) state: u64,
    pub(crate) last_seen: u64,
}

/// What the rules said to a question.
#[repr(C, align(8))]
pub(crate) struct KnownAnswer<const WORDS: usize> {
    pub(crate) question: [u64; WORDS],
    pub(crate) version: u64,
    pub(crate) answer: u64,
}

/// Memory per processor. TC programs run with soft interrupts disabled: no other run of ours
/// interrupts one on the same processor.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    pub(crate) packet: [u64; 6],
    pub(crate) segment: u64,
    pub(crate) flow: [u64; 20],
    pub(crate) bytes: [u64; 4],
    pub(crate) step: [u64; 4],
}

/// The agent writes these word by word; so the first line also stands at the beginning of a cache line.
const WRITTEN_IN_PLACE: usize = BPF_F_MMAPABLE as usize;

#[unsafe(no_mangle)]
pub(crate) static CONFIG: Global<Config> = Global::new(Config::DEFAULT);

/// Memory that the agent writes while programs run.
#[repr(transparent)]
pub(crate) struct Shared<T>(pub(crate) UnsafeCell<T>);

// SAFETY: programs only read it, each field at once.
unsafe impl<T> Sync for Shared<T> {}

#[unsafe(no_mangle)]
pub(crate) static CONTROL: Shared<Control> = Shared(UnsafeCell::new(Control {
    begun: 0,
    settled: 0,
    carries: 0,
    zero: 0,
}));

/// Asked for every packet to a pod: a load, where an element of a map must be looked up first.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.links")]
pub(crate) static POD_LINKS: Shared<PodLinks> = Shared(UnsafeCell::new(PodLinks::NONE));

#[btf_map]
pub(crate) static INTERFACES: HashMap<u32, EndpointId, { MAX_ENDPOINTS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static ENDPOINTS: HashMap<u32, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static ADDRESSES_V4: Array<[u64; WORDS], { LINES_V4 as usize }, WRITTEN_IN_PLACE> =
    Array::new();
#[btf_map]
pub(crate) static ADDRESSES_V6: Array<[u64; WORDS], { LINES_V6 as usize }, WRITTEN_IN_PLACE> =
    Array::new();
#[btf_map]
pub(crate) static SPILLED_V4: LpmTrie<V4, AddressEntry, { MAX_ADDRESSES as usize }> =
    LpmTrie::new();
#[btf_map]
pub(crate) static SPILLED_V6: LpmTrie<V6, AddressEntry, { MAX_ADDRESSES as usize }> =
    LpmTrie::new();
#[btf_map]
pub(crate) static CIDRS_V4: LpmTrie<V4, IdentityId, { MAX_CIDRS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static CIDRS_V6: LpmTrie<V6, IdentityId, { MAX_CIDRS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static LOCALS_V4: LpmTrie<V4, u32, { MAX_LOCALS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static LOCALS_V6: LpmTrie<V6, u32, { MAX_LOCALS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static SERVICES_V4: LpmTrie<V4, u32, { MAX_SERVICES as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static SERVICES_V6: LpmTrie<V6, u32, { MAX_SERVICES as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static RULES: Array<[u64; WORDS], { RULE_LINES as usize }, WRITTEN_IN_PLACE> =
    Array::new();
#[btf_map]
pub(crate) static SPILLED_RULES: LpmTrie<RuleKey, PortSetId, { MAX_RULES as usize }> =
    LpmTrie::new();
#[btf_map]
pub(crate) static PORT_SETS: Array<PortSet, { MAX_PORT_SETS as usize }> = Array::new();
#[btf_map]
pub(crate) static PORTS: LpmTrie<PortKey, Verdict, { MAX_PORTS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static FLOWS_V4: HashMap<FlowKeyV4, Flow, { MAX_FLOWS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static FLOWS_V6: HashMap<FlowKeyV6, Flow, { MAX_FLOWS as usize }> = HashMap::new();
/// The loader puts the tables of the generation before here; else they stay as small as they are.
#[btf_map]
pub(crate) static PREVIOUS_FLOWS_V4: HashMap<FlowKeyV4, Flow, 1> = HashMap::new();
#[btf_map]
pub(crate) static PREVIOUS_FLOWS_V6: HashMap<FlowKeyV6, Flow, 1> = HashMap::new();
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();
#[btf_map]
pub(crate) static FLOW_COUNTS: Array<FlowCounts, { MAX_ENDPOINTS as usize }> = Array::new();
#[btf_map]
pub(crate) static FLOW_CREDITS: PerCpuArray<Credit, { (MAX_ENDPOINTS * 2) as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static FLOW_SHARED: Array<u64, 1> = Array::new();
#[btf_map]
pub(crate) static RECENT: Array<
    Recent,
    { (MAX_BLOCKS * CHUNK_SLOTS + MAX_ENDPOINTS * 2 * FIRST_SLOTS) as usize },
> = Array::new();
#[btf_map]
pub(crate) static RECENT_BLOCKS: Array<Block, { MAX_BLOCKS as usize }> = Array::new();
#[btf_map]
pub(crate) static EVENT_BUDGETS: Array<EventBudget, { MAX_ENDPOINTS as usize }> = Array::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { EVENT_BYTES as usize }> = RingBuf::new();
#[btf_map]
pub(crate) static METRICS: PerCpuArray<Counter, { 2 * Reason::COUNT as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static KNOWN_ENDPOINTS: PerCpuArray<
    KnownEndpoint,
    { (Role::COUNT * ENDPOINT_SLOTS) as usize },
> = PerCpuArray::new();
#[btf_map]
pub(crate) static KNOWN_FLOWS_V4: PerCpuArray<KnownFlow<2>, { SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static KNOWN_FLOWS_V6: PerCpuArray<KnownFlow<5>, { SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static KNOWN_ANSWERS_V4: PerCpuArray<KnownAnswer<2>, { SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static KNOWN_ANSWERS_V6: PerCpuArray<KnownAnswer<3>, { SLOTS as usize }> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static CALLS: ProgramArray<3> = ProgramArray::new();
#[btf_map]
pub(crate) static TUNNEL_PORTS: Array<u64, { TUNNEL_PORT_WORDS as usize }> = Array::new();
#[btf_map]
pub(crate) static NODE_STATE: Array<NodeState, 1> = Array::new();
