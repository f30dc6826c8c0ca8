//! Removes what nobody meets any more from the flow tables.
//!
//! Owns expiry of flows without packets, the flows of endpoints that are gone, room for endpoints that
//! come near their limit, and the correction of the per-endpoint counts, which walk and programs change at
//! once. Must not decide verdicts.
//! Invariant: an endpoint's number is handed out again only after a sweep forgot its flows.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, MapError},
};
use policy_common::{
    Config, EndpointId, Flow, FlowCounts, FlowKeyV4, FlowKeyV6, FlowState, Side, names,
    shares::CHUNK_SLOTS,
};
use policy_ebpf::{
    flows::life::{idle, is_expired, is_spare},
    packet::protocol::UDP,
};

use rings::Owners;

use super::super::kernel::{
    abi::{Abi, Slots},
    clock::Clock,
    element::gone,
    part::{self, PartError},
    sys,
};

/// A sweep was cut off; the next one starts anew.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The flow tables could not be read.
    #[error("reading the flow tables")]
    Read(#[from] io::Error),
    /// A flow or a count could not be written.
    #[error("writing the flow tables")]
    Write(#[from] MapError),
    /// The kernel's clock could not be read.
    #[error("reading the kernel's clock")]
    Clock(#[source] io::Error),
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that stay, IPv4.
    pub v4: usize,
    /// Flows that stay, IPv6.
    pub v6: usize,
    /// Flows that were removed.
    pub removed: usize,
}

/// Sweeps the flow tables of one generation.
pub struct Sweeper {
    pub(super) flows_v4: Map,
    pub(super) flows_v6: Map,
    pub(super) counts: Slots<FlowCounts>,
    shared: Slots<u64>,
    blocks: Map,
    pub(super) clock: Clock,
    pub(super) config: Config,
}

/// Seconds without a packet after which a flow is removed early, where its side has used up most of the
/// endpoint's limit: one that is unanswered or closed, and a question with its answer over UDP.
const SPARED: u32 = 5;
const SPARED_UDP: u32 = 30;

/// Which flows are over at one moment.
struct Expiry<'a> {
    live: &'a BTreeSet<EndpointId>,
    /// Endpoints and sides near their limit.
    pressed: BTreeSet<(EndpointId, u8)>,
    /// Jiffies.
    now: u64,
    hz: u32,
}

impl Expiry<'_> {
    fn is_over(&self, key: &impl Key, flow: &Flow) -> bool {
        let endpoint = key.endpoint();
        let idle_for =
            |seconds: u32| idle(flow, self.now) > u64::from(seconds) * u64::from(self.hz);
        let gives_way = (is_spare(&flow.state) && idle_for(SPARED))
            || (key.protocol() == UDP && flow.state.verdict.allows() && idle_for(SPARED_UDP));
        !self.live.contains(&endpoint)
            || is_expired(flow, key.protocol(), self.now, self.hz)
            || (gives_way && self.pressed.contains(&(endpoint, flow.state.opener)))
    }
}

/// Live flows of one endpoint as a walk found them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    pod_opened: u32,
    peer_opened: u32,
}

impl Sweeper {
    /// Opens the flow tables of a loaded object.
    pub(crate) fn of(ebpf: &Ebpf, clock: Clock, config: Config) -> Result<Self, PartError> {
        Ok(Self {
            flows_v4: part::open_untyped(ebpf, names::FLOWS_V4)?,
            flows_v6: part::open_untyped(ebpf, names::FLOWS_V6)?,
            counts: part::open(ebpf, names::FLOW_COUNTS)?,
            shared: part::open(ebpf, names::FLOW_SHARED)?,
            blocks: part::open_untyped(ebpf, names::RECENT_BLOCKS)?,
            clock,
            config,
        })
    }

    /// Removes expired flows and all flows of endpoints that are not `live`, and puts the counts
    /// right.
    ///
    /// # Errors
    /// The kernel's reason; what was done so far stays done, and the next sweep starts anew.
    pub fn sweep(&mut self, live: &BTreeSet<EndpointId>) -> Result<Swept, SweepError> {
        let now = self.clock.now().map_err(SweepError::Clock)?;
        let before = self.call_in()?;
        let expiry = Expiry {
            live,
            pressed: self.pressed(&before),
            now,
            hz: self.config.hz,
        };
        let mut tallies = BTreeMap::new();
        let (v4, removed_v4) = walk::<FlowKeyV4>(&mut self.flows_v4, &expiry, &mut tallies)?;
        let (v6, removed_v6) = walk::<FlowKeyV6>(&mut self.flows_v6, &expiry, &mut tallies)?;
        self.correct(&before, &tallies, live)?;
        Ok(Swept {
            v4,
            v6,
            removed: removed_v4 + removed_v6,
        })
    }

    /// Endpoints and sides that have used up three quarters of their limit.
    fn pressed(&self, counts: &[FlowCounts]) -> BTreeSet<(EndpointId, u8)> {
        let is_near = |count: u32, limit: u32| u64::from(count) * 4 >= u64::from(limit) * 3;
        (0..=u16::MAX)
            .map(EndpointId)
            .zip(counts)
            .flat_map(|(endpoint, counts)| {
                let pod = is_near(counts.pod.live, self.config.pod_opened_limit)
                    .then_some((endpoint, FlowState::OPENED_BY_POD));
                let peer = is_near(counts.peer.live, self.config.peer_opened_limit)
                    .then_some((endpoint, FlowState::OPENED_BY_PEER));
                pod.into_iter().chain(peer)
            })
            .collect()
    }

    /// The counts, when all that was lent to processors is void: else flows that begin while the tables
    /// are walked would not be seen in them. What was left of a loan counts until the walk is compared.
    fn call_in(&mut self) -> Result<Vec<FlowCounts>, MapError> {
        let mut all = self
            .counts
            .iter()
            .map(|slot| slot.map(|Abi(counts)| counts))
            .collect::<Result<Vec<_>, _>>()?;
        for (slot, counts) in (0..).zip(&mut all) {
            if counts.lent != 0 {
                *counts = without_loans(self.counts.get(&slot, 0)?.0);
                self.counts.set(slot, Abi(*counts), 0)?;
            }
        }
        Ok(all)
    }

    /// Writes counts that differ from the walk by more than what moved meanwhile, and what follows from
    /// them.
    fn correct(
        &mut self,
        before: &[FlowCounts],
        tallies: &BTreeMap<EndpointId, Tally>,
        live: &BTreeSet<EndpointId>,
    ) -> Result<(), SweepError> {
        // Before the counts: a ring may grow meanwhile.
        let owners = Owners::of(&self.blocks)?;
        let mut granted = 0;
        let mut rings = BTreeMap::new();
        for (number, before) in (0..=u16::MAX).map(EndpointId).zip(before) {
            let tally = tallies.get(&number).copied().unwrap_or_default();
            if *before == nothing(before) && tally == Tally::default() {
                continue;
            }
            let slot = u32::from(number.0);
            let Abi(after) = self.counts.get(&slot, 0)?;
            let corrected = if live.contains(&number) {
                self.corrected(before, after, tally)
            } else {
                nothing(&after)
            };
            if corrected != after {
                let corrected = without_loans(corrected);
                self.counts.set(slot, Abi(corrected), 0)?;
            }
            granted += u64::from(corrected.granted);
            for (opener, side) in [
                (FlowState::OPENED_BY_POD, corrected.pod),
                (FlowState::OPENED_BY_PEER, corrected.peer),
            ] {
                rings.insert((number, opener), side.slots);
            }
        }
        if self.shared.get(&0, 0)?.0 != granted {
            self.shared.set(0, Abi(granted), 0)?;
        }
        owners.give_back(&mut self.blocks, &rings)?;
        Ok(())
    }

    /// The counts to keep of an endpoint that lives.
    fn corrected(&self, before: &FlowCounts, after: FlowCounts, tally: Tally) -> FlowCounts {
        // Lent since the walk began: the walk may have missed as many.
        let lent = after.lent;
        let side = |before: Side, after: Side, walked| {
            let live = corrected(before.live, after.live, lent, walked);
            // A ring that was much larger than needed begins anew: what is forgotten of the few flows
            // that are left, sweeps remove in their time.
            let is_too_large = after.slots > CHUNK_SLOTS && live < after.slots / 8;
            let (slots, cursor) = if is_too_large {
                (0, 0)
            } else {
                (after.slots, after.cursor)
            };
            Side {
                live,
                cursor,
                slots,
                ..after
            }
        };
        let mut corrected = FlowCounts {
            pod: side(before.pod, after.pod, tally.pod_opened),
            peer: side(before.peer, after.peer, tally.peer_opened),
            ..after
        };
        let total = corrected.pod.live.saturating_add(corrected.peer.live);
        let beyond = total.saturating_sub(self.config.own_flows);
        let needed = beyond.next_multiple_of(self.config.flow_grant.max(1));
        // As the programs do: not for one flow more or less.
        if needed > corrected.granted || needed + 2 * self.config.flow_grant <= corrected.granted {
            corrected.granted = needed;
        }
        corrected
    }
}

/// The same counts, and another era.
pub(super) fn without_loans(counts: FlowCounts) -> FlowCounts {
    FlowCounts {
        lent: 0,
        era: counts.era.wrapping_add(1),
        ..counts
    }
}

/// Counts of an endpoint without flows; the era stays, so that a loan to the one before stays void.
fn nothing(counts: &FlowCounts) -> FlowCounts {
    FlowCounts {
        era: counts.era,
        ..FlowCounts::default()
    }
}

/// The count to keep: the walk's, unless the difference may come from flows that began or ended
/// while it walked, of which those that were `lent` moved the count before they began.
fn corrected(before: u32, after: u32, lent: u32, walked: u32) -> u32 {
    if after.abs_diff(walked) > before.abs_diff(after).saturating_add(lent) {
        walked
    } else {
        after
    }
}

/// A flow key of either family.
trait Key: bytemuck::Pod {
    fn endpoint(&self) -> EndpointId;
    fn protocol(&self) -> u8;
}

impl Key for FlowKeyV4 {
    fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    fn protocol(&self) -> u8 {
        self.protocol
    }
}

impl Key for FlowKeyV6 {
    fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    fn protocol(&self) -> u8 {
        self.protocol
    }
}

/// Removes what is over from one table: how many flows stay, and how many were removed.
fn walk<K: Key>(
    map: &mut Map,
    expiry: &Expiry<'_>,
    tallies: &mut BTreeMap<EndpointId, Tally>,
) -> Result<(usize, usize), SweepError> {
    // Only a hash map whose sizes are those of the key and the value becomes a typed one.
    let _: HashMap<&MapData, Abi<K>, Abi<Flow>> = (&*map).try_into()?;
    let Map::HashMap(data) = &*map else {
        return Err(MapError::InvalidMapType { map_type: 0 }.into());
    };
    let mut kept = 0;
    let mut over = Vec::new();
    sys::for_each(data, |key: K, flow: Flow| {
        if expiry.is_over(&key, &flow) {
            over.push(key);
            return;
        }
        kept += 1;
        let tally = tallies.entry(key.endpoint()).or_default();
        if flow.state.opener == FlowState::OPENED_BY_POD {
            tally.pod_opened += 1;
        } else {
            tally.peer_opened += 1;
        }
    })?;
    let mut typed: HashMap<&mut MapData, Abi<K>, Abi<Flow>> = map.try_into()?;
    let mut removed = 0;
    for key in over {
        // A packet may have opened the flow anew since it was read.
        if let Ok(Abi(flow)) = typed.get(&Abi(key), 0)
            && expiry.is_over(&key, &flow)
        {
            gone(typed.remove(&Abi(key)))?;
            removed += 1;
        }
    }
    Ok((kept, removed))
}

mod rings;

#[cfg(test)]
mod tests;
