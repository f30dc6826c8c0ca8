//! What the kernel says about a packet besides its bytes, and the stamp.

use core::{arch::asm, hint, mem::offset_of};

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_get_netns_cookie};
use policy_ebpf::{Origin, Stamp};

use super::globals;

const U32: u64 = u32::MAX as u64;

/// Where the packet came from; nobody asks for the socket of one that came by an interface. In test runs the facts stand in `cb[]`: interface, ingress
/// interface, 1 for a socket of this host and 2 for another's, stamp.
#[inline(always)]
pub(crate) fn origin(skb: *mut __sk_buff) -> Origin {
    // SAFETY: the context is valid, and TC programs may read these fields.
    unsafe {
        let (ifindex, ingress_ifindex, stamp) = if globals::is_test_run() {
            (told::<0>(skb), told::<1>(skb), told::<3>(skb))
        } else {
            (
                u64::from((&raw const (*skb).ifindex).read_volatile()),
                u64::from((&raw const (*skb).ingress_ifindex).read_volatile()),
                u64::from((&raw const (*skb).tc_index).read_volatile()),
            )
        };
        // Loads of four bytes, whatever the compiler sees of them.
        hint::assert_unchecked(ifindex <= U32 && ingress_ifindex <= U32 && stamp <= U32);
        let mut origin = Origin {
            ifindex: ifindex as u32,
            ingress_ifindex: ingress_ifindex as u32,
            stamp: stamp as u16,
            ..Origin::default()
        };
        if origin.ingress_ifindex == 0 {
            origin.knows_sockets = globals::netns_cookie() != 0 && !globals::is_test_run();
            // Else the verifier would follow the rest of the program once for each of their combinations.
            let socket = socket(skb) ^ globals::unknown_zero();
            origin.has_socket = socket & 1 != 0;
            origin.has_foreign_socket = socket & 2 != 0;
        }
        // One bit, and no branch for it.
        origin.has_vlan_tag = (&raw const (*skb).vlan_present).read_volatile() & 1 != 0;
        origin
    }
}

/// What a test run says in a word of `cb[]`. The compiler must not see what it reads: it would choose between
/// addresses first and read once, which the verifier refuses.
///
/// # Safety
///
/// The context must be valid.
#[inline(always)]
unsafe fn told<const WORD: usize>(skb: *mut __sk_buff) -> u64 {
    let word: u64;
    // SAFETY: the caller's promise; TC programs may read these fields.
    unsafe {
        asm!(
            "{word} = *(u32 *)({skb} + {offset})",
            word = out(reg) word,
            skb = in(reg) skb,
            offset = const offset_of!(__sk_buff, cb) + WORD * size_of::<u32>(),
            options(readonly, nostack, preserves_flags),
        );
    }
    word
}

/// What socket a packet has that came by no interface: 1 for one of this host, 2 for another's.
///
/// # Safety
///
/// The context must be valid.
#[inline(always)]
unsafe fn socket(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        if globals::is_test_run() {
            return told::<2>(skb);
        }
        if (&raw const (*skb).__bindgen_anon_2.sk)
            .read_volatile()
            .is_null()
        {
            return 0;
        }
        let cookie = globals::netns_cookie();
        if cookie != 0 && bpf_get_netns_cookie(skb.cast()) != cookie {
            2
        } else {
            1
        }
    }
}

/// Writes the stamp; also into the class, which a classifier that accepts the packet copies there.
#[inline(always)]
pub(crate) fn stamp(skb: *mut __sk_buff, stamp: Stamp) {
    write(skb, stamp.0.into());
}

/// Takes the stamp off.
#[inline(always)]
pub(crate) fn clear_stamp(skb: *mut __sk_buff) {
    write(skb, 0);
}

#[inline(always)]
fn write(skb: *mut __sk_buff, value: u32) {
    // SAFETY: the context is valid, and TC programs may write these fields.
    unsafe {
        (&raw mut (*skb).tc_index).write_volatile(value);
        (&raw mut (*skb).tc_classid).write_volatile(value);
        if globals::is_test_run() {
            (&raw mut (*skb).cb[3]).write_volatile(value);
        }
    }
}

/// Notes for the program that is called next whether others run after this one.
#[inline(always)]
pub(crate) fn note_last(skb: *mut __sk_buff, is_last: bool) {
    // SAFETY: the context is valid, and TC programs may write this field.
    unsafe { (&raw mut (*skb).cb[4]).write_volatile(is_last.into()) };
}

/// Whether the program that called this one is the last that runs.
#[inline(always)]
pub(crate) fn is_last(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context is valid, and TC programs may read this field.
    unsafe { (&raw const (*skb).cb[4]).read_volatile() != 0 }
}
