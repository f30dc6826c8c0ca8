//! How full the tables are, read from their pins: also while no agent runs.

use aya::maps::{Map, MapData, MapError, MapInfo};
use policy_common::{
    AddressEntry, Endpoint, Flow, FlowKeyV4, FlowKeyV6, FragmentKey, FragmentPorts, IdentityId,
    PortKey, PortSet, PortSetId, RuleKey, V4, V6, Verdict, names,
};
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
        let most = MapInfo::from_pin(&path).map_err(failed)?.max_entries();
        let map = MapData::from_pin(&path)
            .and_then(Map::from_map_data)
            .map_err(failed)?;
        fills.push(MapFill {
            name: name.to_owned(),
            entries: count(map).map_err(failed)?,
            most: most.into(),
        });
    }
    Ok(fills)
}

type Count = fn(Map) -> Result<u64, MapError>;

const TABLES: [(&str, Count); 13] = [
    (names::ENDPOINTS, hash::<u32, Endpoint>),
    (names::ADDRESSES_V4, hash::<V4, AddressEntry>),
    (names::ADDRESSES_V6, hash::<V6, AddressEntry>),
    (names::CIDRS_V4, trie::<V4, IdentityId>),
    (names::CIDRS_V6, trie::<V6, IdentityId>),
    (names::LOCALS_V4, trie::<V4, u32>),
    (names::LOCALS_V6, trie::<V6, u32>),
    (names::RULES, hash::<RuleKey, PortSetId>),
    (names::PORT_SETS, port_sets),
    (names::PORTS, trie::<PortKey, Verdict>),
    (names::FLOWS_V4, hash::<FlowKeyV4, Flow>),
    (names::FLOWS_V6, hash::<FlowKeyV6, Flow>),
    (names::FRAGMENTS, hash::<FragmentKey, FragmentPorts>),
];

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
