//! Learns the kernel's HZ: how many jiffies make a second.
//!
//! `sysconf` answers with the unit of user space, and a kernel's configuration is not always there
//! to read; so the object's `jiffies` program is run twice and compared with the clock. The answer
//! cannot change while the kernel runs.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use aya::{
    EbpfLoader,
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions},
};
use policy_common::names;

/// HZ could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum HzError {
    /// The object could not be loaded.
    #[error("loading the eBPF object")]
    Object(#[from] aya::EbpfError),
    /// The object has no program that reads jiffies.
    #[error("the eBPF object has no program {}", names::JIFFIES)]
    MissingProgram,
    /// The program could not be loaded or run.
    #[error("program {}", names::JIFFIES)]
    Program(#[from] ProgramError),
}

/// What kernels are built with.
const CHOICES: [u32; 4] = [100, 250, 300, 1_000];
/// Long enough to tell 250 from 300 with one jiffy of error at either end.
const WINDOW: Duration = Duration::from_millis(150);
/// The smallest packet that a test run takes: an Ethernet header.
const PACKET: [u8; 14] = [0; 14];

/// Measures once and remembers. `sized` names the maps whose size can be chosen.
pub(crate) fn measure(
    object: &[u8],
    sized: impl Iterator<Item = &'static str>,
) -> Result<u32, HzError> {
    static HZ: OnceLock<u32> = OnceLock::new();
    if let Some(hz) = HZ.get() {
        return Ok(*hz);
    }
    let hz = run(object, sized)?;
    Ok(*HZ.get_or_init(|| hz))
}

fn run(object: &[u8], sized: impl Iterator<Item = &'static str>) -> Result<u32, HzError> {
    let mut loader = EbpfLoader::new();
    // The maps are not used: as small as the kernel makes them.
    for name in sized {
        loader.map_max_entries(name, 1);
    }
    loader.map_max_entries(names::FRAGMENTS, 1);
    let mut ebpf = loader.load(object)?;
    let program: &mut SchedClassifier = ebpf
        .program_mut(names::JIFFIES)
        .ok_or(HzError::MissingProgram)?
        .try_into()?;
    program.load()?;
    let (first, began) = (jiffies(program)?, Instant::now());
    thread::sleep(WINDOW);
    let (last, elapsed) = (jiffies(program)?, began.elapsed());
    Ok(nearest(last.wrapping_sub(first), elapsed))
}

/// The low half of jiffies.
pub(crate) fn jiffies(program: &SchedClassifier) -> Result<u32, ProgramError> {
    let result = program.test_run(TestRunOptions {
        data_in: Some(&PACKET),
        ..TestRunOptions::default()
    })?;
    Ok(result.return_value)
}

/// The choice whose ratio to what was measured is closest to one.
fn nearest(jiffies: u32, elapsed: Duration) -> u32 {
    let measured = f64::from(jiffies) / elapsed.as_secs_f64();
    let distance = |choice: &u32| (measured.max(1.0) / f64::from(*choice)).ln().abs();
    CHOICES
        .into_iter()
        .min_by(|one, other| distance(one).total_cmp(&distance(other)))
        .unwrap_or(policy_common::Config::DEFAULT.hz)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_jiffy_of_error_does_not_change_the_answer() {
        for hz in CHOICES {
            let exact = hz * 150 / 1_000;
            for jiffies in [exact - 1, exact, exact + 1] {
                assert_eq!(nearest(jiffies, WINDOW), hz, "{jiffies} jiffies at {hz}");
            }
        }
    }

    #[test]
    fn a_late_wake_up_does_not_change_the_answer() {
        assert_eq!(nearest(500, Duration::from_secs(2)), 250);
        assert_eq!(nearest(2_001, Duration::from_secs(2)), 1_000);
    }
}
