//! Access to the packet's bytes.

use core::arch::asm;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use policy_ebpf::{
    packet::{Bytes, MAX_OFFSET},
    steps::Steps,
};

use super::maps;

/// A packet as a program gets it.
pub(crate) trait Received: Steps {
    /// That of this context.
    fn of(skb: *mut __sk_buff) -> Self;

    /// The program's context, as functions take it.
    fn skb(&self) -> *mut __sk_buff;
}

/// The packet of a TC program on an interface whose link header has `LINK` bytes.
pub(crate) struct Frame<const LINK: usize> {
    skb: *mut __sk_buff,
    /// Zero, but the verifier does not know.
    zero: u64,
}

impl<const LINK: usize> Frame<LINK> {
    #[inline(always)]
    pub(crate) fn new(skb: *mut __sk_buff) -> Self {
        Self {
            skb,
            zero: super::globals::unknown_zero(),
        }
    }

    /// Where the linear part begins and ends. Read anew each time: what earlier checks proved about
    /// a pointer that lives on would make the verifier follow the rest of the program once for each
    /// of their outcomes.
    ///
    /// # Safety
    ///
    /// The context must be valid.
    #[inline(always)]
    unsafe fn limits(&self) -> (usize, usize) {
        // SAFETY: the caller's promise; these fields may be read.
        unsafe {
            (
                (&raw const (*self.skb).data).read_volatile() as usize,
                (&raw const (*self.skb).data_end).read_volatile() as usize,
            )
        }
    }

    /// Bytes that lie in page fragments. They pass through this processor's scratch memory: a buffer
    /// on the stack for every read would not fit there.
    #[inline(always)]
    fn beyond<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the scratch memory belongs to this processor while the program runs, and has room
        // for the longest header that is read at once; the helper checks the offset.
        unsafe {
            let buffer = (&raw mut (*scratch).bytes).cast::<u8>();
            if fetch::<N>(self.skb, offset, buffer) != 0 {
                return None;
            }
            Some(load(buffer))
        }
    }
}

impl<const LINK: usize> Received for Frame<LINK> {
    #[inline(always)]
    fn of(skb: *mut __sk_buff) -> Self {
        Self::new(skb)
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.skb
    }
}

/// The same offset, in a register of which the verifier knows that it is bounded. The compiler may
/// check one register and add another that differs from it by a constant; only Linux 6.10 and later
/// see the connection.
#[inline(always)]
fn bounded(mut offset: usize) -> usize {
    // SAFETY: the instruction changes nothing but its operand.
    unsafe {
        asm!(
            "{offset} &= {mask}",
            offset = inout(reg) offset,
            mask = const MAX_OFFSET,
            options(pure, nomem, preserves_flags),
        );
    }
    offset
}

/// Copies `N` bytes of the packet.
///
/// # Safety
///
/// The context must be valid and the buffer have room for `N` bytes.
#[inline(always)]
unsafe fn fetch<const N: usize>(skb: *mut __sk_buff, offset: usize, buffer: *mut u8) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { bpf_skb_load_bytes(skb.cast(), offset as u32, buffer.cast(), N as u32) }
}

impl<const LINK: usize> Bytes for Frame<LINK> {
    const LINK_HEADER: usize = LINK;

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
        // SAFETY: the context is valid, and these fields may be read.
        let (data, data_end) = unsafe { self.limits() };
        let start = data + bounded(offset);
        // For one byte the compiler would write `start >= data_end`, from which the verifier
        // concludes nothing; the very last byte takes the slow way.
        let shown = if N < 2 { 2 } else { N };
        if start + shown > data_end {
            return self.beyond(offset);
        }
        // SAFETY: the verifier has just been shown that `N` bytes from `start` are packet data.
        Some(unsafe { load(start as *const u8) })
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> u64 {
        byte_at(self.skb, offset as u64)
    }

    #[inline(always)]
    fn linear<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: the context is valid, and these fields may be read.
        let (data, data_end) = unsafe { self.limits() };
        // The constant first: then it is the offset that loads have.
        let start = data as *const u8;
        if start.wrapping_add(offset + N) as usize > data_end {
            return None;
        }
        // SAFETY: the verifier has just been shown that the bytes are packet data.
        Some(unsafe { load(start.wrapping_add(offset)) })
    }

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

/// A global function: the verifier follows it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn byte_at(skb: *mut __sk_buff, offset: u64) -> u64 {
    // Offsets count from the start of the frame, whatever its link header.
    let frame = Frame::<0>::new(skb);
    match frame.bytes(offset as usize) {
        Some([byte]) => byte.into(),
        None => Frame::<0>::NO_BYTE,
    }
}

/// Loads packet bytes in the largest words that fit, whatever their alignment: the kernel's
/// verifier allows that for packet data on every architecture it runs fast on.
///
/// # Safety
///
/// `N` bytes from `start` must be readable packet data.
#[inline(always)]
pub(super) unsafe fn load<const N: usize>(start: *const u8) -> [u8; N] {
    let mut bytes = [0u8; N];
    let to = bytes.as_mut_ptr();
    let mut done = 0;
    macro_rules! words {
        ($($word:ty),*) => {$(
            while done + size_of::<$word>() <= N {
                // SAFETY: within the `N` bytes of both; volatile, so that no alignment is
                // concluded from the word's type and the load stays one instruction.
                unsafe {
                    let word = start.add(done).cast::<$word>().read_volatile();
                    to.add(done).cast::<$word>().write_unaligned(word);
                }
                done += size_of::<$word>();
            }
        )*};
    }
    words!(u64, u32, u16, u8);
    bytes
}
