//! Lines of ADDRESSES: eight IPv4 addresses, or three IPv6 addresses, and what is said of them.
//!
//! A field is, from its lowest bit: the mark, whether there is an entry, whether the address is this
//! host's, whether an endpoint owns it, two bits of the place, then either the identity, or the owner
//! and an identity that is small enough.

use policy_common::{AddressEntry, EndpointId, IdentityId, V4, V6};

use super::{ENTRY, Key, Line, WORDS, mix, scan_words};

const HOST: u32 = 4;
const OWNED: u32 = 8;
const PLACE_SHIFT: u32 = 4;
const VALUE_SHIFT: u32 = 6;
const OWNER_BITS: u32 = 13;
/// Bits of an identity, without and with owner.
const IDENTITY_BITS: u32 = u32::BITS - VALUE_SHIFT;
const OWNED_IDENTITY_BITS: u32 = IDENTITY_BITS - OWNER_BITS;

#[inline(always)]
const fn encode(entry: AddressEntry) -> Option<u32> {
    let AddressEntry {
        identity,
        owner,
        flags,
    } = entry;
    let host = match flags {
        0 => 0,
        AddressEntry::HOST => HOST,
        _ => return None,
    };
    if owner.0 == EndpointId::NONE.0 {
        if identity.0 >> IDENTITY_BITS != 0 {
            return None;
        }
        return Some(identity.0 << VALUE_SHIFT | host | ENTRY);
    }
    if owner.0 >> OWNER_BITS != 0 || identity.0 >> OWNED_IDENTITY_BITS != 0 {
        return None;
    }
    let value = identity.0 << OWNER_BITS | owner.0 as u32;
    Some(value << VALUE_SHIFT | OWNED | host | ENTRY)
}

#[inline(always)]
const fn decode(field: u32) -> AddressEntry {
    let value = field >> VALUE_SHIFT;
    let (identity, owner) = if field & OWNED == 0 {
        (value, EndpointId::NONE)
    } else {
        let owner = value & ((1 << OWNER_BITS) - 1);
        (value >> OWNER_BITS, EndpointId(owner as u16))
    };
    AddressEntry {
        identity: IdentityId(identity),
        owner,
        flags: if field & HOST != 0 {
            AddressEntry::HOST
        } else {
            0
        },
    }
}

/// A word is the address, in the byte order of packets, and the field.
impl Key for V4 {
    type Value = AddressEntry;
    const PLACES: usize = WORDS;
    const PER_LINE: u32 = 8;
    const IS_ONE_WORD: bool = true;

    #[inline(always)]
    fn mixed(&self) -> u64 {
        mix([u32::from_ne_bytes(self.0).into()])
    }

    #[inline(always)]
    fn scan(&self, line: &impl Line) -> (u32, u32) {
        scan_words::<{ u32::BITS }>(u32::from_ne_bytes(self.0).into(), line)
    }

    #[inline(always)]
    fn encode(&self, value: AddressEntry) -> Option<u32> {
        encode(value)
    }

    #[inline(always)]
    fn decode(field: u32) -> AddressEntry {
        decode(field)
    }

    fn field(line: &impl Line, place: usize) -> u32 {
        line.word(place) as u32
    }

    fn at(line: &impl Line, place: usize) -> Self {
        Self(((line.word(place) >> u32::BITS) as u32).to_ne_bytes())
    }

    fn words(&self, _: &impl Line, place: usize, field: u32) -> [Option<(usize, u64)>; 3] {
        let address = u64::from(u32::from_ne_bytes(self.0));
        [
            Some((place, address << u32::BITS | u64::from(field))),
            None,
            None,
        ]
    }

    fn with_field(line: &impl Line, place: usize, field: u32) -> (usize, u64) {
        let address = line.word(place) >> u32::BITS;
        (place, address << u32::BITS | u64::from(field))
    }
}

/// The words of the fields, behind three addresses of two words.
const FIELDS: usize = 6;

/// Three addresses, then their fields, two to a word. A program reads a field before the address: the
/// address from where the field says that it stands, so that no processor reads it earlier.
impl Key for V6 {
    type Value = AddressEntry;
    const PLACES: usize = 3;
    const PER_LINE: u32 = 2;
    const IS_ONE_WORD: bool = false;

    #[inline(always)]
    fn mixed(&self) -> u64 {
        mix(bytemuck::cast::<_, [u64; 2]>(self.0))
    }

    #[inline(always)]
    fn scan(&self, line: &impl Line) -> (u32, u32) {
        let wanted: [u64; 2] = bytemuck::cast(self.0);
        let (early, late) = (line.word(FIELDS), line.word(FIELDS + 1));
        for field in [early, early >> u32::BITS, late] {
            let place = (field >> PLACE_SHIFT & 3) as usize;
            let difference =
                line.word(2 * place) ^ wanted[0] | line.word(2 * place + 1) ^ wanted[1];
            if difference == 0 && field & ENTRY as u64 != 0 {
                return (field as u32, 0);
            }
        }
        (0, early as u32)
    }

    #[inline(always)]
    fn encode(&self, value: AddressEntry) -> Option<u32> {
        encode(value)
    }

    #[inline(always)]
    fn decode(field: u32) -> AddressEntry {
        decode(field)
    }

    fn field(line: &impl Line, place: usize) -> u32 {
        let word = line.word(FIELDS + place / 2);
        (word >> (u32::BITS * (place as u32 % 2))) as u32
    }

    fn at(line: &impl Line, place: usize) -> Self {
        Self(bytemuck::cast([
            line.word(2 * place),
            line.word(2 * place + 1),
        ]))
    }

    fn words(&self, line: &impl Line, place: usize, field: u32) -> [Option<(usize, u64)>; 3] {
        let [first, second]: [u64; 2] = bytemuck::cast(self.0);
        [
            Some((2 * place, first)),
            Some((2 * place + 1, second)),
            Some(Self::with_field(line, place, field)),
        ]
    }

    fn with_field(line: &impl Line, place: usize, field: u32) -> (usize, u64) {
        let index = FIELDS + place / 2;
        let shift = u32::BITS * (place as u32 % 2);
        let field = match field & ENTRY {
            0 => field,
            _ => field | (place as u32) << PLACE_SHIFT,
        };
        let others = line.word(index) & !(u64::from(u32::MAX) << shift);
        (index, others | u64::from(field) << shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(identity: u32, owner: u16, flags: u16) -> AddressEntry {
        AddressEntry {
            identity: IdentityId(identity),
            owner: EndpointId(owner),
            flags,
        }
    }

    #[test]
    fn a_field_says_all_of_an_entry_or_there_is_none() {
        let most = 1 << IDENTITY_BITS;
        let most_owned = 1 << OWNED_IDENTITY_BITS;
        for (entry, has_room) in [
            (entry(0, 0, 0), true),
            (entry(most - 1, 0, AddressEntry::HOST), true),
            (entry(most, 0, 0), false),
            (entry(0, 1, 0), true),
            (entry(most_owned - 1, 8_191, AddressEntry::HOST), true),
            (entry(most_owned, 1, 0), false),
            (entry(20, 8_192, 0), false),
            (entry(20, 1, AddressEntry::NODE), false),
            (entry(20, 1, AddressEntry::SERVICE | 1), false),
        ] {
            let field = encode(entry);
            assert_eq!(field.is_some(), has_room, "{entry:?}");
            if let Some(field) = field {
                assert_eq!(decode(field), entry);
                assert_eq!(field & (3 << PLACE_SHIFT | super::super::MARK), 0);
            }
        }
    }
}
