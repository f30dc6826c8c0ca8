//! Copies of ENDPOINTS: slots that one processor alone reads and writes.
//!
//! Owns when a copy is whole; where it stands and until when it holds is decided elsewhere. Invariant: a
//! slot never answers for another name than the one under which it was filled.

use policy_common::{Endpoint, EndpointId};
use policy_ebpf::recall::Role;

use super::maps::{self, KnownEndpoint};

/// Attempts to copy an element that is being replaced.
const ATTEMPTS: u32 = 4;

/// Copies an element of ENDPOINTS into this processor's slot: whether it is there. `name` is an
/// interface or a number, as the role says. The kernel may reuse an element for another key while it is
/// copied, and a look-up may miss one that is replaced meanwhile: what is not the whole element of
/// this name is looked for again.
#[inline(never)]
pub(super) fn learn(known: *mut KnownEndpoint, role: u32, name: u32, version: u64) -> bool {
    for _ in 0..ATTEMPTS {
        let mut number = name;
        if role == Role::Here as u32 {
            // SAFETY: two bytes, read at once.
            let Some(id) = (unsafe { maps::INTERFACES.get(name) }) else {
                continue;
            };
            number = id.0.into();
        }
        let Some(element) = maps::ENDPOINTS.get_ptr(number) else {
            continue;
        };
        // SAFETY: a map element stays readable while the program runs. The slot belongs to this
        // processor until the program ends.
        let endpoint = unsafe {
            (*known).version = 0;
            let copy = (&raw mut (*known).endpoint).cast::<u64>();
            for word in 0..Endpoint::WORDS {
                copy.add(word)
                    .write_volatile(element.cast::<u64>().add(word).read_volatile());
            }
            &(*known).endpoint
        };
        let is_meant = endpoint.id == EndpointId(number as u16)
            && (role != Role::Here as u32 || endpoint.ifindex == name);
        if is_meant && endpoint.is_whole() {
            // SAFETY: as above.
            unsafe { (*known).version = version };
            return true;
        }
    }
    false
}

/// As an assignment, which becomes a call.
///
/// # Safety
///
/// The memory must be writable.
#[inline(always)]
pub(super) unsafe fn copy<const WORDS: usize>(from: &[u64; WORDS], to: *mut [u64; WORDS]) {
    for (index, word) in from.iter().enumerate() {
        // SAFETY: within the array, which is writable by the caller's promise.
        unsafe { to.cast::<u64>().add(index).write_volatile(*word) };
    }
}
