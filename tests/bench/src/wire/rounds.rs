//! Rounds: one sample of each world after the other, again and again.
//!
//! What disturbs the machine for a while disturbs all worlds alike; each sample is compared with
//! that of the same round. Invariant: every round has a sample of every world.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::summary::Summary;

/// Operations that were done to learn how many fit into a sample.
const TRIAL: usize = 32;

/// How long measuring takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Samples of each world.
    pub(super) rounds: usize,
    /// About how long a sample takes.
    pub(super) sample: Duration,
    /// Most operations in one sample.
    pub(super) most: usize,
}

/// Nanoseconds per operation, by world and round; `measure` does so many operations in a world.
pub(super) fn measure<W>(
    worlds: &mut [W],
    effort: Effort,
    mut measure: impl FnMut(&mut W, usize) -> Result<Duration>,
) -> Result<Vec<Vec<f64>>> {
    let mut counts = Vec::new();
    for world in worlds.iter_mut() {
        measure(world, TRIAL)?;
        let one = per(measure(world, TRIAL)?, TRIAL);
        let fitting = effort.sample.as_nanos() as f64 / one;
        counts.push((fitting as usize).clamp(TRIAL, effort.most));
    }
    let mut samples = vec![Vec::new(); worlds.len()];
    for round in 0..effort.rounds {
        for place in 0..worlds.len() {
            // Nobody is always the first.
            let number = (round + place) % worlds.len();
            let (world, count) = (&mut worlds[number], counts[number]);
            samples[number].push(per(measure(world, count)?, count));
        }
    }
    Ok(samples)
}

/// Each sample compared with that of the base in the same round; as the lowest, the lowest of both:
/// what an undisturbed machine would show.
pub(super) fn against(
    samples: &[f64],
    base: &[f64],
    compare: impl Fn(f64, f64) -> f64,
) -> Result<Summary> {
    let pairs = samples.iter().zip(base);
    let compared: Vec<f64> = pairs
        .map(|(sample, base)| compare(*sample, *base))
        .collect();
    let least = |samples: &[f64]| samples.iter().copied().fold(f64::MAX, f64::min);
    let summary = Summary::of(&compared).context("no samples")?;
    Ok(Summary {
        min: compare(least(samples), least(base)),
        p99: None,
        ..summary
    })
}

fn per(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}
