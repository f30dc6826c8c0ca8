//! The maps in memory, for tests on the host: unit tests, the fuzz target, the comparison with the
//! kernel.
//!
//! Owns the semantics that the kernel's maps have for the programs: arrays have every slot, a full
//! table refuses new keys and takes known ones, the longest prefix wins. Not thread-safe, and not
//! part of the object.

mod flow_table;
mod lined;
mod shares;

pub use lined::Lined;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

use policy_common::{
    AddressEntry, Chunk, Config, Endpoint, EndpointId, Flow, FlowCounts, FlowKeyV4, FlowKeyV6,
    FragmentKey, FragmentPorts, IdentityId, PortKey, PortSet, PortSetId, Recent, RuleKey, V4, V6,
    Verdict,
    limits::{self, POD_LINKS},
};

use crate::{
    Link, Port,
    lookup::{Addresses, Clock, Flows, Fragments, Full, Memory, Policy, Recall},
    rules,
};

/// All maps, the clock and the configuration. Policy is written through the public fields.
#[derive(Clone, Debug)]
pub struct MemoryWorld {
    /// Jiffies per second, limits.
    pub config: Config,
    /// Jiffies.
    pub now: Cell<u64>,
    /// INTERFACES.
    pub interfaces: HashMap<u32, EndpointId>,
    /// POD_LINKS, where it is not 0.
    pub pod_links: HashSet<u32>,
    /// The IFBs that POD_LINKS names.
    pub ifbs: HashSet<u32>,
    /// ENDPOINTS.
    pub endpoints: HashMap<EndpointId, Endpoint>,
    /// ADDRESSES_V4.
    pub addresses_v4: Lined<V4>,
    /// ADDRESSES_V6.
    pub addresses_v6: Lined<V6>,
    /// CIDRS_V4: prefixes with their lengths.
    pub cidrs_v4: HashMap<(V4, u32), IdentityId>,
    /// CIDRS_V6: prefixes with their lengths.
    pub cidrs_v6: HashMap<(V6, u32), IdentityId>,
    /// LOCALS_V4: prefixes with their lengths.
    pub locals_v4: HashMap<(V4, u32), u32>,
    /// LOCALS_V6: prefixes with their lengths.
    pub locals_v6: HashMap<(V6, u32), u32>,
    /// SERVICES_V4: prefixes with their lengths.
    pub services_v4: HashMap<(V4, u32), u32>,
    /// SERVICES_V6: prefixes with their lengths.
    pub services_v6: HashMap<(V6, u32), u32>,
    /// RULES.
    pub rules: Lined<RuleKey>,
    /// PORT_SETS.
    pub port_sets: HashMap<PortSetId, PortSet>,
    /// PORTS: prefixes with their lengths.
    pub ports: HashMap<(PortKey, u32), Verdict>,
    /// TUNNEL_PORTS.
    pub tunnel_ports: HashSet<u16>,
    /// Elements that each flow table takes.
    pub max_flows: usize,
    /// Elements that each flow table of the generation before takes.
    pub max_previous_flows: usize,
    /// FLOWS_V4.
    pub flows_v4: RefCell<HashMap<FlowKeyV4, Flow>>,
    /// FLOWS_V6.
    pub flows_v6: RefCell<HashMap<FlowKeyV6, Flow>>,
    /// PREVIOUS_FLOWS_V4.
    pub previous_flows_v4: RefCell<HashMap<FlowKeyV4, Flow>>,
    /// PREVIOUS_FLOWS_V6.
    pub previous_flows_v6: RefCell<HashMap<FlowKeyV6, Flow>>,
    /// Whether programs of the generation before may still run.
    pub carries: Cell<bool>,
    /// FRAGMENTS.
    pub fragments: RefCell<HashMap<FragmentKey, FragmentPorts>>,
    /// FLOW_COUNTS.
    pub counts: RefCell<HashMap<EndpointId, FlowCounts>>,
    /// FLOW_SHARED.
    pub shared: Cell<u32>,
    /// RECENT.
    pub recent: RefCell<HashMap<u32, Recent>>,
    /// RECENT_BLOCKS, where they are somebody's.
    pub blocks: RefCell<HashMap<u32, Chunk>>,
}

impl Default for MemoryWorld {
    fn default() -> Self {
        Self {
            config: Config::DEFAULT,
            now: Cell::new(1_000_000),
            interfaces: HashMap::new(),
            pod_links: HashSet::new(),
            endpoints: HashMap::new(),
            addresses_v4: Lined::default(),
            addresses_v6: Lined::default(),
            cidrs_v4: HashMap::new(),
            cidrs_v6: HashMap::new(),
            locals_v4: HashMap::new(),
            locals_v6: HashMap::new(),
            services_v4: HashMap::new(),
            services_v6: HashMap::new(),
            rules: Lined::default(),
            port_sets: HashMap::new(),
            ports: HashMap::new(),
            ifbs: HashSet::new(),
            tunnel_ports: HashSet::new(),
            max_flows: limits::MAX_FLOWS as usize,
            max_previous_flows: limits::MAX_FLOWS as usize,
            flows_v4: RefCell::default(),
            flows_v6: RefCell::default(),
            previous_flows_v4: RefCell::default(),
            previous_flows_v6: RefCell::default(),
            carries: Cell::new(false),
            fragments: RefCell::default(),
            counts: RefCell::default(),
            shared: Cell::new(0),
            recent: RefCell::default(),
            blocks: RefCell::default(),
        }
    }
}

impl MemoryWorld {
    /// Lets time pass.
    pub fn pass(&self, seconds: u32) {
        let jiffies = u64::from(seconds) * u64::from(self.config.hz);
        self.now.set(self.now.get() + jiffies);
    }

    /// Writes an endpoint and what its interface is; an interface that gets another number loses the one
    /// before.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) {
        let links = [endpoint.ifindex, endpoint.bridge];
        let links = links.into_iter().filter(|link| *link != 0);
        self.pod_links.extend(links.map(|link| link % POD_LINKS));
        self.endpoints.insert(endpoint.id, endpoint.sealed());
        let before = self.interfaces.insert(endpoint.ifindex, endpoint.id);
        if let Some(before) = before.filter(|before| *before != endpoint.id) {
            self.endpoints.remove(&before);
        }
    }

    /// Removes an interface and its endpoint.
    pub fn remove_endpoint(&mut self, ifindex: u32) {
        if let Some(id) = self.interfaces.remove(&ifindex) {
            self.endpoints.remove(&id);
        }
    }

    /// Flows of both families.
    pub fn flows(&self) -> usize {
        self.flows_v4.borrow().len() + self.flows_v6.borrow().len()
    }
}

/// Test runs have stack enough.
impl Memory for MemoryWorld {}

impl Clock for MemoryWorld {
    fn hz(&self) -> u32 {
        self.config.hz
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}

impl Policy for MemoryWorld {
    fn endpoint_at(&self, ifindex: u32) -> Option<&Endpoint> {
        let id = self.interfaces.get(&ifindex)?;
        self.endpoints
            .get(id)
            .filter(|endpoint| endpoint.ifindex == ifindex)
    }

    fn number_at(&self, ifindex: u32) -> Option<EndpointId> {
        self.interfaces.get(&ifindex).copied()
    }

    fn source_endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    fn link(&self, ifindex: u32) -> Link {
        let is_pods = self.pod_links.contains(&(ifindex % POD_LINKS));
        let ifb = self.ifbs.get(&ifindex).copied().unwrap_or_default();
        Link(u64::from(is_pods) | u64::from(ifb) << 32)
    }

    fn is_tunnel_port(&self, port: u16) -> bool {
        self.tunnel_ports.contains(&port)
    }

    fn rule(&self, key: &RuleKey) -> Option<PortSetId> {
        self.rules.get(key)
    }

    fn verdict(
        &self,
        rule: &RuleKey,
        default_ports: PortSetId,
        protocol: u8,
        port: Port,
    ) -> Verdict {
        rules::verdict(self, rule, default_ports, protocol, port)
    }

    fn port_set(&self, set: PortSetId) -> Option<&PortSet> {
        self.port_sets.get(&set)
    }

    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict> {
        longest(
            &self.ports,
            bytemuck::cast::<_, [u8; 8]>(key),
            bits,
            bytemuck::cast::<_, [u8; 8]>,
        )
    }
}

impl Fragments for MemoryWorld {
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) -> bool {
        self.fragments.borrow_mut().insert(*key, *ports);
        true
    }
}

macro_rules! tables {
    ($family:ty, $key:ty, $addresses:ident, $cidrs:ident, $locals:ident, $services:ident,
     $flows:ident, $previous:ident, $bits:literal) => {
        impl Addresses<$family> for MemoryWorld {
            fn address(&self, address: $family) -> Option<AddressEntry> {
                self.$addresses.get(&address)
            }

            fn cidr(&self, address: $family) -> Option<IdentityId> {
                longest(&self.$cidrs, address.0, $bits, |net| net.0)
            }

            fn is_local(&self, address: $family) -> bool {
                longest(&self.$locals, address.0, $bits, |net| net.0).is_some()
            }

            fn is_service(&self, address: $family) -> bool {
                longest(&self.$services, address.0, $bits, |net| net.0).is_some()
            }
        }

        impl Flows<$family> for MemoryWorld {
            fn flow(&self, key: &$key) -> Option<Flow> {
                self.carried(&self.$flows, &self.$previous).get(key)
            }

            fn add_flow(&self, key: &$key, flow: &Flow) -> bool {
                self.carried(&self.$flows, &self.$previous).add(key, flow)
            }

            fn replace_flow(&self, key: &$key, flow: &Flow) -> Result<(), Full> {
                self.carried(&self.$flows, &self.$previous)
                    .replace(key, flow)
            }

            fn update_flow(&self, key: &$key, flow: &Flow) {
                self.carried(&self.$flows, &self.$previous)
                    .update(key, flow);
            }

            fn remove_flow(&self, key: &$key) -> bool {
                self.carried(&self.$flows, &self.$previous).remove(key)
            }
        }

        impl Recall<$family> for MemoryWorld {}
    };
}

tables!(
    V4,
    FlowKeyV4,
    addresses_v4,
    cidrs_v4,
    locals_v4,
    services_v4,
    flows_v4,
    previous_flows_v4,
    32
);
tables!(
    V6,
    FlowKeyV6,
    addresses_v6,
    cidrs_v6,
    locals_v6,
    services_v6,
    flows_v6,
    previous_flows_v6,
    128
);

/// The value of the longest prefix, of at most `bits`, that `wanted` begins with.
fn longest<K: Copy, V: Copy, const N: usize>(
    trie: &HashMap<(K, u32), V>,
    wanted: [u8; N],
    bits: u32,
    bytes: impl Fn(K) -> [u8; N],
) -> Option<V> {
    let begins = |prefix: [u8; N], length: u32| {
        let (whole, rest) = (length as usize / 8, length % 8);
        let mask = !(0xff_u8 >> rest);
        prefix[..whole] == wanted[..whole]
            && (rest == 0 || (prefix[whole] ^ wanted[whole]) & mask == 0)
    };
    trie.iter()
        .filter(|((key, length), _)| *length <= bits && begins(bytes(*key), *length))
        .max_by_key(|((_, length), _)| *length)
        .map(|(_, value)| *value)
}
