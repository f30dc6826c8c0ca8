//! What is lent to processors, so that most new flows need no lock, makes nobody's share smaller and
//! nobody's limit wider, whatever they do in turn.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use policy_common::{
    Chunk, Credit, EndpointId, FlowCounts, FlowState,
    shares::{CHUNK_SLOTS, FIRST_SLOTS},
};
use policy_ebpf::flows::{
    blocks::{self, Blocks, NOWHERE},
    shares::{self, Bounds, Charge, NOTHING, charge, cut, lend, release, settle, side, spend},
};
use proptest::{collection::vec, prelude::*};

const SIDES: [u8; 2] = [FlowState::OPENED_BY_POD, FlowState::OPENED_BY_PEER];
const ENDPOINTS: usize = 3;

/// Some endpoints, and what each processor was lent of each side.
struct Model {
    own: u32,
    grant: u32,
    limit: u32,
    shared: u32,
    taken: u32,
    counts: [FlowCounts; ENDPOINTS],
    credits: Vec<[[Credit; 2]; ENDPOINTS]>,
    /// Flows by number: whose.
    flows: BTreeMap<u32, (usize, u8)>,
    /// RECENT: which flow is where.
    recent: BTreeMap<u32, u32>,
    owners: Owners,
    number: u32,
}

impl Model {
    fn new(processors: usize, own: u32, limit: u32) -> Self {
        Self {
            own,
            grant: 8,
            limit,
            shared: 160,
            taken: 0,
            counts: Default::default(),
            credits: vec![Default::default(); processors],
            flows: BTreeMap::new(),
            recent: BTreeMap::new(),
            owners: Owners(vec![Chunk::NONE; 64].into()),
            number: 0,
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            limit: self.limit,
            own: self.own,
            free: shares::free(self.shared, self.taken),
            grant: self.grant,
        }
    }

    /// A processor wants one flow more, as the programs do it.
    fn open(&mut self, processor: usize, endpoint: usize, opener: u8) -> Charge {
        let bounds = self.bounds();
        let counts = &mut self.counts[endpoint];
        let credit = &mut self.credits[processor][endpoint][usize::from(opener)];
        let (era, laps) = (counts.era, side(counts, opener).laps);
        let slot = spend(credit, era, laps);
        let charge = if slot == NOTHING {
            settle(counts, opener, credit);
            let (charge, granted) = charge(counts, opener, &bounds);
            self.taken = self.taken.wrapping_add_signed(granted);
            if !charge.is_taken() {
                return charge;
            }
            lend(counts, opener, &bounds, credit);
            let id = EndpointId(endpoint as u16 + 1);
            let place = blocks::place_or_claim(&self.owners, id, opener, charge.place());
            if place == NOWHERE {
                cut(side(counts, opener), charge.place());
            } else {
                credit.next = place + 1;
            }
            Charge(place.into())
        } else {
            Charge(slot.into())
        };
        self.number += 1;
        self.flows.insert(self.number, (endpoint, opener));
        if charge.place() != NOWHERE {
            assert_eq!(self.owners.whose(charge.place()), (endpoint, opener));
            self.recent.insert(charge.place(), self.number);
        }
        charge
    }

    fn close(&mut self, any: usize) {
        let Some(number) = self
            .flows
            .keys()
            .nth(any % self.flows.len().max(1))
            .copied()
        else {
            return;
        };
        let Some((endpoint, opener)) = self.flows.remove(&number) else {
            return;
        };
        let granted = release(&mut self.counts[endpoint], opener, self.own, self.grant);
        self.taken = self.taken.wrapping_add_signed(granted);
    }

    /// As a sweep does: what was lent is void, the counts are those of the flows, and blocks behind the ends
    /// of rings are nobody's.
    fn sweep(&mut self) {
        for endpoint in 0..ENDPOINTS {
            let real = SIDES.map(|opener| self.held(endpoint, opener));
            let counts = &mut self.counts[endpoint];
            counts.lent = 0;
            counts.era += 1;
            [counts.pod.live, counts.peer.live] = real;
        }
        for owner in self.owners.0.borrow_mut().iter_mut() {
            let Some(counts) = (owner.endpoint().0 as usize)
                .checked_sub(1)
                .map(|endpoint| &mut self.counts[endpoint])
            else {
                continue;
            };
            if owner.number() > blocks::chunks(side(counts, owner.opener()).slots) {
                *owner = Chunk::NONE;
            }
        }
    }

    fn held(&self, endpoint: usize, opener: u8) -> u32 {
        let flows = self.flows.values();
        flows.filter(|whose| **whose == (endpoint, opener)).count() as u32
    }

    fn check(&self) {
        let mut granted = 0;
        for (endpoint, counts) in self.counts.iter().enumerate() {
            let mut lent = 0;
            for opener in SIDES {
                let credits = self.credits.iter();
                let current: Vec<Credit> = credits
                    .map(|credits| credits[endpoint][usize::from(opener)])
                    .filter(|credit| credit.era == counts.era)
                    .collect();
                let left: u32 = current.iter().map(|credit| u32::from(credit.left)).sum();
                lent += current
                    .iter()
                    .map(|credit| u32::from(credit.lent))
                    .sum::<u32>();
                let live = side(&mut counts.clone(), opener).live;
                assert_eq!(live, self.held(endpoint, opener) + left);
                assert!(live <= self.limit);
            }
            assert_eq!(counts.lent, lent);
            assert!(lent <= counts.granted);
            assert!(counts.pod.live + counts.peer.live <= self.own + counts.granted);
            granted += counts.granted;
        }
        assert_eq!(self.taken, granted);
        assert!(granted <= self.shared);
    }

    /// An endpoint is refused only when its flows have used up what is its own.
    fn check_refusal(&self, endpoint: usize, opener: u8, charge: Charge) {
        let held = self.held(endpoint, opener);
        match charge {
            Charge::LIMIT => assert!(held >= self.limit - self.limit / 16, "{held}"),
            Charge::SHARE => {
                let all: u32 = SIDES.map(|opener| self.held(endpoint, opener)).iter().sum();
                assert!(all >= self.own, "{all} of its own {}", self.own);
            }
            _ => {}
        }
    }
}

/// RECENT_BLOCKS.
struct Owners(RefCell<Vec<Chunk>>);

impl Owners {
    /// The endpoint and the side in whose ring a place is.
    fn whose(&self, place: u32) -> (usize, u8) {
        let owners = self.0.borrow();
        match owners.get((place / CHUNK_SLOTS) as usize) {
            Some(chunk) => (usize::from(chunk.endpoint().0) - 1, chunk.opener()),
            None => {
                let side = (place - self.count() * CHUNK_SLOTS) / FIRST_SLOTS;
                (side as usize / 2 - 1, (side % 2) as u8)
            }
        }
    }
}

impl Blocks for Owners {
    fn count(&self) -> u32 {
        self.0.borrow().len() as u32
    }

    fn owner(&self, block: u32) -> Chunk {
        let owners = self.0.borrow();
        owners
            .get(block as usize)
            .copied()
            .unwrap_or(Chunk(u64::MAX))
    }

    fn claim(&self, block: u32, chunk: Chunk) -> bool {
        let owner = &mut self.0.borrow_mut()[block as usize];
        let is_nobodys = *owner == Chunk::NONE;
        if is_nobodys {
            *owner = chunk;
        }
        is_nobodys
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize, usize, u8),
    Close(usize),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let open = (0..64usize, 0..ENDPOINTS, 0..2u8)
        .prop_map(|(processor, endpoint, opener)| Step::Open(processor, endpoint, opener));
    let step = prop_oneof![
        12 => open,
        6 => (0..1_000usize).prop_map(Step::Close),
        1 => Just(Step::Sweep),
    ];
    vec((step, 1..30usize), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_exact_and_shares_kept_for_many_processors(
        processors in 1..9usize,
        own in 0..40u32,
        limit in prop_oneof![1..40u32, 64..400u32],
        steps in steps(),
    ) {
        let mut model = Model::new(processors, own, limit);
        for (step, times) in steps {
            for time in 0..times {
                match step {
                    Step::Open(processor, endpoint, opener) => {
                        let charge = model.open((processor + time) % processors, endpoint, opener);
                        model.check_refusal(endpoint, opener, charge);
                    }
                    Step::Close(any) => model.close(any + time),
                    Step::Sweep => model.sweep(),
                }
                model.check();
            }
        }
    }

    #[test]
    fn of_a_flood_by_many_processors_the_ring_loses_no_flow(
        processors in 1..9usize,
        order in vec((0..64usize, 1..20usize), 1..60),
    ) {
        let mut model = Model::new(processors, 10, 4_096);
        model.shared = 4_096;
        for (processor, times) in order {
            for _ in 0..times {
                let charge = model.open(processor % processors, 0, SIDES[1]);
                prop_assert!(charge.is_taken());
                prop_assert_ne!(charge.place(), NOWHERE);
            }
        }
        let remembered: BTreeSet<u32> = model.recent.values().copied().collect();
        prop_assert_eq!(remembered.len(), model.flows.len());
    }
}

#[test]
fn one_processor_reaches_its_limit_exactly() {
    for limit in [1, 16, 17, 100, 160] {
        let mut model = Model::new(4, 0, limit);
        for _ in 0..limit {
            assert!(model.open(2, 1, SIDES[0]).is_taken());
        }
        assert_eq!(model.open(2, 1, SIDES[0]), Charge::LIMIT);
        model.check();
    }
}

#[test]
fn what_was_lent_before_the_ring_came_round_names_no_slot_of_it() {
    let mut model = Model::new(2, 10, 4_096);
    model.shared = 4_096;
    let grows = |model: &mut Model| {
        for _ in 0..200 {
            assert!(model.open(0, 0, SIDES[0]).is_taken());
        }
    };
    grows(&mut model);
    assert!(model.open(1, 0, SIDES[0]).is_taken());
    let lent = model.credits[1][0][0];
    assert_ne!(lent.left, 0);
    for any in 0..150 {
        model.close(any);
    }
    // Until the ring was filled anew.
    grows(&mut model);
    grows(&mut model);
    assert_ne!(model.counts[0].pod.laps, lent.laps);
    let place = model.open(1, 0, SIDES[0]).place();
    assert_ne!(place, lent.next);
    model.check();
}

#[test]
fn two_rings_never_share_a_block_and_find_theirs_again() {
    let owners = Owners(vec![Chunk::NONE; 200].into());
    let mut places = BTreeMap::new();
    for slot in 0..1_000 {
        for (endpoint, opener) in [(1, 0), (1, 1), (2, 0)] {
            let ring = (EndpointId(endpoint), opener);
            let place = blocks::place_or_claim(&owners, ring.0, ring.1, slot);
            assert_ne!(place, NOWHERE, "slot {slot}");
            assert_eq!(places.insert(place, (endpoint, opener, slot)), None);
        }
    }
    // Whatever was given back before it, a chunk is where it was.
    let taken = owners.0.borrow().clone();
    for (block, chunk) in taken.iter().enumerate() {
        if chunk.endpoint() == EndpointId(1) {
            owners.0.borrow_mut()[block] = Chunk::NONE;
        }
    }
    for (place, (endpoint, opener, slot)) in places {
        if endpoint == 2 {
            assert_eq!(blocks::place(&owners, EndpointId(2), opener, slot), place);
            assert_eq!(
                blocks::place_or_claim(&owners, EndpointId(2), opener, slot),
                place
            );
        } else if slot >= FIRST_SLOTS {
            assert_eq!(blocks::place(&owners, EndpointId(1), opener, slot), NOWHERE);
        }
    }
}

#[test]
fn a_chunk_that_two_processors_gave_a_block_each_has_one() {
    let owners = Owners(vec![Chunk::NONE; 64].into());
    let place = blocks::place_or_claim(&owners, EndpointId(1), 0, FIRST_SLOTS);
    let chunk = owners.owner(place / CHUNK_SLOTS);
    // The other one was faster.
    assert!(owners.claim(place / CHUNK_SLOTS + 1, chunk));
    assert_eq!(blocks::find(&owners, chunk), place / CHUNK_SLOTS);
    assert_eq!(
        blocks::place_or_claim(&owners, EndpointId(1), 0, FIRST_SLOTS),
        place
    );
}

#[test]
fn where_no_block_is_left_the_first_slots_of_every_ring_still_have_places() {
    for count in [0, 1, 5] {
        let owners = Owners(vec![Chunk::NONE; count].into());
        let places: Vec<u32> = (0..FIRST_SLOTS + 6 * CHUNK_SLOTS)
            .map(|slot| blocks::place_or_claim(&owners, EndpointId(1), 1, slot))
            .filter(|place| *place != NOWHERE)
            .collect();
        let all = FIRST_SLOTS + count as u32 * CHUNK_SLOTS;
        assert_eq!(places.len() as u32, all, "{count} blocks");
        assert!(places.iter().collect::<BTreeSet<_>>().len() == places.len());
    }
}
