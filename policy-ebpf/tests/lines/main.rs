//! Tables of lines: what is written is read, whatever else stands in the line, and at every step of a write a
//! reader finds the value before or after it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod readers;
mod recorded;

use std::collections::HashMap;

use policy_common::{AddressEntry, EndpointId, IdentityId, PortSetId, RuleKey, RulesetId, V4, V6};
use policy_ebpf::{
    lines::{
        ENTRY, Found, Key, MARK, WORDS, line_of, read,
        table::{Refused, Spill, Table},
    },
    memory::Lined,
};
use proptest::prelude::*;
use std::{fmt::Debug, hash::Hash};

/// A key of a small world, so that lines are full and keys come again; some differ from others in only one
/// of their words.
pub(crate) trait Sample: Key + Hash + Debug {
    fn key(number: u16) -> Self;
    /// Every seventh has no room in a line.
    fn value(number: u16) -> Self::Value;
}

fn entry(number: u16) -> AddressEntry {
    let flags = match number % 7 {
        0 => AddressEntry::NODE,
        1 => AddressEntry::HOST,
        _ => 0,
    };
    AddressEntry {
        identity: IdentityId(number.into()),
        owner: EndpointId(if number.is_multiple_of(3) {
            number % 5
        } else {
            0
        }),
        flags,
    }
}

impl Sample for V4 {
    fn key(number: u16) -> Self {
        match number {
            0 => Self([0; 4]),
            1 => Self([255; 4]),
            _ => Self(u32::from(number).to_be_bytes()),
        }
    }

    fn value(number: u16) -> AddressEntry {
        entry(number)
    }
}

impl Sample for V6 {
    fn key(number: u16) -> Self {
        let [high, low] = [number / 6, number % 6].map(u64::from);
        Self(bytemuck::cast([high.to_be(), low.to_be()]))
    }

    fn value(number: u16) -> AddressEntry {
        entry(number)
    }
}

impl Sample for RuleKey {
    fn key(number: u16) -> Self {
        let ruleset = match number % 8 {
            7 => 40_000 + u32::from(number % 2),
            ruleset => ruleset.into(),
        };
        Self {
            ruleset: RulesetId(ruleset),
            identity: IdentityId(match number / 8 {
                3 => u32::MAX,
                identity => identity.into(),
            }),
        }
    }

    fn value(number: u16) -> PortSetId {
        PortSetId(if number.is_multiple_of(7) {
            100_000 + u32::from(number)
        } else {
            number.into()
        })
    }
}

/// A write: of a key, and the number of its value, or its removal.
pub(crate) fn writes() -> impl Strategy<Value = Vec<(u16, Option<u16>)>> {
    let value = prop_oneof![3 => (1u16..500).prop_map(Some), 2 => Just(None)];
    prop::collection::vec((0u16..48, value), 1..120)
}

fn agrees_with_a_map<K: Sample>(writes: &[(u16, Option<u16>)]) -> Result<(), TestCaseError>
where
    K::Value: PartialEq + Debug,
{
    let mut table = Lined::<K>::default();
    let mut map = HashMap::new();
    for (number, value) in writes {
        let key = K::key(*number);
        match value {
            Some(value) => {
                table.insert(key, K::value(*value));
                map.insert(key, K::value(*value));
            }
            None => {
                table.remove(&key);
                map.remove(&key);
            }
        }
        for number in 0..48 {
            let key = K::key(number);
            prop_assert_eq!(table.get(&key), map.get(&key).copied(), "{:?}", key);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_says_what_a_map_says(writes in writes()) {
        agrees_with_a_map::<V4>(&writes)?;
        agrees_with_a_map::<V6>(&writes)?;
        agrees_with_a_map::<RuleKey>(&writes)?;
    }
}

type Plain<K> = Table<K, Vec<[u64; WORDS]>, HashMap<K, <K as Key>::Value>>;

fn one_line<K: Sample>(most: usize) -> Plain<K> {
    Table::new(vec![[0; WORDS]], HashMap::new(), most)
}

fn put<K: Sample>(
    table: &mut Plain<K>,
    number: u16,
) -> Result<(), Refused<std::convert::Infallible>> {
    table.put(K::key(number), K::value(2), || Ok(()))
}

fn a_full_line_spills<K: Sample>() {
    let mut table = one_line::<K>(K::PLACES + 2);
    // No ruleset whose number is too large for a line.
    let small = (8..).filter(|number| number % 8 != 7);
    for number in small.take(K::PLACES) {
        put(&mut table, number).unwrap();
    }
    assert_eq!(table.spilled(), 0);
    let absent = K::key(40);
    assert!(
        matches!(read(&absent, &table.lines()[0]), Found::Nowhere),
        "a full line knows all"
    );
    for number in [30, 31] {
        put(&mut table, number).unwrap();
    }
    assert_eq!((table.len(), table.spilled()), (K::PLACES + 2, 2));
    assert!(matches!(read(&absent, &table.lines()[0]), Found::Elsewhere));
    assert_eq!(put(&mut table, 32), Err(Refused::Full));
    put(&mut table, 31).unwrap();
    // What has spilled stays there, also when its line has room.
    table.remove(&K::key(8)).unwrap();
    put(&mut table, 31).unwrap();
    assert_eq!(table.spilled(), 2);
    for number in [30, 31] {
        assert_ne!(K::field(&table.lines()[0], 0) & MARK, 0);
        table.remove(&K::key(number)).unwrap();
    }
    assert_eq!(
        K::field(&table.lines()[0], 0) & MARK,
        0,
        "nothing has spilled"
    );
    assert_eq!((table.len(), table.spilled()), (K::PLACES - 1, 0));
}

#[test]
fn a_line_without_room_spills_and_forgets_that_when_nothing_is_left() {
    a_full_line_spills::<V4>();
    a_full_line_spills::<V6>();
    a_full_line_spills::<RuleKey>();
}

#[test]
fn a_place_that_readers_may_still_see_is_not_taken() {
    let mut table = one_line::<V6>(9);
    for number in 8..11 {
        put(&mut table, number).unwrap();
    }
    table.remove(&V6::key(9)).unwrap();
    put(&mut table, 20).unwrap();
    assert_eq!(table.spilled(), 1, "the place may be on somebody's way");
    assert!(table.has_left());
    table.forget_left();
    put(&mut table, 21).unwrap();
    assert_eq!(table.spilled(), 1);
    assert_ne!(V6::field(&table.lines()[0], 1) & ENTRY, 0);
}

/// A spill that can be made to refuse.
#[derive(Default)]
struct Stubborn {
    entries: HashMap<V4, AddressEntry>,
    refuses: bool,
}

impl Spill<V4> for Stubborn {
    type Error = ();

    fn put(&mut self, key: &V4, value: AddressEntry) -> Result<(), ()> {
        if self.refuses {
            return Err(());
        }
        self.entries.insert(*key, value);
        Ok(())
    }

    fn remove(&mut self, key: &V4) -> Result<(), ()> {
        if self.refuses {
            return Err(());
        }
        self.entries.remove(key);
        Ok(())
    }
}

#[test]
fn a_write_that_fails_leaves_what_the_table_said() {
    let (key, before, after) = (V4::key(5), V4::value(2), V4::value(7));
    let mut table = Table::new(vec![[0; WORDS]], Stubborn::default(), 10);
    table.put(key, before, || Ok(())).unwrap();
    // The value has no room in the line, and whoever reads that line cannot be waited for.
    assert_eq!(table.put(key, after, || Err(())), Err(Refused::Error(())));
    assert_eq!(read(&key, &table.lines()[0]), Found::Here(before));
    assert_eq!(table.len(), 1);
    table.put(key, after, || Ok(())).unwrap();
    assert_eq!(read(&key, &table.lines()[0]), Found::Elsewhere);
    assert_eq!(table.spill().entries[&key], after);
    table.remove(&key).unwrap();
    assert_eq!((table.len(), table.spill().entries.len()), (0, 0));
    assert_eq!(table.lines()[0].map(|word| word as u32), [0; WORDS]);
}

#[test]
fn keys_of_every_kind_of_cluster_spread_over_the_lines() {
    let lines = 1 << 15;
    let spread = |keys: Vec<u32>| {
        let mut counts = vec![0u32; lines as usize];
        keys.iter().for_each(|line| counts[*line as usize] += 1);
        counts.into_iter().filter(|count| *count > 8).count()
    };
    // Half full: by chance, one line in sixty has more than eight of four on average.
    let number = 4 * lines;
    let v4 = |address: u32| line_of(&V4(address.to_be_bytes()), lines);
    let v6 = |address: u128| line_of(&V6(address.to_be_bytes()), lines);
    let rule = |ruleset, identity| {
        let key = RuleKey {
            ruleset: RulesetId(ruleset),
            identity: IdentityId(identity),
        };
        line_of(&key, lines)
    };
    for keys in [
        (0..number).map(|n| v4(0x0a80_0001 + n)).collect(),
        (0..number)
            .map(|n| v4(0x0a00_0000 + ((n / 100) << 8) + n % 100))
            .collect(),
        (0..number)
            .map(|n| v4(0x0a00_0000 + ((n / 110) << 8) + 2 + n % 110))
            .collect(),
        (0..number).map(|n| v4(0x0a00_0000 + (n << 8))).collect(),
        (0..number)
            .map(|n| v6((0xfd01 << 112) + u128::from(n)))
            .collect(),
        (0..number)
            .map(|n| v6((0xfd01 << 112) + (u128::from(n / 64) << 64) + u128::from(n % 64)))
            .collect(),
        (0..number)
            .map(|n| rule(n / 1_000, 16 + n % 1_000))
            .collect(),
        (0..number).map(|n| rule(5, 16 + n)).collect(),
    ] as [Vec<u32>; 8]
    {
        let full = spread(keys);
        assert!(full < lines as usize / 20, "{full} lines are too full");
    }
}
