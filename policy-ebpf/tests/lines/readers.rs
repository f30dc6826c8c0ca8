//! Readers that meet every word at a moment of its own.

use std::{cell::Cell, fmt::Debug};

use policy_common::{RuleKey, V4, V6};
use policy_ebpf::lines::{Found, Line, WORDS, read, table::Table};
use proptest::prelude::*;

use crate::{
    Sample,
    recorded::{History, Moment},
    writes,
};

/// Reads each word at a moment that chance names; an address not before its field, as processors do.
struct Reader<'a, K: Sample> {
    moments: &'a [Moment<K>],
    chance: Cell<u64>,
    fields: [Cell<usize>; 2],
}

impl<K: Sample> Reader<'_, K> {
    fn moment(&self, from: usize) -> usize {
        let next = self
            .chance
            .get()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(1);
        self.chance.set(next ^ next >> 29);
        from + (next >> 33) as usize % (self.moments.len() - from)
    }
}

impl<K: Sample> Line for Reader<'_, K> {
    fn word(&self, index: usize) -> u64 {
        let moment = if K::IS_ONE_WORD {
            self.moment(0)
        } else if let Some(field) = index.checked_sub(WORDS - 2) {
            let moment = self.moment(0);
            self.fields[field].set(moment);
            moment
        } else {
            self.moment(self.fields[index / 4].get())
        };
        self.moments[moment].line[index]
    }
}

/// What a reader finds that runs during these moments.
fn find<K: Sample>(key: &K, moments: &[Moment<K>], chance: u64) -> Option<K::Value> {
    let reader = Reader {
        moments,
        chance: Cell::new(chance),
        fields: Default::default(),
    };
    match read(key, &reader) {
        Found::Here(value) => Some(value),
        Found::Nowhere => None,
        Found::Elsewhere => {
            let moment = reader.moment(0);
            moments[moment].spill.get(key).copied()
        }
    }
}

/// All moments of a table of one line that is written so.
fn history<K: Sample>(writes: &[(u16, Option<u16>)]) -> Vec<Moment<K>> {
    let history = History::<K>::new();
    let mut table = Table::new(history.clone(), history.clone(), usize::MAX);
    for (nth, (number, value)) in writes.iter().enumerate() {
        let key = K::key(*number);
        history.step(|moment| {
            let said = &mut moment.said[1];
            match value {
                Some(value) => said.insert(key, K::value(*value)),
                None => said.remove(&key),
            };
        });
        let grace = || {
            history.step(|moment| moment.graces += 1);
            Ok(())
        };
        match value {
            Some(value) => table.put(key, K::value(*value), grace).unwrap(),
            None => table.remove(&key).unwrap(),
        }
        history.step(|moment| moment.said[0] = moment.said[1].clone());
        if nth % 5 == 4 {
            history.step(|moment| moment.graces += 1);
            table.forget_left();
        }
    }
    history.moments()
}

fn no_reader_is_misled<K: Sample>(
    writes: &[(u16, Option<u16>)],
    chance: u64,
) -> Result<(), TestCaseError>
where
    K::Value: PartialEq + Debug,
{
    let moments = history::<K>(writes);
    // No reader is there before and after the end of a grace period.
    for during in moments.chunk_by(|one, other| one.graces == other.graces) {
        for run in 0..during.len() as u64 {
            let chance = chance.wrapping_add(run);
            let from = run as usize;
            // Most runs are short.
            let until = during.len().min(from + 2 + chance as usize % 12);
            let during = &during[from..until];
            for number in 0..48 {
                let key = K::key(number);
                let found = find(&key, during, chance ^ u64::from(number) << 7);
                let is_right = during
                    .iter()
                    .flat_map(|moment| &moment.said)
                    .any(|said| said.get(&key).copied() == found);
                prop_assert!(is_right, "{:?} is {:?}", key, found);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whoever_reads_while_it_is_written_finds_what_was_said_then(writes in writes(), chance: u64) {
        no_reader_is_misled::<V4>(&writes, chance)?;
        no_reader_is_misled::<V6>(&writes, chance)?;
        no_reader_is_misled::<RuleKey>(&writes, chance)?;
    }
}
