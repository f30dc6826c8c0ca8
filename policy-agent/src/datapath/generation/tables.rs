//! The maps that the agent writes, typed.
//!
//! Owns the handles; must not know plans. One method per kind of write; a write that the kernel
//! refuses changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::{Ebpf, maps::MapError};
use ipnet::IpNet;
use policy_common::{
    AddressEntry, Control, Endpoint, EndpointId, IdentityId, NodeState, PodLinks, PortEntry,
    PortKey, PortSet, PortSetId, RuleKey, V4, V6, Verdict, limits::POD_LINKS, names,
};
use policy_core::plan::{
    DENY,
    encode::{EncodedPortSet, TrieEntry},
};

use super::{
    super::kernel::{
        abi::{Abi, Hash, Slots, Trie, prefix},
        element::{found, gone},
        grace::Grace,
        part::{PartError, open},
    },
    lined::Lined,
    locals::Prefixes,
};

/// The bit of a word of POD_LINKS by whose interfaces packets of pods come.
const POD_LINK: u64 = 1;

/// Typed handles of the maps that hold policy.
pub(crate) struct Tables {
    interfaces: Hash<u32, EndpointId>,
    endpoints: Hash<u32, Endpoint>,
    addresses_v4: Lined<V4>,
    addresses_v6: Lined<V6>,
    cidrs_v4: Trie<V4, IdentityId>,
    cidrs_v6: Trie<V6, IdentityId>,
    locals: Prefixes,
    services: Prefixes,
    rules: Lined<RuleKey>,
    port_sets: Slots<PortSet>,
    ports: Trie<PortKey, Verdict>,
    node_state: Slots<NodeState>,
    /// The globals of the programs, and what stands there.
    globals: Slots<Control>,
    control: Control,
    tunnel_ports: Slots<u64>,
    pod_links: Slots<PodLinks>,
    /// What stands in POD_LINKS.
    links: Box<Abi<PodLinks>>,
    ifbs: BTreeSet<u32>,
    grace: Grace,
}

/// Rules that every generation has.
pub(crate) const BUILT_IN_RULES: [RuleKey; 2] = [
    RuleKey {
        ruleset: DENY.ruleset,
        identity: IdentityId::HOST,
    },
    RuleKey {
        ruleset: DENY.ruleset,
        identity: IdentityId::SELF,
    },
];

impl Tables {
    /// Opens the maps of a loaded object.
    pub(crate) fn of(ebpf: &Ebpf, grace: Grace) -> Result<Self, PartError> {
        Ok(Self {
            interfaces: open(ebpf, names::INTERFACES)?,
            endpoints: open(ebpf, names::ENDPOINTS)?,
            addresses_v4: Lined::of(ebpf, names::ADDRESSES_V4, names::SPILLED_V4)?,
            addresses_v6: Lined::of(ebpf, names::ADDRESSES_V6, names::SPILLED_V6)?,
            cidrs_v4: open(ebpf, names::CIDRS_V4)?,
            cidrs_v6: open(ebpf, names::CIDRS_V6)?,
            locals: Prefixes::locals(ebpf)?,
            services: Prefixes::services(ebpf)?,
            rules: Lined::of(ebpf, names::RULES, names::SPILLED_RULES)?,
            port_sets: open(ebpf, names::PORT_SETS)?,
            ports: open(ebpf, names::PORTS)?,
            node_state: open(ebpf, names::NODE_STATE)?,
            globals: open(ebpf, Control::MAP)?,
            control: Control::default(),
            tunnel_ports: open(ebpf, names::TUNNEL_PORTS)?,
            pod_links: open(ebpf, PodLinks::MAP)?,
            links: Box::new(Abi(PodLinks::NONE)),
            ifbs: BTreeSet::new(),
            grace,
        })
    }

    /// The endpoint of an interface.
    pub(crate) fn endpoint_at(&self, ifindex: u32) -> Result<Option<Endpoint>, MapError> {
        let Some(id) = found(self.interfaces.get(&Abi(ifindex), 0))? else {
            return Ok(None);
        };
        found(self.endpoints.get(&Abi(id.0.into()), 0))
    }

    /// Every endpoint that an interface names.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, MapError> {
        self.interfaces
            .keys()
            .filter_map(|ifindex| {
                ifindex
                    .and_then(|Abi(ifindex)| self.endpoint_at(ifindex))
                    .transpose()
            })
            .collect()
    }

    /// Writes an endpoint, sealed, and what its interface is. The number that the interface had before
    /// goes last: at every step the interface has the old endpoint or the new one.
    pub(crate) fn put_endpoint(&mut self, value: Endpoint) -> Result<(), MapError> {
        self.unsettle()?;
        // Stays when the endpoint goes: others may have the same element, and one too many costs a look.
        for link in [value.ifindex, value.bridge] {
            if link != 0 {
                self.put_link(link, |word| word | POD_LINK)?;
            }
        }
        let interface = Abi(value.ifindex);
        let before = found(self.interfaces.get(&interface, 0))?;
        self.endpoints
            .insert(Abi(u32::from(value.id.0)), Abi(value), 0)?;
        let Some(before) = before else {
            let named = self.interfaces.insert(interface, Abi(value.id), 0);
            if named.is_err() {
                // Nobody finds it: its room is better free.
                gone(self.endpoints.remove(&Abi(value.id.0.into())))?;
            }
            return named;
        };
        if before != value.id {
            self.interfaces.insert(interface, Abi(value.id), 0)?;
            gone(self.endpoints.remove(&Abi(before.0.into())))?;
        }
        Ok(())
    }

    pub(crate) fn delete_endpoint(&mut self, ifindex: u32, id: EndpointId) -> Result<(), MapError> {
        self.unsettle()?;
        gone(self.interfaces.remove(&Abi(ifindex)))?;
        gone(self.endpoints.remove(&Abi(id.0.into())))
    }

    /// Whether programs read the tables anew for every packet.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.control.begun != self.control.settled
    }

    /// Returns when every program run has ended that began before the call.
    pub(crate) fn wait(&mut self) -> Result<(), MapError> {
        self.grace.wait()?;
        self.addresses_v6.forget_left();
        Ok(())
    }

    /// Has programs read the tables anew for every packet from now on. Comes before every write:
    /// what a program remembers of a table is not older than the table.
    fn unsettle(&mut self) -> Result<(), MapError> {
        if self.is_unsettled() {
            return Ok(());
        }
        self.put_control(Control {
            begun: self.control.begun + 1,
            ..self.control
        })
    }

    /// Lets programs remember what they read. Call it when no program runs that began before the last
    /// change.
    pub(crate) fn settle(&mut self) -> Result<(), MapError> {
        self.put_control(Control {
            settled: self.control.begun,
            ..self.control
        })
    }

    pub(crate) fn set_carries(&mut self, carries: bool) -> Result<(), MapError> {
        self.put_control(Control {
            carries: carries.into(),
            ..self.control
        })
    }

    fn put_control(&mut self, control: Control) -> Result<(), MapError> {
        self.globals.set(0, Abi(control), 0)?;
        self.control = control;
        Ok(())
    }

    pub(crate) fn put_address(
        &mut self,
        address: IpAddr,
        entry: AddressEntry,
    ) -> Result<(), MapError> {
        self.unsettle()?;
        let wait = || self.grace.wait();
        match address {
            IpAddr::V4(address) => self.addresses_v4.put(V4(address.octets()), entry, wait),
            IpAddr::V6(address) => self.addresses_v6.put(V6(address.octets()), entry, wait),
        }
    }

    pub(crate) fn delete_address(&mut self, address: IpAddr) -> Result<(), MapError> {
        self.unsettle()?;
        match address {
            IpAddr::V4(address) => self.addresses_v4.remove(&V4(address.octets())),
            IpAddr::V6(address) => self.addresses_v6.remove(&V6(address.octets())),
        }
    }

    pub(crate) fn put_cidr(&mut self, cidr: IpNet, identity: IdentityId) -> Result<(), MapError> {
        self.unsettle()?;
        let bits = u32::from(cidr.prefix_len());
        match cidr.addr() {
            IpAddr::V4(address) => {
                let key = prefix(bits, V4(address.octets()));
                self.cidrs_v4.insert(&key, Abi(identity), 0)
            }
            IpAddr::V6(address) => {
                let key = prefix(bits, V6(address.octets()));
                self.cidrs_v6.insert(&key, Abi(identity), 0)
            }
        }
    }

    pub(crate) fn delete_cidr(&mut self, cidr: IpNet) -> Result<(), MapError> {
        self.unsettle()?;
        let bits = u32::from(cidr.prefix_len());
        gone(match cidr.addr() {
            IpAddr::V4(address) => self.cidrs_v4.remove(&prefix(bits, V4(address.octets()))),
            IpAddr::V6(address) => self.cidrs_v6.remove(&prefix(bits, V6(address.octets()))),
        })
    }

    pub(crate) fn put_rule(&mut self, key: RuleKey, ports: PortSetId) -> Result<(), MapError> {
        self.unsettle()?;
        self.rules.put(key, ports, || self.grace.wait())
    }

    pub(crate) fn delete_rule(&mut self, key: RuleKey) -> Result<(), MapError> {
        self.unsettle()?;
        self.rules.remove(&key)
    }

    /// Writes the entries before the header that makes them count. When an entry does not fit,
    /// those already written are taken back.
    pub(crate) fn put_port_set(
        &mut self,
        id: PortSetId,
        set: &EncodedPortSet,
    ) -> Result<(), MapError> {
        self.unsettle()?;
        for (written, entry) in set.trie.iter().enumerate() {
            let key = prefix(entry.bits, entry.key);
            if let Err(error) = self.ports.insert(&key, Abi(entry.verdict), 0) {
                self.delete_ports(&set.trie[..written])?;
                return Err(error);
            }
        }
        self.put_port_set_header(id, set.header)
    }

    pub(crate) fn put_port_set_header(
        &mut self,
        id: PortSetId,
        header: PortSet,
    ) -> Result<(), MapError> {
        self.unsettle()?;
        self.port_sets.set(id.0, Abi(header), 0)
    }

    /// Makes the set deny everything, then removes its entries.
    pub(crate) fn delete_port_set(
        &mut self,
        id: PortSetId,
        set: &EncodedPortSet,
    ) -> Result<(), MapError> {
        self.put_port_set_header(id, PortSet::default())?;
        self.delete_ports(&set.trie)
    }

    fn delete_ports(&mut self, entries: &[TrieEntry]) -> Result<(), MapError> {
        entries
            .iter()
            .try_for_each(|entry| gone(self.ports.remove(&prefix(entry.bits, entry.key))))
    }

    pub(crate) fn put_node_state(&mut self, state: NodeState) -> Result<(), MapError> {
        self.node_state.set(0, Abi(state), 0)
    }

    /// Makes LOCALS these prefixes.
    pub(crate) fn put_local_routes(&mut self, routes: &[IpNet]) -> Result<(), MapError> {
        self.locals.put(routes)
    }

    /// Makes SERVICES these prefixes, as far as there is room: whether there was.
    pub(crate) fn put_services(&mut self, services: &[IpNet]) -> Result<bool, MapError> {
        self.services.put_some(services)
    }

    /// Makes these interfaces the IFBs. Of two whose indices are the same but for a multiple of POD_LINKS
    /// one is none.
    pub(crate) fn put_ifbs(&mut self, ifbs: &BTreeSet<u32>) -> Result<(), MapError> {
        let slots = |ifbs: &BTreeSet<u32>| -> BTreeMap<u32, u32> {
            ifbs.iter().map(|ifb| (ifb % POD_LINKS, *ifb)).collect()
        };
        let (before, after) = (slots(&self.ifbs), slots(ifbs));
        for slot in before.keys().filter(|slot| !after.contains_key(slot)) {
            self.put_link(*slot, |word| word & POD_LINK)?;
        }
        for (slot, ifb) in after {
            self.put_link(slot, |word| word & POD_LINK | u64::from(ifb) << 32)?;
        }
        self.ifbs.clone_from(ifbs);
        Ok(())
    }

    fn put_link(&mut self, link: u32, change: impl FnOnce(u64) -> u64) -> Result<(), MapError> {
        let slot = (link % POD_LINKS) as usize;
        let links = &mut self.links.0.0;
        let before = links[slot];
        let word = change(before);
        if word == before {
            return Ok(());
        }
        // All words again, as they are: nobody sees one that is neither the old nor the new one.
        links[slot] = word;
        let written = self.pod_links.set(0, *self.links, 0);
        if written.is_err() {
            self.links.0.0[slot] = before;
        }
        written
    }

    /// Sets the bit of every UDP port on which this node unpacks tunnels, and clears the others.
    pub(crate) fn put_tunnel_ports(&mut self, ports: &[u16]) -> Result<(), MapError> {
        let mut words = vec![0u64; self.tunnel_ports.len() as usize];
        for port in ports {
            if let Some(word) = words.get_mut(usize::from(*port) / 64) {
                *word |= 1 << (port % 64);
            }
        }
        (0..)
            .zip(words)
            .try_for_each(|(index, word)| self.tunnel_ports.set(index, Abi(word), 0))
    }
}

impl Tables {
    /// Port set 0 denies everything as zeroed memory does; number 1 allows everything. Ruleset 0 is
    /// for endpoints whose rules have no room: it allows the host and the endpoint itself.
    pub(crate) fn put_built_in(&mut self) -> Result<(), MapError> {
        let mut allow_all = PortSet {
            count: 1,
            ..PortSet::default()
        };
        allow_all.inline[0] = PortEntry {
            any_protocol: 1,
            verdict: Verdict::ALLOW,
            ..PortEntry::default()
        };
        self.put_port_set_header(PortSetId::ALLOW_ALL, allow_all)?;
        BUILT_IN_RULES
            .into_iter()
            .try_for_each(|rule| self.put_rule(rule, PortSetId::ALLOW_ALL))
    }
}
