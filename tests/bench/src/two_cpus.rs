//! Group `two_cpus`: whether two processors get twice as much done as one.
//!
//! The same workload runs on one processor, then on both at once, each with packets of its own:
//! what they share are the programs and the tables. The figure is what both do together over what
//! one does, by the costs above the empty program: 2 is perfect.

use std::{sync::Barrier, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use policy_common::Direction;

use crate::{
    cpu, cpu::Pinned, datapath::Case, datapath::Cluster, datapath::Family, datapath::Flows,
    datapath::Paths, datapath::QUIET, datapath::Scene, datapath::Strangers, group::Group,
    interleave::Pair, interleave::Rounds, options::Options, report::Figure, report::Report,
    summary::Summary,
};

pub(crate) const GROUP: Group = Group {
    name: NAME,
    cases: &[ESTABLISHED, EVALUATE, INSERT],
    run,
};

const NAME: &str = "two_cpus";
const ESTABLISHED: &str = "established";
const EVALUATE: &str = "evaluate";
const INSERT: &str = "insert";

const PEERS: u32 = 100;
const DIRECTION: Direction = Direction::Ingress;
/// One processor more than one.
const BOTH: usize = 2;

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let cpus = cpu::available()?;
    let cpus = cpus
        .last_chunk::<BOTH>()
        .context("this machine has one processor")?;
    let mut scene = Scene::new(Cluster::of_peers(PEERS), QUIET)?;
    let rounds = options.pick(
        Rounds {
            count: 41,
            repeat: 16_384,
        },
        Rounds {
            count: 9,
            repeat: 4_096,
        },
    );
    for family in Family::ALL {
        for case in GROUP.cases {
            if !options.wants(NAME, case) {
                continue;
            }
            // Neither a flow nor a processor's share of them may be left from another case.
            let _flows = match *case {
                ESTABLISHED => Some(Flows::establish(&mut scene, family, PER_PEER)?),
                _ => None,
            };
            let shares = shares(case, family);
            report.expect(1);
            let summary = scale(&mut scene, &shares, cpus, rounds)
                .with_context(|| format!("{case} {}", family.name()))?;
            scene.forget_flows()?;
            report.add(Figure::of(NAME, case, "×", summary).with("family", family.name()));
        }
    }
    Ok(())
}

/// Flows of each peer: 10,000 in all.
const PER_PEER: u32 = 100;

/// What each processor does.
fn shares(case: &str, family: Family) -> [Case; BOTH] {
    let strangers = Strangers {
        family,
        direction: DIRECTION,
        count: PEERS,
        in_blocks: false,
    };
    match case {
        ESTABLISHED => [(); BOTH].map(|()| Flows::of(family, PER_PEER).case(DIRECTION)),
        EVALUATE => [(); BOTH].map(|()| strangers.refused()),
        _ => strangers.admitted_apart(),
    }
}

/// The factors of all rounds.
fn scale(
    scene: &mut Scene,
    shares: &[Case; BOTH],
    cpus: &[usize; BOTH],
    rounds: Rounds,
) -> Result<Summary> {
    let mut pairs = Vec::new();
    let mut dealers = Vec::new();
    for share in shares {
        let (pair, dealer) = share.pair(scene)?;
        pairs.push(pair);
        dealers.push(dealer);
    }
    let [first, second] = pairs.as_slice() else {
        return Err(anyhow!("a pair for each processor"));
    };
    let [share, _] = shares;
    let paths = Paths::read(&scene.datapath)?;
    let forget = |scene: &mut Scene, cpus: usize| -> Result<()> {
        let new = if share.inserts {
            cpus * rounds.repeat as usize
        } else {
            return Ok(());
        };
        let flows = scene.forget_flows()?;
        ensure!(flows == new, "{flows} flows instead of {new}");
        Ok(())
    };
    let mut factors = Vec::new();
    // The first round finds cold caches and does not count.
    for round in 0..=rounds.count {
        let alone = above(first, cpus[0], rounds.repeat, &Barrier::new(1))?;
        forget(scene, 1)?;
        let together = together([first, second], cpus, rounds.repeat)?;
        forget(scene, BOTH)?;
        if round > 0 {
            factors.push(BOTH as f64 * alone / together);
        }
    }
    let packets = rounds.packets() * (1 + BOTH as u64);
    paths.check(&scene.datapath, share.direction, share.reason, packets)?;
    let summary = Summary::of(&factors).context("no rounds")?;
    Ok(Summary {
        p99: None,
        ..summary
    })
}

/// Nanoseconds per packet above the baseline, on each processor on average, while all run.
fn together(pairs: [&Pair; BOTH], cpus: &[usize; BOTH], repeat: u32) -> Result<f64> {
    let barrier = Barrier::new(BOTH);
    let costs: Vec<Result<f64>> = thread::scope(|scope| {
        let barrier = &barrier;
        let threads: Vec<_> = pairs
            .into_iter()
            .zip(cpus)
            .map(|(pair, cpu)| scope.spawn(move || above(pair, *cpu, repeat, barrier)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let outcome = thread.join();
                outcome.unwrap_or_else(|_| Err(anyhow!("a measuring thread died")))
            })
            .collect()
    });
    let mut sum = 0.0;
    for cost in costs {
        sum += cost?;
    }
    Ok(sum / BOTH as f64)
}

/// One round on one processor, both halves begun together with everybody else.
fn above(pair: &Pair, cpu: usize, repeat: u32, barrier: &Barrier) -> Result<f64> {
    let _pinned = Pinned::to(cpu)?;
    barrier.wait();
    let without = pair.time_baseline(repeat);
    barrier.wait();
    Ok(pair.time_subject(repeat)? - without?)
}
