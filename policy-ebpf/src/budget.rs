//! The token bucket that keeps drop events from flooding the agent.
//!
//! Invariant: over any time an endpoint earns exactly `rate` events a second, whatever the rate, the
//! kernel's HZ and the intervals between its drops; what finds no room is counted.

use policy_common::EventBudget;

/// How many events an endpoint may write.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Events per second once the burst is used up.
    pub rate: u32,
    /// Events at once.
    pub burst: u32,
    /// Jiffies per second.
    pub hz: u32,
}

impl Allowance {
    /// Credit for the whole burst.
    #[inline(always)]
    const fn full(self) -> u64 {
        self.burst as u64 * self.hz as u64
    }

    /// The credit at `now` (low 32 bits of jiffies).
    #[inline(always)]
    const fn credit(self, budget: &EventBudget, now: u32) -> u64 {
        // Nobody took anything yet.
        if budget.refilled == 0 && budget.credit == 0 {
            return self.full();
        }
        // Each factor has 32 bits, and credit never more than `full`: the sum fits but for its carry.
        let earned = now.wrapping_sub(budget.refilled) as u64 * self.rate as u64;
        let credit = budget.credit.saturating_add(earned);
        if credit > self.full() {
            self.full()
        } else {
            credit
        }
    }

    /// Whether an event would be one too many.
    #[inline(always)]
    pub const fn is_used_up(self, budget: &EventBudget, now: u32) -> bool {
        self.credit(budget, now) < self.hz as u64
    }

    /// Takes one event from the budget: whether there was one.
    #[inline(always)]
    pub const fn take(self, budget: &mut EventBudget, now: u32) -> bool {
        let credit = self.credit(budget, now);
        let pays = credit >= self.hz as u64;
        budget.credit = if pays {
            credit - self.hz as u64
        } else {
            credit
        };
        budget.refilled = now;
        pays
    }
}
