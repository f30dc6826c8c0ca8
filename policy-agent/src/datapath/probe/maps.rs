//! The maps as they are pinned, as decisions ask for them.
//!
//! Reads, and writes nothing: what a decision would write is forgotten. Invariant: a table that cannot be read
//! is remembered as an error ([`Maps::check`]), whatever was decided meanwhile.

use std::cell::{Cell, OnceCell, RefCell};

use aya::maps::{Map, MapData, MapError, lpm_trie};
use policy_common::{
    AddressEntry, Block, Config, Endpoint, EndpointId, Flow, FlowCounts, FlowKeyV4, FlowKeyV6,
    FragmentKey, FragmentPorts, IdentityId, PodLinks, PortKey, PortSet, PortSetId, Recent, RuleKey,
    V4, V6, Verdict, limits::POD_LINKS, names,
};
use policy_ebpf::{
    Link, Port,
    lines::{Found, Key, WORDS, line_of, read},
    lookup::{Addresses, Clock, Flows, Fragments, Full, Memory, Policy, Recall},
    rules,
};

use super::{
    super::{
        kernel::{
            abi::{Abi, Hash, Slots, Trie, prefix},
            element::found,
        },
        pins::PinDir,
    },
    ProbeError,
};

/// Port sets that one packet asks for, at most: an answer for each direction, and one more.
const MOST_SETS: usize = 4;

/// The maps of the generation in force.
pub(super) struct Maps {
    pub(super) config: Config,
    now: u64,
    interfaces: Hash<u32, EndpointId>,
    endpoints: Hash<u32, Endpoint>,
    addresses_v4: Slots<[u64; WORDS]>,
    addresses_v6: Slots<[u64; WORDS]>,
    spilled_v4: Trie<V4, AddressEntry>,
    spilled_v6: Trie<V6, AddressEntry>,
    cidrs_v4: Trie<V4, IdentityId>,
    cidrs_v6: Trie<V6, IdentityId>,
    locals_v4: Trie<V4, u32>,
    locals_v6: Trie<V6, u32>,
    services_v4: Trie<V4, u32>,
    services_v6: Trie<V6, u32>,
    rules: Slots<[u64; WORDS]>,
    spilled_rules: Trie<RuleKey, PortSetId>,
    port_sets: Slots<PortSet>,
    ports: Trie<PortKey, Verdict>,
    flows_v4: Hash<FlowKeyV4, Flow>,
    flows_v6: Hash<FlowKeyV6, Flow>,
    pub(super) links: Box<PodLinks>,
    tunnel_ports: Slots<u64>,
    pub(super) recent: Slots<Recent>,
    pub(super) blocks: Slots<Block>,
    here: Option<Endpoint>,
    source: OnceCell<Option<Endpoint>>,
    asked: [OnceCell<(PortSetId, PortSet)>; MOST_SETS],
    /// What the endpoint holds of the flow tables, and all of them together beyond their own shares.
    pub(super) before: (FlowCounts, u64),
    pub(super) counts: RefCell<FlowCounts>,
    pub(super) shared: Cell<u32>,
    pub(super) has_made_room: Cell<bool>,
    failure: RefCell<Option<(&'static str, MapError)>>,
}

fn open<M: TryFrom<Map, Error = MapError>>(
    pins: &PinDir,
    name: &'static str,
) -> Result<M, ProbeError> {
    let data = MapData::from_pin(pins.path().join(name));
    data.and_then(Map::from_map_data)
        .and_then(M::try_from)
        .map_err(|source| ProbeError::Map { name, source })
}

impl Maps {
    /// Opens what is pinned, for a packet at this interface. `now`: jiffies.
    pub(super) fn open(
        pins: &PinDir,
        config: Config,
        now: u64,
        ifindex: u32,
    ) -> Result<Self, ProbeError> {
        let mut maps = Self {
            config,
            now,
            interfaces: open(pins, names::INTERFACES)?,
            endpoints: open(pins, names::ENDPOINTS)?,
            addresses_v4: open(pins, names::ADDRESSES_V4)?,
            addresses_v6: open(pins, names::ADDRESSES_V6)?,
            spilled_v4: open(pins, names::SPILLED_V4)?,
            spilled_v6: open(pins, names::SPILLED_V6)?,
            cidrs_v4: open(pins, names::CIDRS_V4)?,
            cidrs_v6: open(pins, names::CIDRS_V6)?,
            locals_v4: open(pins, names::LOCALS_V4)?,
            locals_v6: open(pins, names::LOCALS_V6)?,
            services_v4: open(pins, names::SERVICES_V4)?,
            services_v6: open(pins, names::SERVICES_V6)?,
            rules: open(pins, names::RULES)?,
            spilled_rules: open(pins, names::SPILLED_RULES)?,
            port_sets: open(pins, names::PORT_SETS)?,
            ports: open(pins, names::PORTS)?,
            flows_v4: open(pins, names::FLOWS_V4)?,
            flows_v6: open(pins, names::FLOWS_V6)?,
            links: Box::new(PodLinks::NONE),
            tunnel_ports: open(pins, names::TUNNEL_PORTS)?,
            recent: open(pins, names::RECENT)?,
            blocks: open(pins, names::RECENT_BLOCKS)?,
            here: None,
            source: OnceCell::new(),
            asked: Default::default(),
            before: Default::default(),
            counts: RefCell::default(),
            shared: Cell::new(0),
            has_made_room: Cell::new(false),
            failure: RefCell::new(None),
        };
        let counts: Slots<FlowCounts> = open(pins, names::FLOW_COUNTS)?;
        let shared: Slots<u64> = open(pins, names::FLOW_SHARED)?;
        let links: Slots<PodLinks> = open(pins, names::POD_LINKS)?;
        if let Some(links) = maps.noted(names::POD_LINKS, found(links.get(&0, 0))) {
            *maps.links = links;
        }
        maps.here = maps
            .number_at(ifindex)
            .and_then(|id| maps.endpoint(id))
            .filter(|endpoint| endpoint.ifindex == ifindex);
        if let Some(endpoint) = &maps.here {
            let counts = counts.get(&endpoint.id.0.into(), 0);
            let counts = maps.noted(names::FLOW_COUNTS, found(counts));
            let shared = maps.noted(names::FLOW_SHARED, found(shared.get(&0, 0)));
            maps.before = (counts.unwrap_or_default(), shared.unwrap_or_default());
        }
        maps.counts = RefCell::new(maps.before.0);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "programs read the low half too"
        )]
        maps.shared.set(maps.before.1 as u32);
        maps.check()?;
        Ok(maps)
    }

    /// The endpoint at whose interface the packet is.
    pub(super) fn here(&self) -> Option<&Endpoint> {
        self.here.as_ref()
    }

    /// An interface of which nothing is known.
    pub(super) fn strange(&self) -> u32 {
        const FIRST: u32 = 0x7fff_0000;
        let mut all = FIRST..FIRST + POD_LINKS;
        all.find(|ifindex| self.link(*ifindex) == Link::NONE)
            .unwrap_or(FIRST)
    }

    /// Whether everything that was asked for could be read.
    pub(super) fn check(&self) -> Result<(), ProbeError> {
        match self.failure.take() {
            Some((name, source)) => Err(ProbeError::Map { name, source }),
            None => Ok(()),
        }
    }

    pub(super) fn noted<T>(
        &self,
        name: &'static str,
        result: Result<Option<T>, MapError>,
    ) -> Option<T> {
        match result {
            Ok(value) => value,
            Err(source) => {
                self.failure.replace(Some((name, source)));
                None
            }
        }
    }

    fn endpoint(&self, id: EndpointId) -> Option<Endpoint> {
        let element = self.endpoints.get(&Abi(u32::from(id.0)), 0);
        self.noted(names::ENDPOINTS, found(element))
            .filter(|endpoint| endpoint.id == id && endpoint.is_whole())
    }

    /// What a table of lines says of a key.
    fn line<K>(
        &self,
        name: &'static str,
        lines: &Slots<[u64; WORDS]>,
        count: u32,
        spill: &Trie<K, K::Value>,
        key: K,
    ) -> Option<K::Value>
    where
        K: Key + bytemuck::Pod,
        K::Value: bytemuck::Pod,
    {
        let line = found(lines.get(&line_of(&key, count), 0));
        match read(&key, &self.noted(name, line)?) {
            Found::Here(value) => Some(value),
            Found::Nowhere => None,
            Found::Elsewhere => {
                let bits = 8 * size_of::<K>() as u32;
                self.noted(name, found(spill.get(&prefix(bits, key), 0)))
            }
        }
    }

    fn longest<K: bytemuck::Pod, V: bytemuck::Pod>(
        &self,
        name: &'static str,
        trie: &Trie<K, V>,
        bits: u32,
        key: K,
    ) -> Option<V> {
        self.noted(
            name,
            found(trie.get(&lpm_trie::Key::new(bits, Abi(key)), 0)),
        )
    }
}

impl Memory for Maps {}

impl Clock for Maps {
    fn hz(&self) -> u32 {
        self.config.hz
    }

    fn now(&self) -> u64 {
        self.now
    }
}

impl Policy for Maps {
    fn endpoint_at(&self, ifindex: u32) -> Option<&Endpoint> {
        self.here.as_ref().filter(|here| here.ifindex == ifindex)
    }

    fn number_at(&self, ifindex: u32) -> Option<EndpointId> {
        let number = self.interfaces.get(&Abi(ifindex), 0);
        self.noted(names::INTERFACES, found(number))
    }

    fn source_endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        let source = self.source.get_or_init(|| self.endpoint(id));
        source.as_ref().filter(|source| source.id == id)
    }

    fn link(&self, ifindex: u32) -> Link {
        Link(self.links.0[(ifindex % POD_LINKS) as usize])
    }

    fn is_tunnel_port(&self, port: u16) -> bool {
        let word = found(self.tunnel_ports.get(&u32::from(port >> 6), 0));
        let word = self.noted(names::TUNNEL_PORTS, word).unwrap_or_default();
        word >> (port & 63) & 1 != 0
    }

    fn rule(&self, key: &RuleKey) -> Option<PortSetId> {
        let (lines, spill) = (&self.rules, &self.spilled_rules);
        self.line(names::RULES, lines, self.config.rule_lines, spill, *key)
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
        for slot in &self.asked {
            let read = || {
                let value = found(self.port_sets.get(&set.0, 0));
                (set, self.noted(names::PORT_SETS, value).unwrap_or_default())
            };
            let (id, value) = slot.get_or_init(read);
            if *id == set {
                return Some(value);
            }
        }
        None
    }

    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict> {
        self.longest(names::PORTS, &self.ports, bits, key)
    }
}

/// No fragment is ever asked about.
impl Fragments for Maps {
    fn fragment(&self, _: &FragmentKey) -> Option<FragmentPorts> {
        None
    }

    fn remember_fragment(&self, _: &FragmentKey, _: &FragmentPorts) -> bool {
        true
    }
}

macro_rules! tables {
    ($family:ty, $key:ty, $bits:literal, $lines:ident,
     $addresses:ident, $spilled:ident, $cidrs:ident, $locals:ident, $services:ident, $flows:ident,
     $addresses_name:ident, $cidrs_name:ident, $locals_name:ident, $services_name:ident, $flows_name:ident) => {
        impl Addresses<$family> for Maps {
            fn address(&self, address: $family) -> Option<AddressEntry> {
                let (lines, spill) = (&self.$addresses, &self.$spilled);
                let count = self.config.$lines;
                self.line(names::$addresses_name, lines, count, spill, address)
            }

            fn cidr(&self, address: $family) -> Option<IdentityId> {
                self.longest(names::$cidrs_name, &self.$cidrs, $bits, address)
            }

            fn is_local(&self, address: $family) -> bool {
                let local = self.longest(names::$locals_name, &self.$locals, $bits, address);
                local.is_some()
            }

            fn is_service(&self, address: $family) -> bool {
                let service = self.longest(names::$services_name, &self.$services, $bits, address);
                service.is_some()
            }
        }

        impl Flows<$family> for Maps {
            fn flow(&self, key: &$key) -> Option<Flow> {
                self.noted(names::$flows_name, found(self.$flows.get(&Abi(*key), 0)))
            }

            fn add_flow(&self, key: &$key, _: &Flow) -> bool {
                Flows::<$family>::flow(self, key).is_none()
            }

            fn replace_flow(&self, _: &$key, _: &Flow) -> Result<(), Full> {
                Ok(())
            }

            fn update_flow(&self, _: &$key, _: &Flow) {}

            fn remove_flow(&self, key: &$key) -> bool {
                Flows::<$family>::flow(self, key).is_some()
            }
        }

        impl Recall<$family> for Maps {}
    };
}

tables!(
    V4,
    FlowKeyV4,
    32,
    lines_v4,
    addresses_v4,
    spilled_v4,
    cidrs_v4,
    locals_v4,
    services_v4,
    flows_v4,
    ADDRESSES_V4,
    CIDRS_V4,
    LOCALS_V4,
    SERVICES_V4,
    FLOWS_V4
);
tables!(
    V6,
    FlowKeyV6,
    128,
    lines_v6,
    addresses_v6,
    spilled_v6,
    cidrs_v6,
    locals_v6,
    services_v6,
    flows_v6,
    ADDRESSES_V6,
    CIDRS_V6,
    LOCALS_V6,
    SERVICES_V6,
    FLOWS_V6
);
