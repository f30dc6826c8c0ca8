//! Packets that leave the node, whatever link header their interface has.
//!
//! Knows where the kernel says that the network header begins, and reads nothing before it. Few packets are read
//! here at all: only those of which something is owed.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_hdr_start_off::BPF_HDR_START_NET},
    helpers::generated::{bpf_skb_load_bytes_relative, bpf_skb_pull_data},
};
use policy_ebpf::packet::{Bytes, MAX_OFFSET};

use super::{
    frame::{Received, load},
    globals, maps,
};

/// A packet at TC egress of an interface of any kind.
pub(crate) struct Leaving {
    skb: *mut __sk_buff,
    /// Zero, but the verifier does not know.
    zero: u64,
}

/// Bytes of a packet that are made readable where they lie in page fragments.
const PULLED: u32 = 256;

impl Received for Leaving {
    #[inline(always)]
    fn of(skb: *mut __sk_buff) -> Self {
        Self {
            skb,
            zero: globals::unknown_zero(),
        }
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.skb
    }
}

impl Bytes for Leaving {
    const LINK_HEADER: usize = 0;

    #[inline(always)]
    fn network_protocol(&self) -> Option<u16> {
        // SAFETY: the context is valid, and this field may be read.
        let protocol = unsafe { (&raw const (*self.skb).protocol).read_volatile() };
        Some(u16::from_be(protocol as u16))
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the scratch memory belongs to this processor while the program runs, and has room
        // for the longest header that is read at once; the helper checks the offset.
        unsafe {
            let buffer = (&raw mut (*scratch).bytes).cast::<u8>();
            if fetch::<N>(self.skb, offset, buffer) != 0 {
                pull(self.skb);
                if fetch::<N>(self.skb, offset, buffer) != 0 {
                    return None;
                }
            }
            Some(load(buffer))
        }
    }

    /// No reading is quick here: there is one way to read a packet.
    #[inline(always)]
    fn linear<const N: usize>(&self, _offset: usize) -> Option<[u8; N]> {
        None
    }

    /// With the link header, which is not read: no packet ends within it.
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is valid, and this field may be read.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn opaque(&self, value: u64) -> u64 {
        value ^ self.zero
    }

    #[inline(always)]
    fn is_segmented(&self) -> bool {
        // SAFETY: the context is valid and the field may be read.
        unsafe { (*self.skb).gso_size != 0 }
    }
}

/// Copies `N` bytes from behind the network header's beginning.
///
/// # Safety
///
/// The context must be valid and the buffer have room for `N` bytes.
#[inline(always)]
unsafe fn fetch<const N: usize>(skb: *mut __sk_buff, offset: usize, buffer: *mut u8) -> i64 {
    // SAFETY: the caller's promise.
    unsafe {
        bpf_skb_load_bytes_relative(
            skb.cast(),
            offset as u32,
            buffer.cast(),
            N as u32,
            BPF_HDR_START_NET,
        )
    }
}

/// The helper reads only what is not in page fragments.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pull(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the context is valid, and nobody holds a pointer into the packet.
    unsafe {
        let length = (*skb).len;
        bpf_skb_pull_data(skb, if length < PULLED { length } else { PULLED }) as u64
    }
}
