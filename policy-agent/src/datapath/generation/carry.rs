//! Takes flows along into other tables.
//!
//! A generation usually shares its flow tables with the one before. Where their size or their layout
//! differ it gets new ones, and open connections must not be cut for that. Owns what becomes of the flows
//! that are there, and of those that begin while the links move. Invariant: a flow that is carried allows
//! what it allowed, under the epoch that it had, and nothing else.

use aya::{
    Ebpf,
    maps::{Map, MapData, MapInfo},
};
use bytemuck::{Pod, Zeroable};
use policy_common::{Flow, FlowKeyV4, FlowKeyV6, FlowState, IdentityId, Verdict, names};
use policy_ebpf::packet::protocol;

use super::{
    super::{
        kernel::{
            abi::{Abi, Hash},
            part::{PartError, open, open_untyped},
            sys,
            table::TableError,
        },
        pins::PinDir,
    },
    load::LoadError,
    writer::TableWriter,
};

/// The flow tables, and under which names a new generation finds those of the one before.
pub(crate) const PREVIOUS: [(&str, &str); 2] = [
    (names::FLOWS_V4, names::PREVIOUS_FLOWS_V4),
    (names::FLOWS_V6, names::PREVIOUS_FLOWS_V6),
];

/// Where the flows of the generation before are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// There are none, or they are in the same tables.
    Nowhere,
    /// In tables of another size: both generations' programs can use them.
    Beside,
    /// In tables of layout 2, which only their own programs can read.
    Layout2,
    /// In tables of a layout that nobody knows.
    Unknown,
}

impl Before {
    /// Looks at the pins. `reused`: the maps that both generations share.
    pub(crate) fn of(pins: &PinDir, reused: &[&str]) -> Self {
        let mut found = Self::Nowhere;
        for (name, _) in PREVIOUS {
            if reused.contains(&name) {
                continue;
            }
            let Ok(info) = MapInfo::from_pin(pins.path().join(name)) else {
                continue;
            };
            found = match info.value_size() as usize {
                size if size == size_of::<Flow>() => Self::Beside,
                size if size == size_of::<Flow2>() => Self::Layout2,
                _ => Self::Unknown,
            };
        }
        found
    }
}

/// Value of FLOWS in layout 2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Flow2 {
    state: FlowState,
    last_seen: u32,
    identity: u32,
}

/// The parts of a key that a conversion asks for.
trait Key: Pod {
    fn protocol(&self) -> u8;
}

impl Key for FlowKeyV4 {
    fn protocol(&self) -> u8 {
        self.protocol
    }
}

impl Key for FlowKeyV6 {
    fn protocol(&self) -> u8 {
        self.protocol
    }
}

impl Flow2 {
    /// How far the time of the last packet may lie ahead of the clock, in jiffies.
    const AHEAD: u32 = 1 << 16;

    /// The flow in today's layout; `now` is jiffies.
    fn converted(self, protocol_number: u8, now: u64) -> Flow {
        let mut state = self.state;
        // Nobody kept the numbers of its handshake: what both sides agreed on then stands.
        let shakes_hands = matches!(protocol_number, protocol::TCP | protocol::SCTP);
        if shakes_hands && state.phase == FlowState::PHASE_ESTABLISHED {
            state.seen |= FlowState::SEEN_ANSWER | FlowState::SEEN_CONFIRMATION;
        }
        // Nobody asked yet who stands behind the node's address.
        let to_host = self.identity == IdentityId::HOST.0;
        if to_host && state.opener == FlowState::OPENED_BY_POD && state.verdict.allows() {
            state.verdict.0 |= Verdict::OWED;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits were kept")]
        let idle = (now as u32).wrapping_sub(self.last_seen);
        let idle = if idle > u32::MAX - Self::AHEAD {
            0
        } else {
            idle
        };
        Flow {
            state,
            last_seen: now.saturating_sub(idle.into()),
            identity: self.identity,
            ..Flow::default()
        }
    }
}

/// Copies the flows of the generation in force into the new tables. `now` is jiffies.
pub(crate) fn flows(
    before: Before,
    pins: &PinDir,
    fresh: &Ebpf,
    now: u64,
) -> Result<(), LoadError> {
    match before {
        Before::Nowhere => {}
        Before::Beside => {
            from_pins::<FlowKeyV4, Flow>(pins, fresh, names::FLOWS_V4, |_, flow| flow)?;
            from_pins::<FlowKeyV6, Flow>(pins, fresh, names::FLOWS_V6, |_, flow| flow)?;
        }
        Before::Layout2 => {
            let v4 = |key: &FlowKeyV4, flow: Flow2| flow.converted(key.protocol(), now);
            let v6 = |key: &FlowKeyV6, flow: Flow2| flow.converted(key.protocol(), now);
            from_pins(pins, fresh, names::FLOWS_V4, v4)?;
            from_pins(pins, fresh, names::FLOWS_V6, v6)?;
            tracing::warn!(
                "the agent before kept its connections in layout 2: they are taken along, but those \
                 that begin in these seconds are judged anew"
            );
        }
        Before::Unknown => tracing::warn!(
            "the agent before kept its connections in a layout that this one does not know: open \
             connections are judged anew"
        ),
    }
    Ok(())
}

fn from_pins<K: Pod, V: Pod>(
    pins: &PinDir,
    fresh: &Ebpf,
    name: &'static str,
    convert: impl Fn(&K, V) -> Flow,
) -> Result<(), LoadError> {
    let from = pins.path().join(name);
    if !from.exists() {
        return Ok(());
    }
    let typed = || {
        let from = Map::from_map_data(MapData::from_pin(from)?)?;
        let _: aya::maps::HashMap<&MapData, Abi<K>, Abi<V>> = (&from).try_into()?;
        Ok(from)
    };
    let from = typed().map_err(TableError::of(name))?;
    copy(&from, &mut open(fresh, name)?, name, convert)?;
    Ok(())
}

fn copy<K: Pod, V: Pod>(
    from: &Map,
    to: &mut Hash<K, Flow>,
    name: &'static str,
    convert: impl Fn(&K, V) -> Flow,
) -> Result<(), TableError> {
    let Map::HashMap(data) = from else {
        return Ok(());
    };
    let mut lost = 0usize;
    sys::for_each(data, |key: K, flow: V| {
        let flow = convert(&key, flow);
        lost += usize::from(to.insert(Abi(key), Abi(flow), 0).is_err());
    })
    .map_err(|error| TableError::of(name)(error.into()))?;
    if lost > 0 {
        tracing::warn!("{name}: {lost} flows do not fit in the new table");
    }
    Ok(())
}

/// The flows of two generations while the links move from one to the other: the programs of the new one
/// read and write both tables. Call [`Carry::finish`] when no program of the one before runs any more.
#[must_use = "programs ask two tables until it is finished"]
pub struct Carry {
    v4: (Map, Hash<FlowKeyV4, Flow>),
    v6: (Map, Hash<FlowKeyV6, Flow>),
}

impl Carry {
    /// Opens the tables of a loaded object.
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, PartError> {
        Ok(Self {
            v4: (
                open_untyped(ebpf, names::PREVIOUS_FLOWS_V4)?,
                open(ebpf, names::FLOWS_V4)?,
            ),
            v6: (
                open_untyped(ebpf, names::PREVIOUS_FLOWS_V6)?,
                open(ebpf, names::FLOWS_V6)?,
            ),
        })
    }

    /// Takes along what the programs of the generation before wrote, and has the programs ask only their
    /// own tables. To be called when every link has moved.
    ///
    /// # Errors
    /// The kernel refuses to read or write a table: programs go on with both, and it may be called again.
    pub fn finish(&mut self, tables: &mut TableWriter) -> Result<(), TableError> {
        // While both are asked, a program writes both, and the one before is read first: what is copied
        // here was the truth a moment ago, and a packet that changes it now changes both.
        copy(&self.v4.0, &mut self.v4.1, names::FLOWS_V4, |_, flow| flow)?;
        copy(&self.v6.0, &mut self.v6.1, names::FLOWS_V6, |_, flow| flow)?;
        tables.set_carries(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 0x1_0000_0010;

    fn flow2(phase: u8, last_seen: u32) -> Flow2 {
        Flow2 {
            state: FlowState {
                epoch: 7,
                verdict: Verdict::ALLOW,
                phase,
                opener: FlowState::OPENED_BY_PEER,
                seen: 0,
            },
            last_seen,
            identity: 20,
        }
    }

    #[test]
    fn a_converted_flow_is_as_old_as_it_was() {
        let last_seen = |flow: Flow2| flow.converted(protocol::UDP, NOW).last_seen;
        assert_eq!(last_seen(flow2(0, 0x10)), NOW);
        // Before the low half went round.
        assert_eq!(last_seen(flow2(0, 0xffff_fff0)), NOW - 0x20);
        // Another processor's clock was a little ahead.
        assert_eq!(last_seen(flow2(0, 0x14)), NOW);
    }

    #[test]
    fn a_converted_flow_allows_what_it_allowed() {
        let before = flow2(FlowState::PHASE_ESTABLISHED, 0x10);
        let flow = before.converted(protocol::UDP, NOW);
        assert_eq!((flow.state, flow.identity), (before.state, 20));
        let connection = before.converted(protocol::TCP, NOW);
        let agreed = FlowState::SEEN_ANSWER | FlowState::SEEN_CONFIRMATION;
        assert_eq!(connection.state.seen, agreed);
        let new = flow2(FlowState::PHASE_NEW, 0x10).converted(protocol::TCP, NOW);
        assert_eq!(new.state.seen, 0, "nobody answered yet");
    }

    #[test]
    fn a_converted_flow_to_the_node_is_judged_where_it_arrives() {
        for (opener, identity, verdict, owes) in [
            (
                FlowState::OPENED_BY_POD,
                IdentityId::HOST,
                Verdict::ALLOW,
                true,
            ),
            (
                FlowState::OPENED_BY_POD,
                IdentityId::HOST,
                Verdict::DENY,
                false,
            ),
            (
                FlowState::OPENED_BY_PEER,
                IdentityId::HOST,
                Verdict::ALLOW,
                false,
            ),
            (
                FlowState::OPENED_BY_POD,
                IdentityId(20),
                Verdict::ALLOW,
                false,
            ),
        ] {
            let mut before = flow2(FlowState::PHASE_ESTABLISHED, 0x10);
            before.state.opener = opener;
            before.state.verdict = verdict;
            before.identity = identity.0;
            let after = before.converted(protocol::TCP, NOW).state.verdict;
            assert_eq!((after.is_owed(), after.allows()), (owes, verdict.allows()));
        }
    }
}
