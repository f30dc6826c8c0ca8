//! Tables of cache lines: one line answers for a key, without a look-up in a hash table.
//!
//! Owns what a line of [`WORDS`] words means, how it is read, and ([`table`], on the host) how it is
//! written while programs read it. A key belongs to one line. A line that has no room for a key, and
//! keys whose values no line can hold, have their entries in another table, the *spill*; the line's
//! [`MARK`] says that there are any. Keys are whole: nothing is found by a part of its key.
//!
//! Invariants: a key stands in one place as long as it has an entry; while the spill holds a key of a
//! line, the line has the mark. So what is not found in a line without mark has no entry.

mod address;
mod rule;
#[cfg(not(target_arch = "bpf"))]
pub mod table;

/// Words of a line: together a cache line.
pub const WORDS: usize = 8;

/// The spill may hold keys of this line: a bit of the field at place 0.
pub const MARK: u32 = 1;
/// An entry stands here: a bit of its field.
pub const ENTRY: u32 = 2;

/// A line that others may be writing.
pub trait Line {
    /// A word, read at once.
    fn word(&self, index: usize) -> u64;
}

impl Line for [u64; WORDS] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self[index]
    }
}

/// What a line says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<V> {
    /// Its value.
    Here(V),
    /// It has no entry.
    Nowhere,
    /// If it has an entry, the spill holds it.
    Elsewhere,
}

/// A key of a table of lines. Every entry has a field of its line to itself, which is written at once:
/// whether there is an entry, and its value.
pub trait Key: Copy + Eq {
    /// What the table says of it.
    type Value: Copy;
    /// Entries of a line.
    const PLACES: usize;
    /// Elements of a table for each of its lines: more, and too much spills.
    const PER_LINE: u32;
    /// Key and value are written at once. If they are not, a place that was left is not used before
    /// all programs have ended that may have seen it taken.
    const IS_ONE_WORD: bool;

    /// Different for different keys in all of its upper bits.
    fn mixed(&self) -> u64;
    /// The field of the key, or none and the first field.
    fn scan(&self, line: &impl Line) -> (u32, u32);
    /// The field for a value; `None` where it has no room in a line.
    fn encode(&self, value: Self::Value) -> Option<u32>;
    /// The value in a field.
    fn decode(field: u32) -> Self::Value;

    /// What stands at a place.
    fn field(line: &impl Line, place: usize) -> u32;
    /// The key at a place where an entry stands.
    fn at(line: &impl Line, place: usize) -> Self;
    /// The words to write, in this order, for an entry at a place.
    fn words(&self, line: &impl Line, place: usize, field: u32) -> [Option<(usize, u64)>; 3];
    /// The word to write so that another field stands at a place, of the same key if of any.
    fn with_field(line: &impl Line, place: usize, field: u32) -> (usize, u64);
}

/// The line of a key in a table of so many lines.
#[inline(always)]
pub fn line_of<K: Key>(key: &K, lines: u32) -> u32 {
    (((key.mixed() >> 32) * u64::from(lines)) >> 32) as u32
}

/// What a line says of one of its keys.
#[inline(always)]
pub fn read<K: Key>(key: &K, line: &impl Line) -> Found<K::Value> {
    let (field, first) = key.scan(line);
    if field & ENTRY != 0 {
        Found::Here(K::decode(field))
    } else if first & MARK != 0 {
        Found::Elsewhere
    } else {
        Found::Nowhere
    }
}

/// Lines for so many elements, at least one.
pub const fn lines_for<K: Key>(elements: u32) -> u32 {
    let lines = elements.div_ceil(K::PER_LINE);
    if lines == 0 { 1 } else { lines }
}

/// A product's high bits depend on all bits of its factors, its low bits do not: the halves meet before
/// the next one. With one less, addresses of nodes with a /24 each would share too few lines.
#[inline(always)]
fn mix<const N: usize>(words: [u64; N]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut product = 0u64;
    for word in words {
        product = (product ^ product >> 32 ^ word).wrapping_mul(FACTOR);
    }
    (product ^ product >> 32).wrapping_mul(FACTOR)
}

/// The field and the first one of keys that have a word to themselves, whose upper bits they are.
#[inline(always)]
fn scan_words<const FIELD_BITS: u32>(wanted: u64, line: &impl Line) -> (u32, u32) {
    let first = line.word(0);
    let is_meant = |word: u64| word >> FIELD_BITS == wanted && word & ENTRY as u64 != 0;
    if is_meant(first) {
        return (first as u32, 0);
    }
    for index in 1..WORDS {
        let word = line.word(index);
        if is_meant(word) {
            return (word as u32, 0);
        }
    }
    (0, first as u32)
}
