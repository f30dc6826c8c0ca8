//! What a choice of rulesets takes up, down to each element.
//!
//! Identities that all chosen rulesets treat alike are written under one number: rulesets that were
//! not chosen cost nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use policy_common::{IdentityId, PortSetId, RulesetId};

use super::{
    Room, Table,
    rows::{Row, Rows},
    rulesets,
};
use crate::plan::{AddressValue, contents::Contents};

/// A table without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) table: Table,
    /// Elements that it would have to hold.
    pub(super) needed: usize,
}

/// What is there, what is wanted, and how much room there is.
pub(super) struct Question<'a> {
    pub(super) have: &'a Contents,
    pub(super) want: &'a Contents,
    room: &'a Room,
    /// The wanted addresses that have room: those that are there, then the host's, then local pods'.
    pub(super) addresses: Vec<(IpAddr, AddressValue)>,
    /// The others, of each family.
    pub(super) homeless: [Vec<IpAddr>; 2],
    rows: Rows,
    /// Wanted identities, those that are in the tables first.
    identities: Vec<IdentityId>,
    /// Default port sets, also of rulesets that are to go.
    defaults: HashMap<RulesetId, PortSetId>,
}

impl<'a> Question<'a> {
    pub(super) fn new(have: &'a Contents, want: &'a Contents, room: &'a Room) -> Self {
        let there = live(have);
        let mut identities: Vec<_> = live(want).into_iter().collect();
        identities.sort_by_key(|identity| (!there.contains(identity), *identity));
        let mut addresses = Vec::new();
        let homeless = [true, false].map(|is_v4| {
            let own = want.addresses.iter();
            let mut ranked: Vec<_> = own.filter(|(a, _)| a.is_ipv4() == is_v4).collect();
            ranked.sort_by_key(|(address, value)| {
                let is_there = have.addresses.contains_key(address);
                (!is_there, !value.host, value.owner.is_none(), **address)
            });
            let rest = ranked.split_off(ranked.len().min(room.addresses));
            addresses.extend(
                ranked
                    .into_iter()
                    .map(|(address, value)| (*address, *value)),
            );
            rest.into_iter().map(|(address, _)| *address).collect()
        });
        let entries = have.endpoints.values().chain(want.endpoints.values());
        let defaults = entries
            .flat_map(|entry| [entry.ingress, entry.egress])
            .flatten()
            .map(|rules| (rules.ruleset, rules.default_ports))
            .collect();
        Self {
            have,
            want,
            room,
            addresses,
            homeless,
            rows: Rows::new(want),
            identities,
            defaults,
        }
    }

    /// What the rulesets take up beside what is there of those in `staying`.
    pub(super) fn draft(
        &self,
        chosen: &BTreeSet<RulesetId>,
        staying: &BTreeSet<RulesetId>,
    ) -> Draft {
        let mut draft = Draft::beside(self.have, staying);
        for ruleset in chosen {
            for identity in [IdentityId::HOST, IdentityId::SELF, IdentityId::SERVICE] {
                if let Some(ports) = self.want.rules.get(&(*ruleset, identity)) {
                    draft.put(*ruleset, identity, *ports);
                }
            }
            let ports = self.defaults.get(ruleset);
            let ports = ports.filter(|ports| **ports >= PortSetId::FIRST);
            draft.port_sets.extend(ports);
        }
        let mut numbers: HashMap<Row, IdentityId> = HashMap::new();
        for identity in &self.identities {
            let row = self.rows.of(*identity, chosen);
            numbers.entry(row).or_insert(*identity);
        }
        for (net, identity, row) in self.rows.telling(self.want, chosen) {
            let number = numbers.get(&row).copied().unwrap_or(identity);
            draft.cidrs.insert(net, number);
            draft.put_row(number, &row);
        }
        for (_, value) in &self.addresses {
            let identity = value.identity;
            draft.numbers.entry(identity).or_insert_with(|| {
                let row = self.rows.of(identity, chosen);
                let number = numbers.get(&row).filter(|_| !row.is_empty());
                (number.copied().unwrap_or(identity), row)
            });
        }
        self.write_addresses(&mut draft);
        draft.full = self.check(&draft);
        draft
    }

    /// Rules for the identities of addresses, and the port sets that only these name, as far as
    /// there is room: those of identities that are in the tables first.
    fn write_addresses(&self, draft: &mut Draft) {
        let mut waiting: BTreeMap<usize, (IdentityId, Row)> = BTreeMap::new();
        let rank: HashMap<_, _> = self.identities.iter().zip(0..).collect();
        for (number, row) in draft.numbers.values() {
            if let Some(rank) = rank.get(number) {
                waiting.insert(*rank, (*number, row.clone()));
            }
        }
        let mut ports: usize = draft.port_sets.iter().map(|id| self.ports(*id)).sum();
        for (number, row) in waiting.into_values() {
            if number < IdentityId::FIRST {
                continue;
            }
            let keys = row.iter().map(|(ruleset, _)| (*ruleset, number));
            let rules = keys.filter(|key| !draft.rules.contains_key(key)).count();
            let sets: BTreeSet<_> = row.iter().map(|(_, set)| *set).collect();
            let sets = sets.into_iter().filter(|set| draft.lacks(*set));
            let (sets, more) = sets.fold((0, 0), |(sets, ports), set| {
                (sets + 1, ports + self.ports(set))
            });
            let needed = [
                (Table::Rules, draft.rules.len(), rules, self.room.rules),
                (
                    Table::PortSets,
                    draft.port_sets.len(),
                    sets,
                    self.room.port_sets,
                ),
                (Table::Ports, ports, more, self.room.ports),
            ];
            // What is full already, but not by this, is no reason.
            let full = needed
                .into_iter()
                .find(|(_, there, more, room)| *more > 0 && there + more > *room);
            if let Some((table, there, more, _)) = full {
                let needed = there + more;
                draft.nobody.insert(number, Full { table, needed });
                continue;
            }
            ports += more;
            draft.put_row(number, &row);
        }
    }

    fn check(&self, draft: &Draft) -> Option<Full> {
        let ports = draft.port_sets.iter().map(|id| self.ports(*id));
        let cidrs = |is_v4: bool| {
            let there = self.have.cidrs.keys();
            let all: BTreeSet<_> = draft.cidrs.keys().chain(there).collect();
            let own = all.into_iter();
            own.filter(|net| net.addr().is_ipv4() == is_v4).count()
        };
        let room = self.room;
        [
            (Table::Rules, draft.rules.len(), room.rules),
            (Table::PortSets, draft.port_sets.len(), room.port_sets),
            (Table::Ports, ports.sum(), room.ports),
            (Table::CidrsV4, cidrs(true), room.cidrs),
            (Table::CidrsV6, cidrs(false), room.cidrs),
        ]
        .into_iter()
        .find(|(_, needed, room)| needed > room)
        .map(|(table, needed, _)| Full { table, needed })
    }

    /// The table that has no room for everything that is wanted beside what endpoints lead to now.
    pub(super) fn lacks_room_for_all(&self) -> Option<Table> {
        let mut draft = Draft::beside(self.have, &rulesets(self.have));
        for ((ruleset, identity), ports) in &self.want.rules {
            draft.put(*ruleset, *identity, *ports);
        }
        draft.port_sets.extend(self.want.port_sets.keys());
        draft.cidrs.clone_from(&self.want.cidrs);
        let [v4, v6] = &self.homeless;
        let addresses = [(Table::AddressesV4, v4), (Table::AddressesV6, v6)];
        let full = addresses.into_iter().find(|(_, rest)| !rest.is_empty());
        full.map(|(table, _)| table)
            .or(self.check(&draft).map(|full| full.table))
    }

    /// Entries of PORTS.
    fn ports(&self, id: PortSetId) -> usize {
        let set = self.want.port_sets.get(&id);
        let entries = set.or_else(|| self.have.port_sets.get(&id));
        let entries = entries.map_or(0, |entries| entries.len());
        if entries > self.room.inline_ports {
            entries
        } else {
            0
        }
    }
}

/// The elements.
#[derive(Default)]
pub(super) struct Draft {
    /// Rules, with those that are there.
    pub(super) rules: HashMap<(RulesetId, IdentityId), PortSetId>,
    /// Port sets, with those that are there; not the built-in ones.
    pub(super) port_sets: BTreeSet<PortSetId>,
    /// Prefixes of the chosen rulesets.
    pub(super) cidrs: BTreeMap<IpNet, IdentityId>,
    /// The number under which an identity of addresses is written.
    numbers: HashMap<IdentityId, (IdentityId, Row)>,
    /// Numbers whose rules, or the port sets of these, have no room.
    nobody: BTreeMap<IdentityId, Full>,
    pub(super) full: Option<Full>,
}

impl Draft {
    fn beside(have: &Contents, staying: &BTreeSet<RulesetId>) -> Self {
        let mut draft = Self::default();
        for ((ruleset, identity), ports) in &have.rules {
            if staying.contains(ruleset) {
                draft.put(*ruleset, *identity, *ports);
            }
        }
        draft
    }

    fn put(&mut self, ruleset: RulesetId, identity: IdentityId, ports: PortSetId) {
        self.rules.insert((ruleset, identity), ports);
        if self.lacks(ports) {
            self.port_sets.insert(ports);
        }
    }

    /// Whether a port set would be one more.
    fn lacks(&self, ports: PortSetId) -> bool {
        ports >= PortSetId::FIRST && !self.port_sets.contains(&ports)
    }

    fn put_row(&mut self, identity: IdentityId, row: &Row) {
        for (ruleset, ports) in row {
            self.put(*ruleset, identity, *ports);
        }
    }

    /// The number under which an identity is written, or what has no room for it: its addresses
    /// are nobody's.
    pub(super) fn number(&self, identity: IdentityId) -> Result<IdentityId, Table> {
        let number = self
            .numbers
            .get(&identity)
            .map_or(identity, |(number, _)| *number);
        let full = self.nobody.get(&number);
        full.map_or(Ok(number), |full| Err(full.table))
    }

    /// Addresses of how many identities are nobody's for want of rules.
    pub(super) fn nobodies(&self) -> usize {
        self.nobody.len()
    }

    /// What the last of these identities would have needed.
    pub(super) fn lost(&self) -> Option<Full> {
        self.nobody.values().next_back().copied()
    }
}

pub(super) fn live(contents: &Contents) -> BTreeSet<IdentityId> {
    let addresses = contents.addresses.values().map(|value| value.identity);
    contents.cidrs.values().copied().chain(addresses).collect()
}
