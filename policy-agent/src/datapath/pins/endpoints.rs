//! The endpoints that the pins remember, whichever layout wrote them.
//!
//! Owns the layout of ENDPOINTS before version 3, as far as a later run wants it: whose an interface is,
//! its number and its epoch. Invariant: a map is read by the layout that its own sizes show, never by what
//! the marker says, so that a run that was cut off between two renames is read right.

use aya::maps::{Map, MapData, MapError};
use bytemuck::{Pod, Zeroable};
use policy_common::{DirectionRules, Endpoint, EndpointId, V4, V6, names};

use super::{PinDir, PinDirError};
use crate::datapath::kernel::abi::{Abi, Hash};

/// Value of ENDPOINTS in layout 2, keyed by the interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Before {
    epoch: u32,
    ifindex: u32,
    ingress: DirectionRules,
    egress: DirectionRules,
    v4: V4,
    v6: V6,
    id: EndpointId,
    flags: u16,
    bridge: u32,
    reserved: u32,
    pod_tag: u64,
}

impl From<Before> for Endpoint {
    fn from(before: Before) -> Self {
        Self {
            epoch: before.epoch,
            ifindex: before.ifindex,
            id: before.id,
            flags: before.flags,
            v4: before.v4,
            ingress: before.ingress,
            egress: before.egress,
            v6: before.v6,
            bridge: before.bridge,
            pod_tag: before.pod_tag,
            ..Self::default()
        }
        .sealed()
    }
}

impl PinDir {
    /// The endpoints of the generation in force, empty when there is none.
    ///
    /// # Errors
    /// There is a map, but it cannot be read.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, PinDirError> {
        let Some(data) = self.open(names::ENDPOINTS)? else {
            return Ok(Vec::new());
        };
        let failed = |source| PinDirError::Map {
            name: names::ENDPOINTS,
            source,
        };
        if data.info().map_err(failed)?.value_size() as usize == size_of::<Before>() {
            return values::<Before>(data)
                .map(|before| before.into_iter().map(Into::into).collect())
                .map_err(failed);
        }
        let endpoints = values::<Endpoint>(data).map_err(failed)?;
        let Some(data) = self.open(names::INTERFACES)? else {
            return Ok(Vec::new());
        };
        // An interface that changed its number may have left the one before.
        let interfaces: Hash<u32, EndpointId> = Map::from_map_data(data)
            .and_then(TryInto::try_into)
            .map_err(failed)?;
        let is_named = |endpoint: &Endpoint| {
            let named = interfaces.get(&Abi(endpoint.ifindex), 0);
            named.is_ok_and(|Abi(id)| id == endpoint.id)
        };
        Ok(endpoints.into_iter().filter(is_named).collect())
    }

    fn open(&self, name: &'static str) -> Result<Option<MapData>, PinDirError> {
        let path = self.path().join(name);
        if !path.exists() {
            return Ok(None);
        }
        MapData::from_pin(&path)
            .map(Some)
            .map_err(|source| PinDirError::Map { name, source })
    }
}

fn values<V: Pod>(data: MapData) -> Result<Vec<V>, MapError> {
    let map: Hash<u32, V> = Map::from_map_data(data)?.try_into()?;
    map.iter()
        .map(|element| element.map(|(_, Abi(value))| value))
        .collect()
}
