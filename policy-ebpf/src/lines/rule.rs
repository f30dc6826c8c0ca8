//! Lines of RULES: eight rules.
//!
//! A word is, from its highest bit: the identity, the ruleset, the port set, whether there is an entry,
//! the mark.

use policy_common::{IdentityId, PortSetId, RuleKey, RulesetId};

use super::{ENTRY, Key, Line, WORDS, mix, scan_words};

/// Bits of a port set's number.
const PORT_SET_BITS: u32 = 15;
/// Bits of a ruleset's number.
const RULESET_BITS: u32 = 15;
const PORT_SET_SHIFT: u32 = 2;
const FIELD_BITS: u32 = PORT_SET_SHIFT + PORT_SET_BITS;

/// Rulesets from this number on have no entries in lines.
const RULESETS: u32 = (1 << RULESET_BITS) - 1;

/// The upper bits of a word; of a ruleset that has no room there, what no word has.
#[inline(always)]
fn upper_bits(key: &RuleKey) -> u64 {
    let ruleset = key.ruleset.0.min(RULESETS);
    u64::from(key.identity.0) << RULESET_BITS | u64::from(ruleset)
}

impl Key for RuleKey {
    type Value = PortSetId;
    const PLACES: usize = WORDS;
    const PER_LINE: u32 = 8;
    const IS_ONE_WORD: bool = true;

    #[inline(always)]
    fn mixed(&self) -> u64 {
        mix([u64::from(self.ruleset.0) << u32::BITS | u64::from(self.identity.0)])
    }

    #[inline(always)]
    fn scan(&self, line: &impl Line) -> (u32, u32) {
        scan_words::<FIELD_BITS>(upper_bits(self), line)
    }

    #[inline(always)]
    fn encode(&self, value: PortSetId) -> Option<u32> {
        let has_room = value.0 >> PORT_SET_BITS == 0 && self.ruleset.0 < RULESETS;
        has_room.then_some(value.0 << PORT_SET_SHIFT | ENTRY)
    }

    #[inline(always)]
    fn decode(field: u32) -> PortSetId {
        PortSetId(field >> PORT_SET_SHIFT & ((1 << PORT_SET_BITS) - 1))
    }

    fn field(line: &impl Line, place: usize) -> u32 {
        line.word(place) as u32 & ((1 << FIELD_BITS) - 1)
    }

    fn at(line: &impl Line, place: usize) -> Self {
        let bits = line.word(place) >> FIELD_BITS;
        Self {
            ruleset: RulesetId(bits as u32 & ((1 << RULESET_BITS) - 1)),
            identity: IdentityId((bits >> RULESET_BITS) as u32),
        }
    }

    fn words(&self, _: &impl Line, place: usize, field: u32) -> [Option<(usize, u64)>; 3] {
        let word = upper_bits(self) << FIELD_BITS | u64::from(field);
        [Some((place, word)), None, None]
    }

    fn with_field(line: &impl Line, place: usize, field: u32) -> (usize, u64) {
        let key = line.word(place) >> FIELD_BITS;
        (place, key << FIELD_BITS | u64::from(field))
    }
}
