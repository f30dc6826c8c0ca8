//! Flows that are closed from outside: somebody else knows that the rules forbid them.
//!
//! Owns how such a flow is written; who knows is not known here. Invariant: an entry that is not there is not
//! made, and only one that the pod opened is closed.

use std::net::SocketAddr;

use aya::maps::{HashMap, Map, MapData, MapError};
use policy_common::{
    EndpointId, Flow, FlowKeyV4, FlowKeyV6, FlowState, Verdict,
    addr::{V4, V6},
};

use super::{
    super::kernel::{abi::Abi, element::found},
    sweep::{SweepError, Sweeper},
};

/// `BPF_EXIST`.
const ONLY_THERE: u64 = 2;

/// One connection that an endpoint opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForbiddenFlow {
    /// Whose.
    pub endpoint: EndpointId,
    /// At which interface.
    pub ifindex: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// The pod's end.
    pub pod: SocketAddr,
    /// The peer's end, as the pod's packets name it.
    pub peer: SocketAddr,
}

impl Sweeper {
    /// Makes the entry of a connection a tombstone under this epoch, unless it is one: whether it was open.
    ///
    /// # Errors
    /// The kernel refuses to read or write the maps.
    pub(in crate::datapath) fn forbid(
        &mut self,
        flow: &ForbiddenFlow,
        epoch: u32,
    ) -> Result<bool, SweepError> {
        let ForbiddenFlow {
            endpoint, protocol, ..
        } = *flow;
        let (pod_port, peer_port) = (
            flow.pod.port().to_be_bytes(),
            flow.peer.port().to_be_bytes(),
        );
        let closed = match (flow.pod, flow.peer) {
            (SocketAddr::V4(pod), SocketAddr::V4(peer)) => {
                let key = FlowKeyV4 {
                    endpoint,
                    protocol,
                    reserved: 0,
                    pod: V4(pod.ip().octets()),
                    peer: V4(peer.ip().octets()),
                    pod_port,
                    peer_port,
                };
                close(&mut self.flows_v4, key, epoch)
            }
            (SocketAddr::V6(pod), SocketAddr::V6(peer)) => {
                let key = FlowKeyV6 {
                    endpoint,
                    protocol,
                    reserved: 0,
                    pod: V6(pod.ip().octets()),
                    peer: V6(peer.ip().octets()),
                    pod_port,
                    peer_port,
                };
                close(&mut self.flows_v6, key, epoch)
            }
            _ => Ok(false),
        };
        Ok(closed?)
    }
}

fn close<K: bytemuck::Pod>(map: &mut Map, key: K, epoch: u32) -> Result<bool, MapError> {
    let mut map: HashMap<&mut MapData, Abi<K>, Abi<Flow>> = map.try_into()?;
    let Some(flow) = found(map.get(&Abi(key), 0))? else {
        return Ok(false);
    };
    // What stands there under another epoch says nothing yet.
    let is_closed = flow.state.epoch == epoch && !flow.state.verdict.allows();
    if flow.state.opener != FlowState::OPENED_BY_POD || is_closed {
        return Ok(false);
    }
    let state = FlowState {
        epoch,
        verdict: Verdict::DENY,
        ..flow.state
    };
    match map.insert(Abi(key), Abi(Flow { state, ..flow }), ONLY_THERE) {
        Ok(()) => Ok(true),
        // It ended meanwhile.
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
