//! Packets that are dropped, and what telling about them costs.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use policy_common::{Config, Direction, Reason};

use super::{
    Bench, DENIED, NAME, UNIT, case::Case, case::Paths, frames, frames::Family, hot::parameters,
    opening::QUIET, scene::Cluster, scene::SHUT, scene::Scene, scene::Subject,
};
use crate::{interleave::Rounds, report::Figure, summary::Summary};

const PEERS: u32 = 10;
/// Events of a run, which must all have room in the ring.
const EVENTS: u32 = 8_192;
/// For the reader to take the last events of a run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every drop of a run is told, whatever ran before. A rate of zero would never fill the bucket.
const TELLING: Config = Config {
    event_rate: 1,
    event_burst: 1 << 30,
    ..Config::DEFAULT
};

pub(super) fn denied(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(DENIED) {
        return Ok(());
    }
    let mut quiet = Scene::new(Cluster::of_peers(PEERS), QUIET)?;
    let mut telling = Scene::new(Cluster::of_peers(PEERS), TELLING)?;
    for family in Family::ALL {
        for direction in [Direction::Ingress, Direction::Egress] {
            let case = refused(family, direction);
            let mut parameters = parameters(family, direction);
            parameters.push("event", "suppressed");
            bench.measure(DENIED, &parameters, &case, &mut quiet, Some(40.0))?;
            let events = quiet.datapath.read_events(usize::MAX).len();
            ensure!(
                events <= bench.rounds().count,
                "{events} events instead of one per second"
            );
        }
        for (event, bar) in [("written", Some(65.0)), ("read", None)] {
            let direction = Direction::Ingress;
            let rounds = Rounds {
                repeat: bench.rounds().repeat.min(EVENTS),
                ..bench.rounds()
            };
            let case = refused(family, direction);
            bench.report.expect(1);
            let summary = if event == "written" {
                unread(&case, &mut telling, rounds)
            } else {
                read(&case, &mut telling, rounds)
            }
            .with_context(|| format!("{DENIED} event={event}"))?;
            let figure = Figure::of(NAME, DENIED, UNIT, summary)
                .with_all(&parameters(family, direction))
                .with("event", event)
                .at_most(bar);
            bench.report.add(figure);
        }
    }
    Ok(())
}

fn refused(family: Family, direction: Direction) -> Case {
    let ends = match direction {
        Direction::Ingress => Subject::Isolated.called(family, SHUT),
        Direction::Egress => Subject::Isolated.calling(family, SHUT),
    };
    let frame = frames::syn(ends, direction);
    Case::hot(Subject::Isolated, direction, frame, Reason::Policy)
}

/// Every packet writes an event; they are read between the runs.
fn unread(case: &Case, scene: &mut Scene, rounds: Rounds) -> Result<Summary> {
    case.measure_with(scene, rounds, |scene| {
        let events = scene.datapath.read_events(usize::MAX).len();
        ensure!(
            events == rounds.repeat as usize,
            "{events} events of {} packets",
            rounds.repeat
        );
        Ok(())
    })
}

/// Every packet writes an event, which another thread reads at once.
fn read(case: &Case, scene: &mut Scene, rounds: Rounds) -> Result<Summary> {
    let (pair, _dealers) = case.pair(scene)?;
    let paths = Paths::read(&scene.datapath)?;
    let (stop, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    let summary = thread::scope(|scope| {
        let datapath = &mut scene.datapath;
        let (stop, seen) = (&stop, &seen);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_add(datapath.read_events(usize::MAX).len(), Ordering::Relaxed);
            }
        });
        let mut written = 0;
        let summary = Case::compare(&pair, rounds, || {
            written += rounds.repeat as usize;
            arrive(seen, written)
        });
        stop.store(true, Ordering::Relaxed);
        summary
    })?;
    case.check(&paths, &scene.datapath, rounds)?;
    Ok(summary)
}

/// Waits for the reader, which must not miss an event.
fn arrive(seen: &AtomicUsize, written: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while seen.load(Ordering::Relaxed) < written {
        if Instant::now() > deadline {
            bail!("{seen:?} of {written} events were read");
        }
        // The measuring thread may hold the only processor.
        thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}
