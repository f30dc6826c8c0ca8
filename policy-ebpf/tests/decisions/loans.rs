//! What is lent to processors, so that most new flows need no lock, makes nobody's share smaller and
//! nobody's limit wider, whatever they do in turn.

use std::collections::{BTreeMap, BTreeSet};

use policy_common::{Credit, FlowCounts, FlowState};
use policy_ebpf::flows::shares::{
    self, Bounds, Charge, NOTHING, charge, lend, release, settle, side, spend,
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
    /// The rings: which flow is where.
    rings: BTreeMap<(usize, u8, u32), u32>,
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
            rings: BTreeMap::new(),
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
            if charge.is_taken() {
                lend(counts, opener, &bounds, credit);
            }
            self.taken = self.taken.wrapping_add_signed(granted);
            charge
        } else {
            Charge(slot.into())
        };
        if charge.is_taken() {
            self.number += 1;
            self.flows.insert(self.number, (endpoint, opener));
            let place = (endpoint, opener, charge.slot());
            self.rings.insert(place, self.number);
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

    /// As a sweep does: what was lent is void, and the counts are those of the flows.
    fn sweep(&mut self) {
        for endpoint in 0..ENDPOINTS {
            let real = SIDES.map(|opener| self.held(endpoint, opener));
            let counts = &mut self.counts[endpoint];
            counts.lent = 0;
            counts.era += 1;
            [counts.pod.live, counts.peer.live] = real;
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
                let slots = model.counts[0].peer.slots;
                prop_assert!(charge.slot() < slots);
            }
        }
        let remembered: BTreeSet<u32> = model.rings.values().copied().collect();
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
    let slot = model.open(1, 0, SIDES[0]).slot();
    assert_ne!(slot, lent.next);
    model.check();
}
