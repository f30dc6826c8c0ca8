//! Drops of one pod on several processors at once: each is an event, or counted once.

use std::thread;

use policy_agent::datapath::Datapath;
use policy_bpf::Run;
use policy_common::{Config, RulesetId, names};
use policy_core::plan::Op;
use policy_harness::wire::{Ethernet, ip};

use crate::{cluster::small, processors, scene};

const POD: u32 = 7;
/// Enough that processors meet at the count.
const EACH: u32 = 200_000;

/// A pod that nobody may reach, and few events.
fn load() -> Datapath {
    let config = Config {
        event_rate: 1,
        event_burst: 3,
        ..scene::CONFIG
    };
    let rules = [scene::rules(RulesetId(5)), None];
    let pod = Op::PutEndpoint(scene::pod(POD, 3, rules));
    scene::load(config, small(), &[pod])
}

#[test]
fn drops_on_several_processors_are_events_or_counted_once() {
    let mut kernel = load();
    let program = kernel.programs.descriptor(names::TO_POD).unwrap();
    let [from, to] = ["10.0.1.1", "10.0.0.9"].map(|text| text.parse().unwrap());
    let frame = Ethernet::new([2; 6], [2; 6]).ip(&ip::packet(from, to, 99, b"nobody asked"));
    let processors = processors::all();
    thread::scope(|scope| {
        for processor in &processors {
            let run = Run::new(
                program.try_clone().unwrap(),
                &frame,
                &scene::at(POD, 3).context(),
            );
            scope.spawn(move || {
                processors::stay_on(*processor);
                run.repeat(EACH).unwrap();
            });
        }
    });
    let events = kernel.read_events(usize::MAX);
    let told: u32 = events.iter().map(|event| event.suppressed).sum();
    let untold: u32 = kernel.untold_drops().unwrap().values().sum();
    let all = processors.len() as u32 * EACH;
    assert_eq!(events.len() as u32 + told + untold, all);
}
