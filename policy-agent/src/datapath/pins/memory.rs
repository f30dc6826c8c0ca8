//! What a run remembers for the next one, of interfaces into sandboxes and of pods that lost theirs.
//!
//! It stands in a map of its own among the pins, which only the agent reads: it lives as long as what is
//! enforced, and not longer than the numbers of namespaces and interfaces in it. Must not know what is made
//! of it. Invariant: it is read as a whole or not at all, and an element is written at once or not at all.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use bytemuck::{Pod, Zeroable};
use policy_common::names;

use super::{PinDirError, Pins, remove, rename};
use crate::{
    datapath::kernel::{abi::Abi, element::gone},
    netns::Mark,
};

/// Elements that there may be; room is taken only by those that there are.
const MOST: u32 = 1 << 16;
/// So many addresses of one interface or pod fit.
pub const MOST_FIRST: usize = 12;
/// `BPF_F_NO_PREALLOC` (linux/bpf.h).
const NO_PREALLOC: u32 = 1;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// An interface of this index.
    Interface(u32),
    /// The pod of this tag, which had an interface.
    Pod(u64),
    /// The network namespace in which the interfaces have these indexes: [`Memory::mark`], and
    /// [`Memory::boot`].
    Node,
}

/// What is remembered of an interface into another network namespace, or of a pod that lost its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// [`policy_core::model::pod_tag`] of the pod that it was decided for, 0: of none.
    pub tag: u64,
    /// The tag of the pod whose the namespace is, 0: nobody's.
    pub owner: u64,
    /// The number of the namespace here; negative: it is not known.
    pub netns: i32,
    /// What tells the namespace from others that have its number later.
    pub mark: Mark,
    /// Of [`About::Node`], which start of the machine it was.
    pub boot: u128,
    /// The index of the other end, in its namespace.
    pub peer: u32,
    /// It was added to a pod that ran.
    pub is_late: bool,
    /// Its other end moved to another namespace.
    pub is_moved: bool,
    /// Nobody knows what it had first.
    pub is_unremembered: bool,
    /// The interface's name.
    pub name: String,
    /// Its addresses as they were seen first; a pod's when its interface went.
    pub addresses: Vec<IpAddr>,
}

const LATE: u32 = 1;
const MOVED: u32 = 2;
const UNREMEMBERED: u32 = 4;

const INTERFACE: u32 = 1;
const POD: u32 = 2;
const NODE: u32 = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Key {
    kind: u32,
    ifindex: u32,
    tag: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Value {
    tag: u64,
    owner: u64,
    netns: i32,
    peer: u32,
    flags: u32,
    families: [u8; MOST_FIRST],
    name: [u8; libc::IFNAMSIZ],
    addresses: [[u8; 16]; MOST_FIRST],
    cookie: u64,
    inode: u64,
    netns_name: u64,
    boot: [u64; 2],
    /// Over the key and everything before it.
    check: u64,
}

impl Key {
    fn new(about: About) -> Self {
        match about {
            About::Interface(ifindex) => Self {
                kind: INTERFACE,
                ifindex,
                tag: 0,
            },
            About::Pod(tag) => Self {
                kind: POD,
                ifindex: 0,
                tag,
            },
            About::Node => Self {
                kind: NODE,
                ifindex: 0,
                tag: 0,
            },
        }
    }

    fn about(&self) -> Option<About> {
        match (self.kind, self.ifindex, self.tag) {
            (INTERFACE, ifindex, 0) => Some(About::Interface(ifindex)),
            (POD, 0, tag) => Some(About::Pod(tag)),
            (NODE, 0, 0) => Some(About::Node),
            _ => None,
        }
    }
}

impl Value {
    fn new(key: &Key, memory: &Memory) -> Self {
        let mut value = Self {
            tag: memory.tag,
            owner: memory.owner,
            netns: memory.netns,
            peer: memory.peer,
            flags: u32::from(memory.is_late) * LATE
                + u32::from(memory.is_moved) * MOVED
                + u32::from(memory.is_unremembered) * UNREMEMBERED,
            cookie: memory.mark.cookie,
            inode: memory.mark.inode,
            netns_name: memory.mark.name,
            #[expect(clippy::cast_possible_truncation, reason = "each has half of the bits")]
            boot: [(memory.boot >> 64) as u64, memory.boot as u64],
            ..Self::default()
        };
        for (place, byte) in value.name.iter_mut().zip(memory.name.bytes()) {
            *place = byte;
        }
        let places = value.families.iter_mut().zip(&mut value.addresses);
        for ((family, place), address) in places.zip(&memory.addresses) {
            *family = if address.is_ipv4() { 4 } else { 6 };
            *place = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
        }
        value.check = value.sum(key);
        value
    }

    fn sum(&self, key: &Key) -> u64 {
        let unsummed = Self { check: 0, ..*self };
        let bytes = bytemuck::bytes_of(key)
            .iter()
            .chain(bytemuck::bytes_of(&unsummed));
        bytes.fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// `None` when it is not as it was written.
    fn read(&self, key: &Key) -> Option<(About, Memory)> {
        if self.check != self.sum(key) || self.flags & !(LATE | MOVED | UNREMEMBERED) != 0 {
            return None;
        }
        let mut addresses = Vec::new();
        for (family, address) in self.families.iter().zip(self.addresses) {
            addresses.extend(match family {
                0 => None,
                4 => {
                    let [.., a, b, c, d] = address;
                    Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
                }
                6 => Some(IpAddr::from(address)),
                _ => return None,
            });
        }
        let name = self.name.iter().take_while(|byte| **byte != 0).copied();
        let memory = Memory {
            tag: self.tag,
            owner: self.owner,
            netns: self.netns,
            mark: Mark {
                cookie: self.cookie,
                inode: self.inode,
                name: self.netns_name,
            },
            boot: (u128::from(self.boot[0]) << 64) | u128::from(self.boot[1]),
            peer: self.peer,
            is_late: self.flags & LATE != 0,
            is_moved: self.flags & MOVED != 0,
            is_unremembered: self.flags & UNREMEMBERED != 0,
            name: String::from_utf8_lossy(&name.collect::<Vec<_>>()).into_owned(),
            addresses,
        };
        Some((key.about()?, memory))
    }
}

/// Why what an earlier run remembered cannot be read.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{0}")]
    Map(#[from] MapError),
    #[error("an element is not as it was written")]
    Element,
}

/// What an earlier run remembered, or why that cannot be read.
pub(crate) type Earlier = Result<BTreeMap<About, Memory>, String>;

/// The map in which it stands.
#[derive(Debug)]
pub(crate) struct MemoryMap {
    map: Map,
    pins: Pins,
    /// It takes its name with the first write: until then the one before stands.
    is_pinned: bool,
}

impl MemoryMap {
    /// What an earlier run remembered; an error text instead, when that cannot be read.
    ///
    /// # Errors
    /// A map cannot be made.
    pub(crate) fn open(pins: &Pins) -> Result<(Self, Earlier), PinDirError> {
        let path = pins.path().join(names::SANDBOXES);
        let mut read = Ok(BTreeMap::new());
        // Also what is no map counts as there.
        if fs::symlink_metadata(&path).is_ok() {
            let found = MapData::from_pin(&path).map_err(Damage::Map);
            match found.and_then(all) {
                Ok((map, all)) => {
                    let opened = Self {
                        map,
                        pins: pins.clone(),
                        is_pinned: true,
                    };
                    return Ok((opened, Ok(all)));
                }
                Err(damage) => read = Err(damage.to_string()),
            }
        }
        let map = made(pins)?;
        let opened = Self {
            map,
            pins: pins.clone(),
            is_pinned: false,
        };
        Ok((opened, read))
    }

    /// Remembers this.
    ///
    /// # Errors
    /// The kernel's reason.
    pub(crate) fn put(&mut self, about: About, memory: &Memory) -> Result<(), PinDirError> {
        let key = Key::new(about);
        let value = Value::new(&key, memory);
        let mut map = elements(&mut self.map).map_err(failed)?;
        map.insert(Abi(key), Abi(value), 0).map_err(failed)
    }

    /// Forgets this.
    ///
    /// # Errors
    /// The kernel's reason; what is not there is no error.
    pub(crate) fn remove(&mut self, about: About) -> Result<(), PinDirError> {
        let mut map = elements(&mut self.map).map_err(failed)?;
        gone(map.remove(&Abi(Key::new(about)))).map_err(failed)
    }

    /// What was written is what a later run finds.
    ///
    /// # Errors
    /// The map cannot be pinned.
    pub(crate) fn publish(&mut self) -> Result<(), PinDirError> {
        if self.is_pinned {
            return Ok(());
        }
        let aside = self.pins.next().join(names::SANDBOXES);
        remove(&aside)?;
        self.map.pin(&aside).map_err(|source| PinDirError::Pin {
            path: aside.clone(),
            source,
        })?;
        rename(&aside, &self.pins.path().join(names::SANDBOXES))?;
        self.is_pinned = true;
        Ok(())
    }
}

type Elements<'map> = HashMap<&'map mut MapData, Abi<Key>, Abi<Value>>;

/// The map, which is checked to have such elements.
fn elements(map: &mut Map) -> Result<Elements<'_>, MapError> {
    map.try_into()
}

/// A map that has no pin.
fn made(pins: &Pins) -> Result<Map, PinDirError> {
    let path = pins.next().join(names::SANDBOXES);
    remove(&path)?;
    let map: HashMap<MapData, Abi<Key>, Abi<Value>> =
        HashMap::create(MOST, NO_PREALLOC).map_err(failed)?;
    map.pin(&path).map_err(|source| PinDirError::Pin {
        path: path.clone(),
        source,
    })?;
    let map = MapData::from_pin(&path)
        .and_then(Map::from_map_data)
        .map_err(failed);
    remove(&path)?;
    map
}

fn all(data: MapData) -> Result<(Map, BTreeMap<About, Memory>), Damage> {
    let mut map = Map::from_map_data(data)?;
    let mut all = BTreeMap::new();
    for element in elements(&mut map)?.iter() {
        let (Abi(key), Abi(value)) = element?;
        let (about, memory) = value.read(&key).ok_or(Damage::Element)?;
        all.insert(about, memory);
    }
    Ok((map, all))
}

fn failed(source: MapError) -> PinDirError {
    PinDirError::Map {
        name: names::SANDBOXES,
        source,
    }
}

#[cfg(test)]
mod tests;
