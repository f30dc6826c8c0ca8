//! Learns the kernel's HZ: how many jiffies make a second.
//!
//! `sysconf` answers with the unit of user space, and a kernel's configuration is not always there
//! to read; so the object's `jiffies` program is run and compared with the time since the kernel's
//! start, and where that leaves a doubt run again some time later. The answer cannot change while the
//! kernel runs.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use aya::{
    EbpfLoader,
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions},
};
use nix::time::{ClockId, clock_gettime};
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
/// Seconds for which jiffies count up to zero.
const BEFORE_ZERO: u32 = 300;
/// Seconds by which jiffies and the clock may be apart: ticks are lost while a kernel starts.
const TOLERANCE: u32 = 3;
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
    let since_start = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .ok()
        .map(Duration::from);
    if let Some(hz) = since_start.and_then(|since| fitting(first, since)) {
        return Ok(hz);
    }
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

/// The only choice of which a kernel counts so many jiffies in this time: they begin with
/// `INITIAL_JIFFIES` (linux/jiffies.h), five minutes before they are zero. `None` when none or several
/// fit, as they do around that moment.
fn fitting(jiffies: u32, since_start: Duration) -> Option<u32> {
    let fits = |hz: &u32| {
        let counted = since_start.as_nanos() * u128::from(*hz) / 1_000_000_000;
        let expected = (counted as u32).wrapping_sub(BEFORE_ZERO * hz);
        let apart = jiffies.wrapping_sub(expected).cast_signed().unsigned_abs();
        apart <= TOLERANCE * hz
    };
    let mut fitting = CHOICES.into_iter().filter(fits);
    fitting.next().filter(|_| fitting.next().is_none())
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
    fn the_time_since_the_start_tells_unless_several_choices_fit() {
        let counted = |hz: u32, seconds: u32| (seconds * hz).wrapping_sub(BEFORE_ZERO * hz);
        let since = |seconds: u32| Duration::from_secs(seconds.into());
        for hz in CHOICES {
            for seconds in [60, 3_600, 1_000_000] {
                let jiffies = counted(hz, seconds);
                for apart in [0, hz, hz.wrapping_neg()] {
                    let jiffies = jiffies.wrapping_add(apart);
                    assert_eq!(fitting(jiffies, since(seconds)), Some(hz), "{seconds} s");
                }
                assert_eq!(fitting(jiffies.wrapping_add(10 * hz), since(seconds)), None);
            }
            assert_eq!(fitting(counted(hz, 300), since(300)), None);
        }
    }

    #[test]
    fn a_late_wake_up_does_not_change_the_answer() {
        assert_eq!(nearest(500, Duration::from_secs(2)), 250);
        assert_eq!(nearest(2_001, Duration::from_secs(2)), 1_000);
    }
}
