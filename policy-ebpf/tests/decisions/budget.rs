//! How many drops become events.

use policy_common::EventBudget;
use policy_ebpf::budget::Allowance;

/// Events that an endpoint writes in these seconds when it drops a packet at each jiffy.
fn written(allowance: Allowance, seconds: u32, start: u32) -> u32 {
    let mut budget = EventBudget::default();
    let moments = (0..seconds * allowance.hz).map(|jiffy| start.wrapping_add(jiffy));
    moments
        .map(|now| u32::from(allowance.take(&mut budget, now)))
        .sum()
}

#[test]
fn every_rate_is_earned_exactly() {
    for hz in [100, 250, 300, 1_000] {
        for rate in [1, 3, 7, 10, 99, 100] {
            let allowance = Allowance {
                rate,
                burst: 50,
                hz,
            };
            let seconds = 60;
            // The last jiffy is not over.
            let earned = 50 + (u64::from(seconds * hz - 1) * u64::from(rate) / u64::from(hz));
            // And there is one drop each.
            let most = earned.min(u64::from(seconds * hz));
            let got = u64::from(written(allowance, seconds, 1));
            assert_eq!(got, most, "rate {rate} at {hz} Hz");
        }
    }
}

#[test]
fn the_highest_rates_do_not_wrap() {
    for rate in [67_109, 100_000, u32::MAX] {
        for burst in [1, 50, u32::MAX] {
            let allowance = Allowance {
                rate,
                burst,
                hz: 1_000,
            };
            let mut budget = EventBudget::default();
            assert!(allowance.take(&mut budget, 1));
            // Any time later, also when the clock went round, there is at least one.
            for now in [2, 1_000, 64_000, u32::MAX, 5] {
                assert!(!allowance.is_used_up(&budget, now), "{rate} {burst} {now}");
                assert!(allowance.take(&mut budget, now), "{rate} {burst} {now}");
            }
        }
    }
}

#[test]
fn the_clock_may_go_round() {
    let allowance = Allowance {
        rate: 10,
        burst: 5,
        hz: 250,
    };
    assert_eq!(
        written(allowance, 20, 1),
        written(allowance, 20, u32::MAX - 1_000)
    );
}

#[test]
fn what_is_used_up_is_what_cannot_be_taken() {
    let allowance = Allowance {
        rate: 3,
        burst: 2,
        hz: 250,
    };
    let mut budget = EventBudget::default();
    for now in 1..2_000 {
        let is_used_up = allowance.is_used_up(&budget, now);
        assert_eq!(allowance.take(&mut budget, now), !is_used_up);
    }
}

#[test]
fn a_rate_of_zero_leaves_the_burst() {
    let allowance = Allowance {
        rate: 0,
        burst: 4,
        hz: 250,
    };
    assert_eq!(written(allowance, 100, 1), 4);
}
