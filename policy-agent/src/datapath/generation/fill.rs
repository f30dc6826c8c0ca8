//! How full the tables are, read from their pins: also while no agent runs.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use policy_common::{
    AddressEntry, Endpoint, Flow, FlowKeyV4, FlowKeyV6, FragmentKey, FragmentPorts, IdentityId,
    PortKey, PortSet, PortSetId, RuleKey, V4, V6, Verdict, names,
};
use policy_ebpf::lines::{Key, WORDS, table::keys};
use serde::{Deserialize, Serialize};

use super::super::{
    kernel::{
        abi::{Abi, Slots, Trie},
        sys,
    },
    pins::{PinDir, PinDirError},
};

/// How full one table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub name: String,
    /// Elements in use.
    pub entries: u64,
    /// Elements that fit.
    pub most: u64,
}

/// The fill of every pinned table; empty when nothing is pinned.
///
/// # Errors
/// A table is pinned but cannot be read.
pub fn fill(pins: &PinDir) -> Result<Vec<MapFill>, PinDirError> {
    let mut fills = Vec::new();
    for (name, count) in TABLES {
        let path = pins.path().join(name);
        if !path.exists() {
            continue;
        }
        let failed = |source| PinDirError::Map { name, source };
        let mut entries = count(open(&path).map_err(failed)?).map_err(failed)?;
        let mut sized = path;
        // How much fits, the spill says: a line has no number of entries.
        if let Some((_, spill, count)) = SPILLS.into_iter().find(|(lines, ..)| *lines == name) {
            sized = pins.path().join(spill);
            entries += count(open(&sized).map_err(failed)?).map_err(failed)?;
        }
        let most = MapInfo::from_pin(&sized).map_err(failed)?.max_entries();
        fills.push(MapFill {
            name: name.to_owned(),
            entries,
            most: most.into(),
        });
    }
    Ok(fills)
}

fn open(pin: &Path) -> Result<Map, MapError> {
    MapData::from_pin(pin).and_then(Map::from_map_data)
}

type Count = fn(Map) -> Result<u64, MapError>;

const TABLES: [(&str, Count); 15] = [
    (names::ENDPOINTS, hash::<u32, Endpoint>),
    (names::ADDRESSES_V4, lines::<V4>),
    (names::ADDRESSES_V6, lines::<V6>),
    (names::CIDRS_V4, trie::<V4, IdentityId>),
    (names::CIDRS_V6, trie::<V6, IdentityId>),
    (names::LOCALS_V4, trie::<V4, u32>),
    (names::LOCALS_V6, trie::<V6, u32>),
    (names::SERVICES_V4, trie::<V4, u32>),
    (names::SERVICES_V6, trie::<V6, u32>),
    (names::RULES, lines::<RuleKey>),
    (names::PORT_SETS, port_sets),
    (names::PORTS, trie::<PortKey, Verdict>),
    (names::FLOWS_V4, hash::<FlowKeyV4, Flow>),
    (names::FLOWS_V6, hash::<FlowKeyV6, Flow>),
    (names::FRAGMENTS, hash::<FragmentKey, FragmentPorts>),
];

/// Tables of lines, and the tables of what has no room in them.
const SPILLS: [(&str, &str, Count); 3] = [
    (
        names::ADDRESSES_V4,
        names::SPILLED_V4,
        trie::<V4, AddressEntry>,
    ),
    (
        names::ADDRESSES_V6,
        names::SPILLED_V6,
        trie::<V6, AddressEntry>,
    ),
    (
        names::RULES,
        names::SPILLED_RULES,
        trie::<RuleKey, PortSetId>,
    ),
];

fn lines<K: Key>(map: Map) -> Result<u64, MapError> {
    let _: Array<&MapData, Abi<[u64; WORDS]>> = (&map).try_into()?;
    let Map::Array(data) = &map else {
        return Ok(0);
    };
    let mut entries = 0;
    sys::for_each(data, |_: u32, line: [u64; WORDS]| {
        entries += keys::<K>(&line).count() as u64;
    })?;
    Ok(entries)
}

fn hash<K: bytemuck::Pod, V: bytemuck::Pod>(map: Map) -> Result<u64, MapError> {
    let _: aya::maps::HashMap<&MapData, Abi<K>, Abi<V>> = (&map).try_into()?;
    let (Map::HashMap(data) | Map::LruHashMap(data)) = &map else {
        return Ok(0);
    };
    // In batches: a walk from key to key begins anew where its key was removed meanwhile.
    let mut entries = 0;
    sys::for_each(data, |_: K, _: V| entries += 1)?;
    Ok(entries)
}

fn trie<K: bytemuck::Pod, V: bytemuck::Pod>(map: Map) -> Result<u64, MapError> {
    let map: Trie<K, V> = map.try_into()?;
    count(map.keys())
}

fn count<K>(keys: impl Iterator<Item = Result<K, MapError>>) -> Result<u64, MapError> {
    keys.into_iter()
        .try_fold(0, |count, key| key.map(|_| count + 1))
}

/// An array has no empty slots: those that say something count.
fn port_sets(map: Map) -> Result<u64, MapError> {
    let map: Slots<PortSet> = map.try_into()?;
    map.iter().try_fold(0, |count, set| {
        set.map(|Abi(set)| count + u64::from(set != PortSet::default()))
    })
}
