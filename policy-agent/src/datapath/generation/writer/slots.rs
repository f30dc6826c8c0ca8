//! In which slots of PORT_SETS sets stand.
//!
//! Invariant: a slot is given again only when nothing leads to it.

use aya::maps::MapError;
use policy_common::PortSetId;
use policy_core::plan::Op;

use super::TableWriter;

impl TableWriter {
    /// Says of an operation on port sets in which slots they stand. Returns the slot that is free
    /// when it is executed.
    pub(super) fn place(&mut self, op: &mut Op) -> Result<Option<PortSetId>, MapError> {
        match op {
            Op::PutPortSet(id, _) => *id = self.take_slot(*id)?,
            Op::DeletePortSet(id, _) => {
                *id = self.slot(*id);
                return Ok(Some(*id));
            }
            Op::PutRule(_, _, ports) => *ports = self.slot(*ports),
            Op::PutEndpoint(entry) => {
                let directions = [&mut entry.ingress, &mut entry.egress];
                for rules in directions.into_iter().flatten() {
                    rules.default_ports = self.slot(rules.default_ports);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// The slot of a new port set: that of its number, or the first that is free.
    fn take_slot(&mut self, id: PortSetId) -> Result<PortSetId, MapError> {
        let all = PortSetId::FIRST.0..self.room_for_slots();
        let is_free = |slot: &u32| !self.taken_slots.contains(&PortSetId(*slot));
        let slot = Some(id.0)
            .filter(|slot| all.contains(slot) && is_free(slot))
            .or_else(|| all.clone().find(is_free));
        let slot = slot.ok_or(MapError::OutOfBounds {
            index: id.0,
            max_entries: all.end,
        })?;
        let slot = PortSetId(slot);
        self.slots.insert(id, slot);
        self.taken_slots.insert(slot);
        Ok(slot)
    }

    fn room_for_slots(&self) -> u32 {
        u32::try_from(self.room.port_sets)
            .unwrap_or(u32::MAX)
            .saturating_add(PortSetId::FIRST.0)
    }

    pub(super) fn give_back(&mut self, slot: PortSetId) {
        self.slots.retain(|_, taken| *taken != slot);
        self.taken_slots.remove(&slot);
    }

    /// Where a port set stands.
    fn slot(&self, id: PortSetId) -> PortSetId {
        self.slots.get(&id).copied().unwrap_or(id)
    }
}
