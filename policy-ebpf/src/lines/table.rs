//! Writing a table of lines while programs read it.
//!
//! Owns where a key has its entry, and the order of the writes. Must not know where the lines and the
//! spill are kept. Invariant: whoever reads a line, and then the spill if the line says so, finds what
//! the table said of the key at one moment between the beginning and the end of the reading – whatever
//! the order in which a processor reads the words, but that it reads an address after its field.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    vec::Vec,
};

use super::{ENTRY, Key, Line, MARK, WORDS, line_of};

/// The lines.
pub trait Lines {
    /// How many there are.
    fn count(&self) -> u32;
    /// What stands in one.
    fn line(&self, line: u32) -> [u64; WORDS];
    /// Writes a word at once, after all that was written before.
    fn store(&mut self, line: u32, index: usize, word: u64);
}

/// The table of what has no room in the lines.
pub trait Spill<K: Key> {
    /// Why it cannot be written.
    type Error;
    /// Writes an entry, or replaces it at once.
    fn put(&mut self, key: &K, value: K::Value) -> Result<(), Self::Error>;
    /// Removes an entry.
    fn remove(&mut self, key: &K) -> Result<(), Self::Error>;
}

/// Why an entry was not written. Then the table says what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// The table holds as many as it may.
    Full,
    /// The spill cannot be written, or readers cannot be waited for.
    Error(E),
}

impl<E> From<E> for Refused<E> {
    fn from(error: E) -> Self {
        Self::Error(error)
    }
}

/// The only writer of a table.
#[derive(Clone, Debug)]
pub struct Table<K, L, S> {
    lines: L,
    spill: S,
    /// The keys that the spill holds, by their lines.
    spilled: HashMap<u32, HashSet<K>>,
    /// Places that were left, and that readers may still take for what they were.
    left: HashSet<(u32, usize)>,
    len: usize,
    most: usize,
}

impl<K, L, S> Table<K, L, S>
where
    K: Key + Hash,
    L: Lines,
    S: Spill<K>,
{
    /// A table of empty lines that takes at most so many entries.
    pub fn new(lines: L, spill: S, most: usize) -> Self {
        Self {
            lines,
            spill,
            spilled: HashMap::new(),
            left: HashSet::new(),
            len: 0,
            most,
        }
    }

    /// Writes what is said of a key. `wait` returns when every reader has ended that began before the
    /// call: an entry that leaves its line needs it.
    ///
    /// # Errors
    /// As [`Refused`] says.
    pub fn put(
        &mut self,
        key: K,
        value: K::Value,
        wait: impl FnOnce() -> Result<(), S::Error>,
    ) -> Result<(), Refused<S::Error>> {
        let number = line_of(&key, self.lines.count());
        let line = self.lines.line(number);
        let field = key.encode(value);
        if let Some(place) = place_of(&line, &key) {
            if let Some(field) = field {
                self.unspill(number, &key)?;
                self.set_field(number, place, field);
            } else {
                // The line answers until it is left; also if that fails.
                self.put_in_spill(number, key, value)?;
                wait()?;
                self.leave(number, place);
            }
            return Ok(());
        }
        if self.is_spilled(number, &key) {
            return Ok(self.spill.put(&key, value)?);
        }
        if self.len >= self.most {
            return Err(Refused::Full);
        }
        match field.zip(self.free_place(number, &line)) {
            Some((field, place)) => {
                let field = field | mark_at::<K>(&line, place);
                for (index, word) in key.words(&line, place, field).into_iter().flatten() {
                    self.lines.store(number, index, word);
                }
            }
            None => self.put_in_spill(number, key, value)?,
        }
        self.len += 1;
        Ok(())
    }

    /// Removes what is said of a key, if anything is.
    ///
    /// # Errors
    /// The spill cannot be written.
    pub fn remove(&mut self, key: &K) -> Result<(), S::Error> {
        let number = line_of(key, self.lines.count());
        let was_spilled = self.unspill(number, key)?;
        let place = place_of(&self.lines.line(number), key);
        if let Some(place) = place {
            self.leave(number, place);
        }
        if was_spilled || place.is_some() {
            self.len -= 1;
        }
        Ok(())
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries the spill holds.
    pub fn spilled(&self) -> usize {
        self.spilled.values().map(HashSet::len).sum()
    }

    /// Whether places wait until readers have ended.
    pub fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// Every reader has ended that began before the last removal.
    pub fn forget_left(&mut self) {
        self.left.clear();
    }

    /// The lines.
    pub fn lines(&self) -> &L {
        &self.lines
    }

    /// The spill.
    pub fn spill(&self) -> &S {
        &self.spill
    }

    fn is_spilled(&self, number: u32, key: &K) -> bool {
        let keys = self.spilled.get(&number);
        keys.is_some_and(|keys| keys.contains(key))
    }

    fn free_place(&self, number: u32, line: &[u64; WORDS]) -> Option<usize> {
        (0..K::PLACES).find(|place| {
            K::field(line, *place) & ENTRY == 0 && !self.left.contains(&(number, *place))
        })
    }

    /// The entry before the mark that leads to it.
    fn put_in_spill(&mut self, number: u32, key: K, value: K::Value) -> Result<(), S::Error> {
        self.spill.put(&key, value)?;
        self.spilled.entry(number).or_default().insert(key);
        let first = K::field(&self.lines.line(number), 0);
        self.store_field(number, 0, first | MARK);
        Ok(())
    }

    /// Whether the spill held the key.
    fn unspill(&mut self, number: u32, key: &K) -> Result<bool, S::Error> {
        let Some(keys) = self.spilled.get_mut(&number) else {
            return Ok(false);
        };
        if !keys.contains(key) {
            return Ok(false);
        }
        self.spill.remove(key)?;
        keys.remove(key);
        // Readers that saw the mark look in vain, as those that see none would.
        if keys.is_empty() {
            self.spilled.remove(&number);
            let first = K::field(&self.lines.line(number), 0);
            self.store_field(number, 0, first & !MARK);
        }
        Ok(true)
    }

    /// No entry stands at this place any more.
    fn leave(&mut self, number: u32, place: usize) {
        self.set_field(number, place, 0);
        if !K::IS_ONE_WORD {
            self.left.insert((number, place));
        }
    }

    /// Another entry of the same key, or none; the mark stays.
    fn set_field(&mut self, number: u32, place: usize, field: u32) {
        let mark = mark_at::<K>(&self.lines.line(number), place);
        self.store_field(number, place, field | mark);
    }

    fn store_field(&mut self, number: u32, place: usize, field: u32) {
        let line = self.lines.line(number);
        // The place itself is said again.
        let (index, word) = K::with_field(&line, place, field);
        self.lines.store(number, index, word);
    }
}

/// The mark, if this is the place where it stands.
fn mark_at<K: Key>(line: &[u64; WORDS], place: usize) -> u32 {
    if place == 0 {
        K::field(line, 0) & MARK
    } else {
        0
    }
}

/// Where a key has its entry.
fn place_of<K: Key>(line: &[u64; WORDS], key: &K) -> Option<usize> {
    (0..K::PLACES).find(|place| K::field(line, *place) & ENTRY != 0 && K::at(line, *place) == *key)
}

/// The keys of the lines.
pub fn keys<K: Key>(line: &impl Line) -> impl Iterator<Item = (K, K::Value)> {
    let places = 0..K::PLACES;
    let taken = places.filter(|place| K::field(line, *place) & ENTRY != 0);
    taken.map(|place| (K::at(line, place), K::decode(K::field(line, place))))
}

impl Lines for Vec<[u64; WORDS]> {
    fn count(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn line(&self, line: u32) -> [u64; WORDS] {
        self[line as usize]
    }

    fn store(&mut self, line: u32, index: usize, word: u64) {
        self[line as usize][index] = word;
    }
}
