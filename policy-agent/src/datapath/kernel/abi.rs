//! Lets aya move the plain data of `policy-common` in and out of maps.
//!
//! Owns the one bridge between bytemuck's and aya's idea of plain data. Invariant: nothing but
//! bytemuck `Pod` types crosses it, so that no padding reaches a map key.
#![expect(
    unsafe_code,
    reason = "aya asks for its own promise that a type is plain data"
)]

use aya::maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key};

/// A value of `policy-common` as aya wants it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abi<T>(pub(crate) T);

// SAFETY: bytemuck's `Pod` demands more than aya's: every bit pattern is valid and there is no
// padding; the wrapper is transparent.
unsafe impl<T: bytemuck::Pod> aya::Pod for Abi<T> {}

/// A hash map of `policy-common` types.
pub(crate) type Hash<K, V> = HashMap<MapData, Abi<K>, Abi<V>>;
/// An array of `policy-common` types.
pub(crate) type Slots<V> = Array<MapData, Abi<V>>;
/// A trie of `policy-common` types.
pub(crate) type Trie<K, V> = LpmTrie<MapData, Abi<K>, Abi<V>>;

/// A trie key.
pub(crate) fn prefix<K: bytemuck::Pod>(bits: u32, data: K) -> Key<Abi<K>> {
    Key::new(bits, Abi(data))
}
