//! Which of the wanted tables fit, and the way there from what is written.
//!
//! Used when a table refused a write: what was written in vain is undone, removals come first, and
//! what does not fit is chosen, not met by chance. Pure: what is there, what is wanted and how much
//! room there is go in, operations come out.
//!
//! The unit is the ruleset with all that it needs: rules for every identity that it tells from
//! others, their port sets, the prefixes of its blocks. An endpoint whose rules do not fit keeps its
//! old ones in a direction where it has some that allow no more, else everything is denied there; it
//! always has an entry. Addresses without room are nobody's: no rule for pods names them.
//!
//! Invariants: at every step a packet is allowed only if the tables before or the wanted ones allow
//! it. At no step does a table hold more than there is room for. Repeated, plans end: with nothing to
//! do, or with tables that are exactly the wanted ones.
//!
//! Rests on what the resolver promises: content never changes under the number of a ruleset or a
//! port set, and every ruleset, also one that is held for an endpoint, has rules for every identity.

mod choice;
mod draft;
mod loss;
mod peak;
mod route;
mod rows;
mod selection;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use policy_common::{Direction, IdentityId, PortSetId, RulesetId};

use self::{choice::Choice, draft::Question, route::Route};
use super::{
    contents::Contents,
    op::{DirectionEntry, EndpointEntry, Op},
};

/// The rules of a direction that does not fit: the built-in ruleset allows the host and the endpoint
/// itself, and lists nobody else.
pub const DENY: DirectionEntry = DirectionEntry {
    ruleset: RulesetId::NONE,
    default_ports: PortSetId::DENY_ALL,
    has_blocks: false,
};

/// How many elements fit, besides what is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// RULES.
    pub rules: usize,
    /// PORT_SETS.
    pub port_sets: usize,
    /// PORTS.
    pub ports: usize,
    /// ADDRESSES_V4, and as many ADDRESSES_V6.
    pub addresses: usize,
    /// CIDRS_V4, and as many CIDRS_V6.
    pub cidrs: usize,
    /// Entries up to which a port set takes no room in PORTS.
    pub inline_ports: usize,
}

impl Room {
    /// What some contents take, where sets of so many entries stand inline.
    pub fn of(contents: &Contents, inline_ports: usize) -> Self {
        let of_families = |all: &mut dyn Iterator<Item = bool>| {
            let [mut v4, mut v6] = [0usize; 2];
            for is_v4 in all {
                *(if is_v4 { &mut v4 } else { &mut v6 }) += 1;
            }
            v4.max(v6)
        };
        let sets = contents.port_sets.values().map(|entries| entries.len());
        Self {
            rules: contents.rules.len(),
            port_sets: contents.port_sets.len(),
            ports: sets.filter(|entries| *entries > inline_ports).sum(),
            addresses: of_families(&mut contents.addresses.keys().map(IpAddr::is_ipv4)),
            cidrs: of_families(&mut contents.cidrs.keys().map(|net| net.addr().is_ipv4())),
            inline_ports,
        }
    }
}

/// What becomes of rules whose successors have no room beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// They go first, and everything is denied meanwhile.
    Now,
    /// There will be room: the old rules stay until then where the new ones take nothing away.
    Patient,
}

/// A table that has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// RULES.
    Rules,
    /// PORT_SETS.
    PortSets,
    /// PORTS.
    Ports,
    /// ADDRESSES_V4.
    AddressesV4,
    /// ADDRESSES_V6.
    AddressesV6,
    /// CIDRS_V4.
    CidrsV4,
    /// CIDRS_V6.
    CidrsV6,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Short {
    /// The rules of one direction of an endpoint.
    Rules {
        /// The endpoint's interface.
        ifindex: u32,
        /// The direction.
        direction: Direction,
        /// The table without room.
        table: Table,
        /// Elements that it would have to hold.
        needed: usize,
        /// Whether the old rules stay; else everything is denied.
        kept: bool,
    },
    /// Addresses, which are nobody's.
    Addresses {
        /// The table without room: RULES, PORT_SETS or PORTS, if there is none for the rules that
        /// name them.
        table: Table,
        /// The first of them.
        first: IpAddr,
        /// How many there are.
        count: usize,
    },
}

/// A plan to what fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Executed in order.
    pub ops: Vec<Op>,
    /// What does not fit.
    pub short: Vec<Short>,
    /// Rulesets that endpoints keep though others are wanted: their numbers, and what they refer
    /// to, must not be used for anything else.
    pub held: BTreeSet<RulesetId>,
    /// The table that has no room for all that is wanted, as it is wanted.
    pub packed: Option<Table>,
    /// The tables are then exactly the wanted ones, so that plans of changes may follow.
    pub is_exact: bool,
}

/// Plans the way from what the tables hold to what fits of the wanted ones. A plan that makes room
/// for more is followed by another one that uses it: call it again until there is nothing to do.
pub fn fit(have: &Contents, want: &Contents, room: &Room, haste: Haste) -> Fit {
    let packed = Question::new(have, want, room).lacks_room_for_all();
    if packed.is_none() {
        return Fit {
            ops: way(have, room, |early| exactly(have, want, early)),
            is_exact: true,
            ..Fit::default()
        };
    }
    let mut route = Route::new(have.clone());
    let nothing = Contents::default();
    route.remove(want, &nothing);
    let choice = Choice::new(route.now(), want, room, haste);
    let stays = draft::live(&choice.target);
    let chosen = |early: &Early| {
        let mut route = route.clone();
        route.let_go(&choice.early);
        let early = early.of(route.now(), &choice.rules);
        route.let_go(&early);
        route.remove(want, &nothing);
        // Rulesets that nobody is led to meanwhile need no rules for what goes.
        let mut rules = choice.rules.clone();
        rules.retain(|(ruleset, identity), _| {
            !early.contains(ruleset) || *identity < IdentityId::FIRST || stays.contains(identity)
        });
        route.commit(&choice.target, &rules);
        route.remove(&choice.target, &nothing);
        route.into_ops()
    };
    Fit {
        ops: way(have, room, chosen),
        short: choice.short,
        held: choice.held,
        packed,
        is_exact: false,
    }
}

/// The way to tables that have room for all that is wanted.
fn exactly(have: &Contents, want: &Contents, early: &Early) -> Vec<Op> {
    let mut route = Route::new(have.clone());
    route.remove(want, want);
    let early = early.of(route.now(), &want.rules);
    if !early.is_empty() {
        route.let_go(&early);
        route.remove(want, want);
    }
    route.commit(want, &want.rules);
    route.remove(want, want);
    route.into_ops()
}

/// Whose rules go before others come, though there is room for both at the end: everything is denied
/// meanwhile. Rules of identities that are numbered anew stand twice else.
#[derive(Clone, Copy, Debug)]
enum Early {
    Nobodys,
    /// Those of rulesets that get rules.
    OfGrowing,
    Everybodys,
}

impl Early {
    fn of(
        self,
        now: &Contents,
        rules: &HashMap<(RulesetId, IdentityId), PortSetId>,
    ) -> BTreeSet<RulesetId> {
        let mut all = rulesets(now);
        match self {
            Self::Nobodys => BTreeSet::new(),
            Self::OfGrowing => {
                let new = rules.keys().filter(|key| !now.rules.contains_key(*key));
                let growing: BTreeSet<_> = new.map(|key| key.0).collect();
                all.retain(|ruleset| growing.contains(ruleset));
                all
            }
            Self::Everybodys => all,
        }
    }
}

/// The first of the ways, the mildest first, that needs no more room than there is.
fn way(have: &Contents, room: &Room, ops: impl Fn(&Early) -> Vec<Op>) -> Vec<Op> {
    let milder = [Early::Nobodys, Early::OfGrowing].iter().map(&ops);
    let mut milder = milder.filter(|ops| peak::has_room(have, ops, room));
    milder.next().unwrap_or_else(|| ops(&Early::Everybodys))
}

/// The rulesets that endpoints lead to.
fn rulesets(contents: &Contents) -> BTreeSet<RulesetId> {
    let entries = contents.endpoints.values();
    let directions = entries.flat_map(|entry| [entry.ingress, entry.egress]);
    let rulesets = directions.flatten().map(|rules| rules.ruleset);
    rulesets.filter(|id| *id != DENY.ruleset).collect()
}

/// The rules of one direction.
fn of(entry: &EndpointEntry, direction: Direction) -> Option<DirectionEntry> {
    match direction {
        Direction::Ingress => entry.ingress,
        Direction::Egress => entry.egress,
    }
}

fn set(entry: &mut EndpointEntry, direction: Direction, rules: DirectionEntry) {
    match direction {
        Direction::Ingress => entry.ingress = Some(rules),
        Direction::Egress => entry.egress = Some(rules),
    }
}
