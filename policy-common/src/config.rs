//! What the agent tells the programs when it loads them (a read-only global, so that the verifier
//! removes what is switched off).

use bytemuck::{Pod, Zeroable};

use crate::limits::{self, POD_LINKS};

/// The global `CONFIG` of the object.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Config {
    /// Jiffies per second of the running kernel.
    pub hz: u32,
    /// Most flows that one pod may have opened.
    pub pod_opened_limit: u32,
    /// Most flows that peers may have opened to one pod.
    pub peer_opened_limit: u32,
    /// Flows that every endpoint may have whatever the others have.
    pub own_flows: u32,
    /// Flows beyond these that all endpoints together may have.
    pub shared_flows: u32,
    /// How many of the shared ones an endpoint takes and gives back at once.
    pub flow_grant: u32,
    /// Drop events per second and endpoint once the burst is used up.
    pub event_rate: u32,
    /// Drop events that an endpoint may write at once.
    pub event_burst: u32,
    /// Debug lines through aya-log; 0 is off and costs nothing.
    pub debug: u8,
    /// Read origin facts from `cb[]` instead of the packet's metadata: only for
    /// `BPF_PROG_TEST_RUN`, never on an interface.
    pub test_seam: u8,
    /// The flow tables are others than those of the generation before, which are there as
    /// PREVIOUS_FLOWS: until all links have moved, programs know the flows of both.
    pub has_previous_flows: u8,
    /// Keeps the next field aligned.
    pub reserved: [u8; 5],
    /// The host's network namespace, as the kernel numbers them: sockets of others are not this
    /// host's. 0 where programs cannot ask which namespace a socket belongs to.
    pub netns_cookie: u64,
    /// Lines of ADDRESSES_V4.
    pub lines_v4: u32,
    /// Lines of ADDRESSES_V6.
    pub lines_v6: u32,
    /// Lines of RULES.
    pub rule_lines: u32,
    /// Elements of RECENT_BLOCKS.
    pub blocks: u32,
}

impl Config {
    /// Name of the global in the object.
    pub const SYMBOL: &'static str = "CONFIG";

    /// What the programs use when the agent overrides nothing.
    pub const DEFAULT: Self = Self {
        hz: 250,
        pod_opened_limit: 16_384,
        peer_opened_limit: 49_152,
        own_flows: 32,
        shared_flows: 65_536,
        flow_grant: 64,
        event_rate: 10,
        event_burst: 50,
        debug: 0,
        test_seam: 0,
        has_previous_flows: 0,
        reserved: [0; 5],
        netns_cookie: 0,
        lines_v4: limits::LINES_V4,
        lines_v6: limits::LINES_V6,
        rule_lines: limits::RULE_LINES,
        blocks: limits::MAX_BLOCKS,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The global `CONTROL` of the object: what the agent tells its running programs. Programs remember,
/// per processor, elements of ENDPOINTS and answers of the rules; what they learned while `begun` and
/// `settled` were the same number holds for as long as both stay that number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Control {
    /// Raised before a policy table is changed.
    pub begun: u64,
    /// Set to `begun` when no program runs any more that began before the last change.
    pub settled: u64,
    /// Not 0: programs of the generation before may still run, and [`Config::has_previous_flows`]
    /// counts.
    pub carries: u64,
    /// Always zero; the programs read it where the verifier must not know a value.
    pub zero: u64,
}

impl Control {
    /// Name of the map that holds the global: the section of what is not initialised.
    pub const MAP: &'static str = ".bss";
}

/// The global `POD_LINKS` of the object: a word for each interface index modulo [`POD_LINKS`] – bit 0: packets
/// of pods come by (pods' interfaces and their bridges), bits 32 to 63: the index of an IFB.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PodLinks(pub [u64; POD_LINKS as usize]);

impl PodLinks {
    /// No pods' interfaces and no IFBs.
    pub const NONE: Self = Self([0; POD_LINKS as usize]);
    /// Name of the map that holds the global: a section of its own.
    pub const MAP: &'static str = ".bss.links";
}
