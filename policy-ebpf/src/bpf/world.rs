//! The maps and the clock, as decisions ask for them.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::lpm_trie::Key, helpers::generated::bpf_jiffies64};
use policy_common::{
    AddressEntry, Endpoint, EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState, FragmentKey,
    FragmentPorts, IdentityId, PortKey, PortSet, PortSetId, RuleKey, RulesetId, V4, V6, Verdict,
    limits::POD_LINKS,
};
use policy_ebpf::{
    Link, Port,
    lookup::{Addresses, Clock, Flows, Fragments, Full, Memory, Policy, Recall},
    question::{Answer, Question},
    recall::{Role, is_same, slot, words_v4, words_v6},
    rules,
};

use super::{
    flow_table::carried,
    globals::{config, control},
    known::{copy, learn},
    lines, maps, steps,
};

/// The kernel.
pub(crate) struct Kernel;

impl Kernel {
    /// The endpoint at this interface, in the copy that [`Policy::endpoint_at`] made for this packet.
    #[inline(always)]
    pub(super) fn here(&self, ifindex: u32) -> Option<&Endpoint> {
        let known = maps::KNOWN_ENDPOINTS.get_ptr(Role::Here.place(ifindex))?;
        // SAFETY: an array slot stays where it is and belongs to this processor until the program ends.
        Some(unsafe { &(*known).endpoint })
    }
}

impl Clock for Kernel {
    #[inline(always)]
    fn hz(&self) -> u32 {
        config!(hz)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no arguments.
        unsafe { bpf_jiffies64() }
    }
}

impl Memory for Kernel {
    #[inline(always)]
    fn lend_for_flow<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        const { assert!(size_of::<T>() <= 160 && align_of::<T>() <= 8) };
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the memory belongs to this processor until the program ends, is large enough, and
        // is lent once per packet, for types that any bytes are valid for.
        Some(then(unsafe {
            &mut *(&raw mut (*scratch).flow).cast::<T>()
        }))
    }
}

impl Policy for Kernel {
    #[inline(always)]
    fn version(&self) -> u64 {
        let (begun, settled) = (control!(begun), control!(settled));
        if begun == settled { settled } else { 0 }
    }

    #[inline(always)]
    fn endpoint_at(&self, ifindex: u32) -> Option<&Endpoint> {
        let known = maps::KNOWN_ENDPOINTS.get_ptr_mut(Role::Here.place(ifindex))?;
        let version = self.version();
        // SAFETY: an array slot stays where it is and belongs to this processor until the program
        // ends; no other role has it.
        unsafe {
            let is_current =
                (*known).version == version && version != 0 && (*known).endpoint.ifindex == ifindex;
            (is_current || learn(known, Role::Here as u32, ifindex, version))
                .then(|| &(*known).endpoint)
        }
    }

    fn number_at(&self, ifindex: u32) -> Option<EndpointId> {
        // SAFETY: two bytes, read at once.
        unsafe { maps::INTERFACES.get(ifindex) }.copied()
    }

    #[inline(always)]
    fn source_endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        let known = maps::KNOWN_ENDPOINTS.get_ptr_mut(Role::Source.place(id.0.into()))?;
        let version = self.version();
        // SAFETY: as above.
        unsafe {
            let is_current =
                (*known).version == version && version != 0 && (*known).endpoint.id == id;
            (is_current || learn(known, Role::Source as u32, id.0.into(), version))
                .then(|| &(*known).endpoint)
        }
    }

    #[inline(always)]
    fn link(&self, ifindex: u32) -> Link {
        let links = maps::POD_LINKS.0.get().cast::<u64>();
        // SAFETY: the remainder is the index of a word of the global, which is read at once.
        Link(unsafe { links.add((ifindex % POD_LINKS) as usize).read_volatile() })
    }

    #[inline(always)]
    fn is_tunnel_port(&self, port: u16) -> bool {
        maps::TUNNEL_PORTS
            .get(u32::from(port >> 6))
            .is_some_and(|word| word >> (port & 63) & 1 != 0)
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<PortSetId> {
        lines::rule(key)
    }

    #[inline(always)]
    fn verdict(
        &self,
        rule: &RuleKey,
        default_ports: PortSetId,
        protocol: u8,
        port: Port,
    ) -> Verdict {
        let (ruleset, identity) = (rule.ruleset.0.into(), rule.identity.0.into());
        let ports = default_ports.0.into();
        Verdict(rule_says(ruleset, identity, ports, protocol.into(), port.word()) as u8)
    }

    #[inline(always)]
    fn port_set(&self, set: PortSetId) -> Option<&PortSet> {
        maps::PORT_SETS.get(set.0)
    }

    #[inline(always)]
    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict> {
        maps::PORTS.get(&Key::new(bits, key)).copied()
    }
}

/// A global function: the verifier follows it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rule_says(
    ruleset: u64,
    identity: u64,
    default_ports: u64,
    protocol: u64,
    port: u64,
) -> u64 {
    let rule = RuleKey {
        ruleset: RulesetId(ruleset as u32),
        identity: IdentityId(identity as u32),
    };
    let default_ports = PortSetId(default_ports as u32);
    let verdict = rules::verdict(
        &Kernel,
        &rule,
        default_ports,
        protocol as u8,
        Port::of_word(port),
    );
    verdict.0.into()
}

impl Fragments for Kernel {
    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        // SAFETY: eight bytes, read at once.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) -> bool {
        // Without room the later fragments are dropped as unseen: that is safe, and counted there.
        maps::FRAGMENTS.insert(key, ports, BPF_ANY.into()).is_ok()
    }
}

macro_rules! tables {
    ($family:ty, $key:ty, $find:ident, $cidrs:ident, $locals:ident, $services:ident, $flows:ident, $previous:ident,
     $known:ident, $answers:ident,
     $words:ident, $bits:literal) => {
        impl Addresses<$family> for Kernel {
            #[inline(always)]
            fn address(&self, address: $family) -> Option<AddressEntry> {
                lines::$find(address)
            }

            #[inline(always)]
            fn cidr(&self, address: $family) -> Option<IdentityId> {
                maps::$cidrs.get(&Key::new($bits, address)).copied()
            }

            #[inline(always)]
            fn is_local(&self, address: $family) -> bool {
                maps::$locals.get(&Key::new($bits, address)).is_some()
            }

            #[inline(always)]
            fn is_service(&self, address: $family) -> bool {
                steps::$services(address)
            }
        }

        impl Flows<$family> for Kernel {
            #[inline(always)]
            fn flow(&self, key: &$key) -> Option<Flow> {
                carried(&maps::$flows, &maps::$previous).get(key)
            }

            #[inline(always)]
            fn add_flow(&self, key: &$key, flow: &Flow) -> bool {
                carried(&maps::$flows, &maps::$previous).add(key, flow)
            }

            #[inline(always)]
            fn replace_flow(&self, key: &$key, flow: &Flow) -> Result<(), Full> {
                carried(&maps::$flows, &maps::$previous).replace(key, flow)
            }

            #[inline(always)]
            fn update_flow(&self, key: &$key, flow: &Flow) {
                carried(&maps::$flows, &maps::$previous).update(key, flow);
            }

            #[inline(always)]
            fn remove_flow(&self, key: &$key) -> bool {
                carried(&maps::$flows, &maps::$previous).remove(key)
            }
        }

        impl Recall<$family> for Kernel {
            #[inline(always)]
            fn known_answer(&self, question: &Question<$family>, version: u64) -> Option<Answer> {
                let words = $words(question);
                let known = maps::$answers.get_ptr(slot(&words))?;
                // SAFETY: an array slot stays where it is and belongs to this processor until the
                // program ends.
                unsafe {
                    let is_current =
                        (*known).version == version && is_same(&(*known).question, &words);
                    is_current.then(|| Answer((*known).answer))
                }
            }

            #[inline(always)]
            fn know_answer(&self, question: &Question<$family>, version: u64, answer: Answer) {
                let words = $words(question);
                if let Some(known) = maps::$answers.get_ptr_mut(slot(&words)) {
                    // SAFETY: as above.
                    unsafe {
                        (*known).question = words;
                        (*known).version = version;
                        (*known).answer = answer.0;
                    }
                }
            }

            #[inline(always)]
            fn known_flow(&self, key: &$key) -> Option<(FlowState, u64)> {
                let key = bytemuck::cast_ref(key);
                let known = maps::$known.get_ptr(slot(key))?;
                // SAFETY: an array slot stays where it is and belongs to this processor until the
                // program ends.
                unsafe {
                    is_same(&(*known).key, key)
                        .then(|| (bytemuck::cast((*known).state), (*known).last_seen))
                }
            }

            #[inline(always)]
            fn know_flow(&self, key: &$key, flow: &Flow) {
                let key = bytemuck::cast_ref(key);
                if let Some(known) = maps::$known.get_ptr_mut(slot(key)) {
                    // SAFETY: as above.
                    unsafe {
                        copy(key, &raw mut (*known).key);
                        (*known).state = bytemuck::cast(flow.state);
                        (*known).last_seen = flow.last_seen;
                    }
                }
            }
        }
    };
}

tables!(
    V4,
    FlowKeyV4,
    address_v4,
    CIDRS_V4,
    LOCALS_V4,
    is_service_v4,
    FLOWS_V4,
    PREVIOUS_FLOWS_V4,
    KNOWN_FLOWS_V4,
    KNOWN_ANSWERS_V4,
    words_v4,
    32
);
tables!(
    V6,
    FlowKeyV6,
    address_v6,
    CIDRS_V6,
    LOCALS_V6,
    is_service_v6,
    FLOWS_V6,
    PREVIOUS_FLOWS_V6,
    KNOWN_FLOWS_V6,
    KNOWN_ANSWERS_V6,
    words_v6,
    128
);
