//! Lines that the agent writes while programs read them.

use aya_ebpf::btf_maps::lpm_trie;
use policy_common::{AddressEntry, PortSetId, RuleKey, V4, V6};
use policy_ebpf::lines::{Found, Key, Line, WORDS, line_of, read};

use super::{globals::config, maps};

/// An element of an array of lines.
struct Shared(*const [u64; WORDS]);

impl Line for Shared {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: an array element stays where it is; a line has eight words, and whoever reads one names
        // one of them (the verifier refuses a program that may read another).
        unsafe { self.0.cast::<u64>().add(index).read_volatile() }
    }
}

/// What a table says of a key, as [`Word`]: what its line says, or what is `spilled`.
#[inline(always)]
fn look_up<'a, K: Key>(
    key: &K,
    line: Option<*const [u64; WORDS]>,
    spilled: impl FnOnce() -> Option<&'a K::Value>,
) -> u64
where
    K::Value: Word + 'a,
{
    let found = match line {
        Some(line) => read(key, &Shared(line)),
        None => Found::Elsewhere,
    };
    match found {
        Found::Here(value) => value.word(),
        Found::Nowhere => 0,
        Found::Elsewhere => spilled().map_or(0, |value| value.word()),
    }
}

/// A value as a word that is not 0. An `Option` would leave a register unwritten where there is no value:
/// a program that is short of registers would put that on its stack, which the verifier refuses.
trait Word: Copy {
    /// The word.
    fn word(self) -> u64;
}

/// A bit of the flags that no entry has.
const ADDRESS: u64 = 1 << 63;

impl Word for AddressEntry {
    #[inline(always)]
    fn word(self) -> u64 {
        bytemuck::cast::<_, u64>(self) | ADDRESS
    }
}

const RULE: u64 = 1 << 32;

impl Word for PortSetId {
    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(self.0) | RULE
    }
}

/// What ADDRESSES_V4 says of an address, given as it stands in packets.
#[inline(always)]
pub(super) fn address_v4(address: V4) -> Option<AddressEntry> {
    entry(find_v4(u32::from_ne_bytes(address.0).into()))
}

/// What ADDRESSES_V6 says of an address.
#[inline(always)]
pub(super) fn address_v6(address: V6) -> Option<AddressEntry> {
    let [first, second]: [u64; 2] = bytemuck::cast(address.0);
    entry(find_v6(first, second))
}

/// What RULES says.
#[inline(always)]
pub(super) fn rule(key: &RuleKey) -> Option<PortSetId> {
    let line = maps::RULES.get_ptr(line_of(key, config!(rule_lines)));
    let word = look_up(key, line, || {
        maps::SPILLED_RULES.get(&lpm_trie::Key::new(64, *key))
    });
    (word != 0).then_some(PortSetId(word as u32))
}

#[inline(always)]
fn entry(word: u64) -> Option<AddressEntry> {
    (word != 0).then(|| bytemuck::cast(word & !ADDRESS))
}

// Functions of their own: their callers have neither registers nor stack for a whole line. Global ones: the
// verifier follows them once.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_v4(address: u64) -> u64 {
    let address = V4((address as u32).to_ne_bytes());
    let line = maps::ADDRESSES_V4.get_ptr(line_of(&address, config!(lines_v4)));
    look_up(&address, line, || {
        maps::SPILLED_V4.get(&lpm_trie::Key::new(32, address))
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_v6(first: u64, second: u64) -> u64 {
    let address = V6(bytemuck::cast([first, second]));
    let line = maps::ADDRESSES_V6.get_ptr(line_of(&address, config!(lines_v6)));
    look_up(&address, line, || {
        maps::SPILLED_V6.get(&lpm_trie::Key::new(128, address))
    })
}
