//! The flow tables as they are pinned: what the programs know of connections.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::Result;
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapError},
};
use bytemuck::AnyBitPattern;
use policy_common::{EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState, names};

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Whose.
    pub endpoint: EndpointId,
    /// IP protocol number.
    pub protocol: u8,
    /// The pod's end.
    pub pod: SocketAddr,
    /// The peer's end.
    pub peer: SocketAddr,
    /// Where it stands.
    pub state: FlowState,
}

/// All entries of both families. Of what changes while it is read, some may be missing, and some that
/// followed each other may both be there.
pub fn tracked(pins: &Path) -> Result<Vec<Tracked>> {
    let v4 = read::<[u8; size_of::<FlowKeyV4>()]>(&pins.join(names::FLOWS_V4))?;
    let v6 = read::<[u8; size_of::<FlowKeyV6>()]>(&pins.join(names::FLOWS_V6))?;
    let v4 = v4.iter().map(|(key, flow)| {
        let key: FlowKeyV4 = decoded(key);
        Tracked {
            endpoint: key.endpoint,
            protocol: key.protocol,
            pod: end(key.pod.0, key.pod_port),
            peer: end(key.peer.0, key.peer_port),
            state: flow.state,
        }
    });
    let v6 = v6.iter().map(|(key, flow)| {
        let key: FlowKeyV6 = decoded(key);
        Tracked {
            endpoint: key.endpoint,
            protocol: key.protocol,
            pod: end(key.pod.0, key.pod_port),
            peer: end(key.peer.0, key.peer_port),
            state: flow.state,
        }
    });
    Ok(v4.chain(v6).collect())
}

fn read<K: Pod>(pin: &Path) -> Result<Vec<(K, Flow)>> {
    let map = Map::from_map_data(MapData::from_pin(pin)?)?;
    let table: HashMap<_, K, [u8; size_of::<Flow>()]> = map.try_into()?;
    let mut all = Vec::new();
    for key in table.keys() {
        let key = key?;
        match table.get(&key, 0) {
            Ok(flow) => all.push((key, decoded(&flow))),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

fn decoded<T: AnyBitPattern>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(bytes)
}

fn end(address: impl Into<IpAddr>, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(address.into(), u16::from_be_bytes(port))
}
