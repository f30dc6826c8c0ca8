//! Hostile and odd packets on the wire: every case sends crafted frames through the real agent's
//! programs and looks at what arrives, and at the reason that the agent gives for what does not.
//!
//! Every case that something is dropped has a control: the same packet without the hostile trait
//! passes. All cases of one way to wire and to attach share one cluster; a case uses ports and
//! identifications that no other uses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bridge;
mod encapsulation;
mod eviction;
mod extensions;
mod flows;
mod foreign;
mod fragments;
mod icmp;
mod link;
mod parsing;
mod phases;
mod probes;
mod refragmented;
mod scene;
mod spoofing;
mod unpoliced;

use std::{
    process::ExitCode,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Trial};
use policy_harness::{Attach, Wiring};

use self::scene::Scene;

/// One sentence of behaviour.
type Case = (&'static str, fn(&mut Scene), Ways);

/// In which clusters a case runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    /// All four.
    All,
    /// Routed with TCX, bridged with clsact.
    RoutedTcx,
    /// Routed with clsact, bridged with TCX.
    RoutedClsact,
    /// Both bridged ones: what only a bridge lets happen.
    Bridged,
}

impl Ways {
    fn include(self, wiring: Wiring, attach: Attach) -> bool {
        let straight = (wiring == Wiring::Routed) == (attach == Attach::Tcx);
        match self {
            Self::All => true,
            Self::RoutedTcx => straight,
            Self::RoutedClsact => !straight,
            Self::Bridged => wiring == Wiring::Bridged,
        }
    }
}

type Shared = Arc<LazyLock<Mutex<Scene>, Box<dyn FnOnce() -> Mutex<Scene> + Send>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let clusters = clusters();
    // Neighbours in the list wait for different clusters.
    for (name, case, ways) in cases() {
        for (wiring, attach, scene) in &clusters {
            if ways.include(*wiring, *attach) {
                let scene = Arc::clone(scene);
                let name = format!("{wiring:?}, {attach:?}: {name}");
                trials.push(Trial::test(name, move || {
                    // A case that failed leaves nothing that another needs.
                    case(&mut scene.lock().unwrap_or_else(PoisonError::into_inner));
                    Ok(())
                }));
            }
        }
    }
    // Cases wait for the agent's words most of the time.
    arguments.test_threads.get_or_insert(clusters.len());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every way to wire and to attach, with a cluster that is made when a case asks for it.
fn clusters() -> Vec<(Wiring, Attach, Shared)> {
    let ways = [Wiring::Routed, Wiring::Bridged]
        .map(|wiring| [Attach::Tcx, Attach::Clsact].map(|attach| (wiring, attach)));
    let shared = |(wiring, attach)| {
        let make = move || Mutex::new(Scene::new(wiring, attach));
        let scene: Shared = Arc::new(LazyLock::new(Box::new(make)));
        (wiring, attach, scene)
    };
    ways.into_iter().flatten().map(shared).collect()
}

fn cases() -> impl Iterator<Item = Case> {
    [
        parsing::CASES,
        fragments::CASES,
        eviction::CASES,
        extensions::CASES,
        spoofing::CASES,
        unpoliced::CASES,
        link::CASES,
        bridge::CASES,
        encapsulation::CASES,
        icmp::CASES,
        flows::CASES,
        phases::CASES,
        foreign::CASES,
        probes::CASES,
        refragmented::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
