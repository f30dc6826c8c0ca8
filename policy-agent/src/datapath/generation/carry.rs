//! Takes flows along into tables of another size.
//!
//! A generation usually shares its flow tables with the one before. When their size changes it gets
//! new ones, and open connections must not be cut for that. Flows that begin between the copy and
//! the move of the links are judged anew, like flows that an earlier agent did not see.

use aya::maps::{Map, MapData, MapError};
use policy_common::{Flow, FlowKeyV4, FlowKeyV6, LAYOUT_VERSION, names};

use super::super::{
    kernel::{
        abi::{Abi, Hash},
        sys,
    },
    pins::PinDir,
};

/// Copies the flows of the generation in force into the new tables, unless they are the same ones.
pub(crate) fn flows(pins: &PinDir, fresh: &PinDir) -> Result<(), MapError> {
    let known = pins.node_state().map(|state| state.layout);
    if known != Some(LAYOUT_VERSION) {
        return Ok(());
    }
    copy::<FlowKeyV4>(pins, fresh, names::FLOWS_V4)?;
    copy::<FlowKeyV6>(pins, fresh, names::FLOWS_V6)
}

fn copy<K: bytemuck::Pod>(pins: &PinDir, fresh: &PinDir, name: &str) -> Result<(), MapError> {
    let (from, to) = (pins.path().join(name), fresh.path().join(name));
    if !from.exists() || !to.exists() {
        return Ok(());
    }
    let from = Map::from_map_data(MapData::from_pin(from)?)?;
    let _: aya::maps::HashMap<&MapData, Abi<K>, Abi<Flow>> = (&from).try_into()?;
    let mut to: Hash<K, Flow> = Map::from_map_data(MapData::from_pin(to)?)?.try_into()?;
    let Map::HashMap(data) = &from else {
        return Ok(());
    };
    let mut lost = 0usize;
    sys::for_each(data, |key: K, flow: Flow| {
        lost += usize::from(to.insert(Abi(key), Abi(flow), 0).is_err());
    })?;
    if lost > 0 {
        tracing::warn!("{name}: {lost} flows do not fit in the new table");
    }
    Ok(())
}
