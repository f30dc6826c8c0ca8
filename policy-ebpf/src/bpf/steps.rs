//! The steps that few packets take, as global functions: the verifier follows each once and knows nothing of
//! its callers.
//!
//! Invariants: nothing but the context and numbers goes in, and a number comes back (that is all that Linux
//! 5.10 knows); the packet's headers lie in memory of this processor meanwhile, and the endpoint is the one at
//! whose interface the program runs, in the copy that was made for this packet.

use core::arch::asm;

use aya_ebpf::{bindings::__sk_buff, btf_maps::lpm_trie::Key};
use policy_common::{Direction, Endpoint, Flow, V4, V6};
use policy_ebpf::{
    family::Family,
    flows::phase,
    link::{self, LinkControl},
    lookup::{Addresses, Clock, Flows, Policy, Tables},
    packet::{IpPacket, ParseError, Segment, Wire, ethernet, transport},
    related,
    steps::Steps,
};

use super::{
    frame::{Frame, Received},
    known::copy,
    leaving::Leaving,
    maps,
    world::Kernel,
};

/// Frames of pods' interfaces: the functions are written for these only.
type AtPod = Frame<{ ethernet::HEADER_LEN }>;

impl<const LINK: usize> Steps for Frame<LINK> {
    #[inline(always)]
    fn follow<F: Wire>(&self) -> Result<(IpPacket<F>, Segment), ParseError> {
        const { assert!(LINK == ethernet::HEADER_LEN) };
        let outcome = match F::VERSION {
            4 => follow_v4(self.skb()),
            _ => follow_v6(self.skb()),
        };
        followed(outcome)
    }

    #[inline(always)]
    fn message<F: Wire, W: Addresses<F>>(
        &self,
        _world: &W,
        packet: &IpPacket<F>,
        segment: Segment,
        sender: Option<&Endpoint>,
    ) -> LinkControl {
        const { assert!(LINK == ethernet::HEADER_LEN) };
        keep(packet);
        let sender = sender.map_or(NOBODY, |endpoint| endpoint.ifindex.into());
        let control = match F::VERSION {
            4 => message_v4(self.skb(), segment.0, sender),
            _ => message_v6(self.skb(), segment.0, sender),
        };
        match control {
            NO => LinkControl::No,
            YES => LinkControl::Yes,
            ROUTER => LinkControl::Router,
            _ => LinkControl::Forged,
        }
    }

    #[inline(always)]
    fn is_related<F, W>(
        &self,
        _world: &W,
        endpoint: &Endpoint,
        direction: Direction,
        packet: &IpPacket<F>,
    ) -> bool
    where
        F: Wire,
        W: Addresses<F> + Clock + Flows<F> + Policy,
    {
        const { assert!(LINK == ethernet::HEADER_LEN) };
        keep(packet);
        let (here, egress) = (endpoint.ifindex.into(), direction as u64);
        let is_related = match F::VERSION {
            4 => is_related_v4(self.skb(), here, egress),
            _ => is_related_v6(self.skb(), here, egress),
        };
        is_related != 0
    }

    #[inline(always)]
    fn step<A>(
        &self,
        packet: &IpPacket<A>,
        segment: Segment,
        direction: Direction,
        flow: &mut Flow,
        is_due: bool,
    ) {
        let Some(memory) = flow_memory() else {
            return;
        };
        let [layout, datagram] = packet.words();
        let how = direction as u64 | u64::from(is_due) << 1;
        // SAFETY: the memory belongs to this processor until the program ends.
        unsafe {
            copy(bytemuck::cast_ref(flow), memory);
            step(self.skb(), segment.0, layout, datagram, how);
            copy(&*memory, (&raw mut *flow).cast());
        }
    }

    #[inline(always)]
    fn lend<F: Family, R>(
        &self,
        packet: &IpPacket<F>,
        then: impl FnOnce(&IpPacket<F>) -> R,
    ) -> Option<R> {
        let memory = memory()?;
        // SAFETY: the memory belongs to this processor until the program ends, and is large enough. Nobody
        // keeps another packet's headers while these are lent.
        unsafe {
            *memory = *packet;
            Some(then(&*memory))
        }
    }

    #[inline(always)]
    fn may_complain<F: Wire>(&self, packet: &IpPacket<F>) -> bool {
        const { assert!(LINK == ethernet::HEADER_LEN) };
        keep(packet);
        let may = match F::VERSION {
            4 => may_complain_v4(self.skb()),
            _ => may_complain_v6(self.skb()),
        };
        may != 0
    }
}

/// Few packets are judged where they leave, and of these only what says where they go.
impl Steps for Leaving {
    #[inline(always)]
    fn follow<F: Wire>(&self) -> Result<(IpPacket<F>, Segment), ParseError> {
        followed(match F::VERSION {
            4 => follow_leaving_v4(self.skb()),
            _ => follow_leaving_v6(self.skb()),
        })
    }
}

/// What was found, by what a function says of it.
#[inline(always)]
fn followed<F: Family>(outcome: u64) -> Result<(IpPacket<F>, Segment), ParseError> {
    match outcome {
        FOLLOWED => {
            let scratch = maps::SCRATCH.get_ptr(0).ok_or(ParseError::Malformed)?;
            let packet = kept().copied().ok_or(ParseError::Malformed)?;
            // SAFETY: an array slot stays where it is and belongs to this processor until the program
            // ends.
            Ok((packet, Segment(unsafe { (*scratch).segment })))
        }
        EXTENSION_HEADERS => Err(ParseError::ExtensionHeaders),
        ROUTING_HEADER => Err(ParseError::RoutingHeader),
        _ => Err(ParseError::Malformed),
    }
}

/// No interface.
const NOBODY: u64 = 0;

const NO: u64 = 0;
const YES: u64 = 1;
const FORGED: u64 = 2;
const ROUTER: u64 = 3;

const FOLLOWED: u64 = 0;
const MALFORMED: u64 = 1;
const EXTENSION_HEADERS: u64 = 2;
const ROUTING_HEADER: u64 = 3;

/// Memory of this processor for a packet's headers.
#[inline(always)]
fn memory<F: Family>() -> Option<*mut IpPacket<F>> {
    const { assert!(size_of::<IpPacket<F>>() <= 48 && align_of::<IpPacket<F>>() <= 8) };
    let scratch = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an array slot stays where it is.
    Some(unsafe { (&raw mut (*scratch).packet).cast() })
}

/// Puts a packet's headers where a step finds them.
#[inline(always)]
fn keep<F: Family>(packet: &IpPacket<F>) {
    if let Some(memory) = memory() {
        // SAFETY: the memory belongs to this processor until the program ends, and is large enough.
        unsafe { *memory = *packet };
    }
}

/// What [`keep`] put there.
#[inline(always)]
fn kept<'a, F: Family>() -> Option<&'a IpPacket<F>> {
    // SAFETY: as above; any bytes are valid for headers, and nobody keeps others while a step is taken.
    memory().map(|memory| unsafe { &*memory })
}

#[inline(always)]
fn follow<F: Wire, B: Received>(skb: *mut __sk_buff) -> u64 {
    let frame = B::of(skb);
    match F::parse(&frame, B::LINK_HEADER) {
        Ok(packet) => {
            let segment = transport::of(&frame, &packet);
            keep::<F>(&packet);
            if let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) {
                // SAFETY: an array slot stays where it is and belongs to this processor until the program ends.
                unsafe { (*scratch).segment = segment.0 };
            }
            FOLLOWED
        }
        Err(ParseError::ExtensionHeaders) => EXTENSION_HEADERS,
        Err(ParseError::RoutingHeader) => ROUTING_HEADER,
        Err(ParseError::Malformed) => MALFORMED,
    }
}

#[inline(always)]
fn follow_at_pod<F: Wire>(skb: *mut __sk_buff) -> u64 {
    follow::<F, AtPod>(skb)
}

#[inline(always)]
fn follow_leaving<F: Wire>(skb: *mut __sk_buff) -> u64 {
    follow::<F, Leaving>(skb)
}

#[inline(always)]
fn message<F: Wire>(skb: *mut __sk_buff, segment: u64, sender: u64) -> u64
where
    Kernel: Addresses<F>,
{
    let frame = AtPod::new(skb);
    let Some(packet) = kept() else {
        return NO;
    };
    let sender = match sender {
        NOBODY => None,
        here => Kernel.here(here as u32),
    };
    match link::message::<F, _, _>(&Kernel, &frame, packet, Segment(segment), sender) {
        LinkControl::No => NO,
        LinkControl::Yes => YES,
        LinkControl::Forged => FORGED,
        LinkControl::Router => ROUTER,
    }
}

#[inline(always)]
fn is_related<F: Wire>(skb: *mut __sk_buff, here: u64, egress: u64) -> u64
where
    Kernel: Tables<F>,
{
    let frame = AtPod::new(skb);
    let (Some(packet), Some(endpoint)) = (kept(), Kernel.here(here as u32)) else {
        return NO;
    };
    related::is_related::<F, _, _>(&Kernel, &frame, endpoint, Direction::of_bit(egress), packet)
        .into()
}

#[inline(always)]
fn may_complain<F: Wire>(skb: *mut __sk_buff) -> u64 {
    let frame = AtPod::new(skb);
    kept()
        .is_some_and(|packet| related::may_send::<F, _>(&frame, packet))
        .into()
}

/// Makes an argument one that the function asks for: what it does not, the compiler need not pass, and the
/// verifier wants every argument.
#[inline(always)]
fn asked(argument: u64) {
    // SAFETY: the instruction changes nothing. There must be one: no two lines of the source may have the
    // same.
    unsafe {
        asm!("{0} = {0}", inout(reg) argument => _, options(nomem, nostack, preserves_flags))
    };
}

/// Memory of this processor for a flow that a step moves on.
#[inline(always)]
fn flow_memory() -> Option<*mut [u64; 4]> {
    const { assert!(size_of::<Flow>() == 32) };
    let scratch = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: an array slot stays where it is.
    Some(unsafe { &raw mut (*scratch).step })
}

/// `how` – bits 0: egress, 1: the entry is due.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step(skb: *mut __sk_buff, segment: u64, layout: u64, datagram: u64, how: u64) -> u64 {
    let Some(memory) = flow_memory() else {
        return NO;
    };
    // SAFETY: the memory belongs to this processor until the program ends, and any bytes are a flow.
    let flow = unsafe { &mut *memory.cast::<Flow>() };
    let packet = IpPacket::of_words([layout, datagram]);
    phase::step(
        &AtPod::new(skb),
        &packet,
        Segment(segment),
        Direction::of_bit(how),
        flow,
        how & 2 != 0,
    );
    YES
}

/// One global function for each address family.
macro_rules! step {
    ($v4:ident, $v6:ident, $step:ident($($argument:ident),*)) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $v4(skb: *mut __sk_buff, $($argument: u64),*) -> u64 {
            $(asked($argument);)*
            $step::<V4>(skb, $($argument),*)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $v6(skb: *mut __sk_buff, $($argument: u64),*) -> u64 {
            $(asked($argument);)*
            $step::<V6>(skb, $($argument),*)
        }
    };
}

/// As [`Addresses::is_service`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn has_service_v4(address: u64) -> u64 {
    let key = Key::new(32, V4((address as u32).to_ne_bytes()));
    maps::SERVICES_V4.get(&key).is_some().into()
}

/// The same, of both halves of an address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn has_service_v6(first: u64, second: u64) -> u64 {
    let key = Key::new(128, V6(bytemuck::cast([first, second])));
    maps::SERVICES_V6.get(&key).is_some().into()
}

/// A function of its own: few packets ask.
#[inline(always)]
pub(super) fn is_service_v4(address: V4) -> bool {
    has_service_v4(u32::from_ne_bytes(address.0).into()) != NO
}

#[inline(always)]
pub(super) fn is_service_v6(address: V6) -> bool {
    let [first, second] = bytemuck::cast(address.0);
    has_service_v6(first, second) != NO
}

step!(follow_v4, follow_v6, follow_at_pod());
step!(follow_leaving_v4, follow_leaving_v6, follow_leaving());
step!(message_v4, message_v6, message(segment, sender));
step!(is_related_v4, is_related_v6, is_related(here, egress));
step!(may_complain_v4, may_complain_v6, may_complain());
