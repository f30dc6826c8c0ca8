//! The address book: everything about an address in one dense record, found by number.
//!
//! Knows nothing of rules. Invariants: an address stands in the book while a pod or the host
//! claims it, or ADDRESSES says something of it; a marked one keeps its number until it is moved.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::{Index, IndexMut, RangeInclusive},
};

use slab::Slab;
use smallvec::SmallVec;

use super::ids::{AddressId, GroupId, PodId};
use crate::plan::AddressValue;

/// One address, in one line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    /// The pods that claim it, the winner first.
    pub(crate) claimants: SmallVec<[PodId; 2]>,
    /// The group of the winner.
    pub(crate) group: Option<GroupId>,
    /// An address of this host.
    pub(crate) host: bool,
    /// To be looked at by the next commit.
    pub(crate) marked: bool,
    /// What ADDRESSES says of it.
    pub(crate) written: Option<AddressValue>,
}

/// All addresses that anything is known of.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    records: Slab<Address>,
    ids: BTreeMap<IpAddr, AddressId>,
    marked: Vec<AddressId>,
}

impl Index<AddressId> for AddressBook {
    type Output = Address;

    fn index(&self, id: AddressId) -> &Address {
        &self.records[id as usize]
    }
}

impl IndexMut<AddressId> for AddressBook {
    fn index_mut(&mut self, id: AddressId) -> &mut Address {
        &mut self.records[id as usize]
    }
}

impl AddressBook {
    /// The number of an address; a new one is entered and must be marked.
    pub(crate) fn enter(&mut self, ip: IpAddr) -> AddressId {
        *self.ids.entry(ip).or_insert_with(|| {
            // Fewer than 2^32 addresses: each takes many bytes of memory.
            self.records.insert(Address {
                ip,
                claimants: SmallVec::new(),
                group: None,
                host: false,
                marked: false,
                written: None,
            }) as AddressId
        })
    }

    pub(crate) fn find(&self, ip: IpAddr) -> Option<&Address> {
        self.ids.get(&ip).map(|&id| &self[id])
    }

    /// Marks an address.
    pub(crate) fn mark(&mut self, id: AddressId) {
        let record = &mut self.records[id as usize];
        if !record.marked {
            record.marked = true;
            self.marked.push(id);
        }
    }

    /// Marks the addresses in a range of which ADDRESSES says something.
    pub(crate) fn mark_written(&mut self, range: RangeInclusive<IpAddr>) {
        for (_, &id) in self.ids.range(range) {
            let record = &mut self.records[id as usize];
            if record.written.is_some() && !record.marked {
                record.marked = true;
                self.marked.push(id);
            }
        }
    }

    /// The addresses of which ADDRESSES says such a thing.
    pub(crate) fn written_as(&self, is_it: impl Fn(AddressValue) -> bool) -> Vec<AddressId> {
        let records = self.records.iter();
        records
            .filter(|(_, record)| record.written.is_some_and(&is_it))
            .map(|(id, _)| id as AddressId)
            .collect()
    }

    pub(crate) fn is_unmarked(&self) -> bool {
        self.marked.is_empty()
    }

    /// Whether every address is marked, as at the first commit.
    pub(crate) fn is_all_marked(&self) -> bool {
        self.marked.len() == self.records.len()
    }

    /// Takes the list of marked addresses; each must be [moved](AddressBook::write).
    pub(crate) fn take_marked(&mut self) -> Vec<AddressId> {
        std::mem::take(&mut self.marked)
    }

    /// Records what ADDRESSES says of an address from now on; returns what it said. The address is
    /// not marked any more, and forgotten when nothing is known of it.
    pub(crate) fn write(
        &mut self,
        id: AddressId,
        after: Option<AddressValue>,
    ) -> Option<AddressValue> {
        let record = &mut self.records[id as usize];
        record.marked = false;
        let before = std::mem::replace(&mut record.written, after);
        if after.is_none() && record.claimants.is_empty() && !record.host {
            self.ids.remove(&record.ip);
            self.records.remove(id as usize);
        }
        before
    }

    /// What ADDRESSES says, in the order of the addresses.
    pub(crate) fn written(&self) -> impl Iterator<Item = (IpAddr, AddressValue)> {
        let known = self.ids.iter();
        known.filter_map(|(&ip, &id)| Some((ip, self[id].written?)))
    }
}
