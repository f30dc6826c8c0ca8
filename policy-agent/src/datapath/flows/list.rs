//! The flow tables as they are pinned.
//!
//! Reads only. What comes and goes meanwhile may be missing, nothing is read twice.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::maps::{Map, MapData, MapError};
use policy_common::{EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState, names};

use super::super::{
    kernel::{abi::Abi, sys},
    pins::{PinDir, PinDirError},
};

/// An entry of the flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// Whose.
    pub endpoint: EndpointId,
    /// IANA number.
    pub protocol: u8,
    /// The pod's address.
    pub pod: IpAddr,
    /// Its port, or the identifier of an echo request.
    pub pod_port: u16,
    /// The other side's address.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// What the flow may do, and where it stands.
    pub state: FlowState,
    /// Jiffies of its last packet; of one that is under way, up to a second before.
    pub last_seen: u64,
}

/// Every entry of both families.
///
/// # Errors
/// A table cannot be read.
pub fn flows(pins: &PinDir) -> Result<Vec<FlowEntry>, PinDirError> {
    let mut all = Vec::new();
    walk::<FlowKeyV4>(pins, names::FLOWS_V4, |key, flow| {
        let (pod, peer) = (Ipv4Addr::from(key.pod.0), Ipv4Addr::from(key.peer.0));
        all.push(FlowEntry {
            endpoint: key.endpoint,
            protocol: key.protocol,
            pod: pod.into(),
            pod_port: u16::from_be_bytes(key.pod_port),
            peer: peer.into(),
            peer_port: u16::from_be_bytes(key.peer_port),
            state: flow.state,
            last_seen: flow.last_seen,
        });
    })?;
    walk::<FlowKeyV6>(pins, names::FLOWS_V6, |key, flow| {
        let (pod, peer) = (Ipv6Addr::from(key.pod.0), Ipv6Addr::from(key.peer.0));
        all.push(FlowEntry {
            endpoint: key.endpoint,
            protocol: key.protocol,
            pod: pod.into(),
            pod_port: u16::from_be_bytes(key.pod_port),
            peer: peer.into(),
            peer_port: u16::from_be_bytes(key.peer_port),
            state: flow.state,
            last_seen: flow.last_seen,
        });
    })?;
    Ok(all)
}

fn walk<K: bytemuck::Pod>(
    pins: &PinDir,
    name: &'static str,
    visit: impl FnMut(K, Flow),
) -> Result<(), PinDirError> {
    let failed = |source| PinDirError::Map { name, source };
    let data = MapData::from_pin(pins.path().join(name)).map_err(failed)?;
    let map = Map::from_map_data(data).map_err(failed)?;
    // A typed handle has the sizes checked with which the untyped one is read.
    let _: aya::maps::HashMap<&MapData, Abi<K>, Abi<Flow>> = (&map).try_into().map_err(failed)?;
    let Map::HashMap(data) = &map else {
        return Ok(());
    };
    let refused = |error: io::Error| failed(MapError::IoError(error));
    sys::for_each(data, visit).map_err(refused)
}
