//! Flows of connections that began before the programs looked.
//!
//! Owns how such a flow is written; where it is known from is not known here. Invariant: an entry that is
//! there already is never replaced, and one that is made says only who opened the connection: its epoch
//! is nobody's, so that the first packet that meets it has it judged by the rules in force.

use std::{collections::BTreeMap, io, net::SocketAddr};

use aya::maps::{HashMap, Map, MapData, MapError};
use policy_common::{
    EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState,
    addr::{V4, V6},
};

use super::{
    super::kernel::abi::Abi,
    sweep::{SweepError, Sweeper, without_loans},
};

/// `BPF_NOEXIST`.
const ONLY_NEW: u64 = 1;

/// One connection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlow {
    /// Whose.
    pub endpoint: EndpointId,
    /// IP protocol number.
    pub protocol: u8,
    /// The pod's end.
    pub pod: SocketAddr,
    /// The peer's end, as the pod's packets name it.
    pub peer: SocketAddr,
    /// Phase, opener and what was seen; epoch and verdict are not read.
    pub state: FlowState,
    /// [`Flow::pod_next`] and [`Flow::peer_next`].
    pub next: (u32, u32),
}

impl Sweeper {
    /// Makes entries of connections that are open, up to the limits of their endpoints; returns how many
    /// are new.
    ///
    /// # Errors
    /// The kernel refuses to write the maps, or the tables are full. What was made stays.
    pub fn adopt(&mut self, flows: &[OpenFlow]) -> Result<usize, SweepError> {
        let now = self.clock.now().map_err(SweepError::Clock)?;
        let mut room = BTreeMap::new();
        let mut made = BTreeMap::new();
        let mut result = Ok(());
        for flow in flows {
            let side = (flow.endpoint, flow.state.opener);
            let left = match room.get(&side).copied() {
                Some(left) => left,
                None => self.room(flow.endpoint, flow.state.opener)?,
            };
            if left == 0 {
                continue;
            }
            match self.insert(flow, now) {
                Ok(true) => {
                    room.insert(side, left - 1);
                    *made.entry(side).or_insert(0_u32) += 1;
                }
                Ok(false) => drop(room.insert(side, left)),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.count(&made)?;
        result?;
        Ok(made.values().map(|count| *count as usize).sum())
    }

    /// How many more flows one side of an endpoint may have.
    fn room(&self, endpoint: EndpointId, opener: u8) -> Result<u32, MapError> {
        let Abi(counts) = self.counts.get(&u32::from(endpoint.0), 0)?;
        Ok(if opener == FlowState::OPENED_BY_POD {
            self.config.pod_opened_limit.saturating_sub(counts.pod.live)
        } else {
            self.config
                .peer_opened_limit
                .saturating_sub(counts.peer.live)
        })
    }

    fn insert(&mut self, flow: &OpenFlow, now: u64) -> Result<bool, SweepError> {
        let value = Flow {
            state: FlowState {
                epoch: 0,
                ..flow.state
            },
            last_seen: now,
            pod_next: flow.next.0,
            peer_next: flow.next.1,
            marks: Flow::ADOPTED,
            ..Flow::default()
        };
        let (pod_port, peer_port) = (
            flow.pod.port().to_be_bytes(),
            flow.peer.port().to_be_bytes(),
        );
        match (flow.pod, flow.peer) {
            (SocketAddr::V4(pod), SocketAddr::V4(peer)) => {
                let key = FlowKeyV4 {
                    endpoint: flow.endpoint,
                    protocol: flow.protocol,
                    reserved: 0,
                    pod: V4(pod.ip().octets()),
                    peer: V4(peer.ip().octets()),
                    pod_port,
                    peer_port,
                };
                write(&mut self.flows_v4, key, value)
            }
            (SocketAddr::V6(pod), SocketAddr::V6(peer)) => {
                let key = FlowKeyV6 {
                    endpoint: flow.endpoint,
                    protocol: flow.protocol,
                    reserved: 0,
                    pod: V6(pod.ip().octets()),
                    peer: V6(peer.ip().octets()),
                    pod_port,
                    peer_port,
                };
                write(&mut self.flows_v6, key, value)
            }
            _ => Ok(false),
        }
    }

    /// Adds to the counts what the programs did not count. What they change at the same moment the next
    /// sweep puts right.
    fn count(&mut self, made: &BTreeMap<(EndpointId, u8), u32>) -> Result<(), MapError> {
        for ((endpoint, opener), count) in made {
            let slot = u32::from(endpoint.0);
            let mut counts = without_loans(self.counts.get(&slot, 0)?.0);
            let side = if *opener == FlowState::OPENED_BY_POD {
                &mut counts.pod
            } else {
                &mut counts.peer
            };
            side.live = side.live.saturating_add(*count);
            self.counts.set(slot, Abi(counts), 0)?;
        }
        Ok(())
    }
}

/// Whether the entry is new.
fn write<K: bytemuck::Pod>(map: &mut Map, key: K, flow: Flow) -> Result<bool, SweepError> {
    let mut typed: HashMap<&mut MapData, Abi<K>, Abi<Flow>> = map.try_into()?;
    match typed.insert(Abi(key), Abi(flow), ONLY_NEW) {
        Ok(()) => Ok(true),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
