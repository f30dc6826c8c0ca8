//! The maps and the clock, as decisions ask for them.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_EXIST, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
    helpers::generated::bpf_jiffies64,
};
use policy_common::{
    AddressEntry, Endpoint, EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState, FragmentKey,
    FragmentPorts, IdentityId, PortKey, PortSet, PortSetId, RuleKey, V4, V6, Verdict,
};
use policy_ebpf::{
    lookup::{Addresses, Clock, Flows, Fragments, Full, Memory, Policy, Recall},
    question::{Answer, Question},
    recall::{Role, is_same, slot, words_v4, words_v6},
};

use super::{
    known::{copy, learn},
    maps,
};

macro_rules! config {
    ($field:ident) => {{
        // SAFETY: the global lies in read-only data that the loader filled; volatile, because the
        // compiler must not believe the value it was built with.
        unsafe {
            (&raw const (*(&raw const $crate::bpf::maps::CONFIG).cast::<policy_common::Config>())
                .$field)
                .read_volatile()
        }
    }};
}
pub(crate) use config;

/// Whether the object was loaded for `BPF_PROG_TEST_RUN`.
#[inline(always)]
pub(crate) fn is_test_run() -> bool {
    config!(test_seam) != 0
}

/// Reads a field of CONTROL, which the agent writes while programs run.
macro_rules! control {
    ($field:ident) => {{
        let control = maps::CONTROL.0.get();
        // SAFETY: the global is memory of the object; volatile, because it changes.
        unsafe { (&raw const (*control).$field).read_volatile() }
    }};
}

/// Zero from a map: to the verifier, any number.
#[inline(always)]
pub(crate) fn unknown_zero() -> u64 {
    control!(zero)
}

/// The kernel.
pub(crate) struct Kernel;

impl Clock for Kernel {
    fn hz(&self) -> u32 {
        config!(hz)
    }

    fn now(&self) -> u64 {
        // SAFETY: the helper has no arguments.
        unsafe { bpf_jiffies64() }
    }
}

impl Memory for Kernel {
    fn lend<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        const { assert!(size_of::<T>() <= 48 && align_of::<T>() <= 8) };
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the memory belongs to this processor until the program ends, is large enough, and
        // is lent once per packet, for types that any bytes are valid for.
        Some(then(unsafe {
            &mut *(&raw mut (*scratch).packet).cast::<T>()
        }))
    }

    fn lend_for_flow<T: Copy + Default, R>(&self, then: impl FnOnce(&mut T) -> R) -> Option<R> {
        const { assert!(size_of::<T>() <= 160 && align_of::<T>() <= 8) };
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: as above.
        Some(then(unsafe {
            &mut *(&raw mut (*scratch).flow).cast::<T>()
        }))
    }
}

impl Policy for Kernel {
    fn version(&self) -> u64 {
        let (begun, settled) = (control!(begun), control!(settled));
        if begun == settled { settled } else { 0 }
    }

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

    fn is_tunnel_port(&self, port: u16) -> bool {
        maps::TUNNEL_PORTS
            .get(u32::from(port >> 6))
            .is_some_and(|word| word >> (port & 63) & 1 != 0)
    }

    fn rule(&self, key: &RuleKey) -> Option<PortSetId> {
        // SAFETY: one word, read at once.
        unsafe { maps::RULES.get(key) }.copied()
    }

    fn port_set(&self, set: PortSetId) -> Option<&PortSet> {
        maps::PORT_SETS.get(set.0)
    }

    fn port(&self, key: PortKey, bits: u32) -> Option<Verdict> {
        maps::PORTS.get(&Key::new(bits, key)).copied()
    }
}

impl Fragments for Kernel {
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        // SAFETY: eight bytes, read at once.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) -> bool {
        // Without room the later fragments are dropped as unseen: that is safe, and counted there.
        maps::FRAGMENTS.insert(key, ports, BPF_ANY.into()).is_ok()
    }
}

macro_rules! tables {
    ($family:ty, $key:ty, $addresses:ident, $cidrs:ident, $locals:ident, $flows:ident, $known:ident, $answers:ident,
     $words:ident, $bits:literal) => {
        impl Addresses<$family> for Kernel {
            fn address(&self, address: $family) -> Option<AddressEntry> {
                // SAFETY: eight bytes, read at once.
                unsafe { maps::$addresses.get(address) }.copied()
            }

            fn cidr(&self, address: $family) -> Option<IdentityId> {
                maps::$cidrs.get(&Key::new($bits, address)).copied()
            }

            fn is_local(&self, address: $family) -> bool {
                maps::$locals.get(&Key::new($bits, address)).is_some()
            }
        }

        impl Flows<$family> for Kernel {
            fn flow(&self, key: &$key) -> Option<Flow> {
                let element = maps::$flows.get_ptr(key)?;
                // SAFETY: a map element stays readable while the program runs; verdict and epoch
                // are one word of it.
                let words = unsafe {
                    let words = element.cast::<u64>();
                    [
                        words.read_volatile(),
                        words.add(1).read_volatile(),
                        words.add(2).read_volatile(),
                        words.add(3).read_volatile(),
                    ]
                };
                Some(bytemuck::cast(words))
            }

            fn add_flow(&self, key: &$key, flow: &Flow) -> bool {
                maps::$flows.insert(key, flow, BPF_NOEXIST.into()).is_ok()
            }

            fn replace_flow(&self, key: &$key, flow: &Flow) -> Result<(), Full> {
                maps::$flows
                    .insert(key, flow, BPF_ANY.into())
                    .map_err(|_| Full)
            }

            fn update_flow(&self, key: &$key, flow: &Flow) {
                // The entry is replaced, never written through a pointer: its memory may hold
                // another flow by now. If it is gone, there is nothing to update.
                let _ = maps::$flows.insert(key, flow, BPF_EXIST.into());
            }

            fn remove_flow(&self, key: &$key) -> bool {
                maps::$flows.remove(key).is_ok()
            }
        }

        impl Recall<$family> for Kernel {
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
    ADDRESSES_V4,
    CIDRS_V4,
    LOCALS_V4,
    FLOWS_V4,
    KNOWN_FLOWS_V4,
    KNOWN_ANSWERS_V4,
    words_v4,
    32
);
tables!(
    V6,
    FlowKeyV6,
    ADDRESSES_V6,
    CIDRS_V6,
    LOCALS_V6,
    FLOWS_V6,
    KNOWN_FLOWS_V6,
    KNOWN_ANSWERS_V6,
    words_v6,
    128
);
