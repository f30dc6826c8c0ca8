//! Programs that call others, in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod generation;

use std::{
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, loaded_programs};
use policy_agent::datapath::{Datapath, LoadOptions, Loaded, TestOrigin};
use policy_common::{Direction, Reason, names};
use policy_core::plan::Op;

use crate::{
    directory::Directory,
    generation::{endpoint, enforce, frame, load, options},
};

const POD: u32 = 7;
/// Endpoint 3 sent it to the node, which translated it.
const OWED: TestOrigin = TestOrigin {
    ifindex: POD,
    ingress_ifindex: 2,
    socket: false,
    foreign_socket: false,
    stamp: 0xc003,
};

/// The program alone, as an interface holds it when its agent is gone.
fn left_by(mut agent: Datapath) -> SchedClassifier {
    let descriptor = agent.programs.descriptor(names::TO_POD).unwrap();
    let id = agent.programs.ids(names::TO_POD)[0];
    let mut all = loaded_programs().filter_map(Result::ok);
    let info = all.find(|one| one.id() == id).unwrap();
    let program = SchedClassifier::from_program_info(info, names::TO_POD.into()).unwrap();
    drop(descriptor);
    drop(agent);
    program
}

/// Runs it on a packet whose sender's egress is owed and allowed, and says whether that was judged; the pod itself
/// lets nobody in.
fn judges(program: &SchedClassifier, counters: &Loaded) -> bool {
    let unjudged = || {
        let counter = counters.counter(Direction::Egress, Reason::Unjudged);
        counter.unwrap().packets
    };
    let before = unjudged();
    let options = TestRunOptions {
        data_in: Some(&frame(false, false)),
        ctx_in: Some(&OWED.context()),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).unwrap();
    assert_eq!(result.return_value, 2, "it is dropped whatever is missing");
    unjudged() == before
}

/// A generation in force.
fn enforced(directory: &Directory) -> Datapath {
    enforce(load(directory.pins(), 64), POD)
}

#[test]
fn programs_call_one_another_when_their_agent_is_gone() {
    let directory = Directory::new("calls");
    let left = left_by(enforced(&directory));
    // Shares the counters; its own programs are not run.
    let counters = load(directory.pins(), 64);
    assert!(judges(&left, &counters), "the pin holds them");
}

#[test]
fn what_programs_call_stays_until_every_link_has_moved_whoever_ends_before() {
    let mut directory = Directory::new("held");
    let left = left_by(enforced(&directory));
    for _ in 0..2 {
        // It is killed before it has moved a link, and another one begins.
        drop(enforced(&directory));
        directory.restart();
        // What the kernel does when the last one lets go it does a little later.
        thread::sleep(Duration::from_millis(300));
        assert!(judges(&left, &load(directory.pins(), 64)));
    }
    let counters = load(directory.pins(), 64);
    let last = left_by(enforced(&directory));
    directory.pins().retire().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while judges(&left, &counters) {
        assert!(Instant::now() < deadline, "nobody holds them any more");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(judges(&last, &counters));
}

#[test]
fn no_program_runs_after_the_last_one_also_where_it_calls_another() {
    let directory = Directory::new("last");
    let object = LoadOptions::embedded().unwrap().object;
    let Op::PutEndpoint(mut open) = endpoint(POD) else {
        panic!("it is one");
    };
    open.ingress = None;
    let options = LoadOptions {
        stand_ins: true,
        ..options(object, directory.pins(), 64)
    };
    let mut datapath = Datapath::load(&options, &[Op::PutEndpoint(open)]).unwrap();
    let frame = frame(false, false);
    // TC_ACT_UNSPEC and TC_ACT_OK.
    for (program, action) in [(names::TO_POD, -1), (names::TO_POD_LAST, 0)] {
        let outcome = datapath.test_run(program, &frame, OWED).unwrap();
        assert_eq!(outcome.action, action, "{program}");
    }
    let counters = datapath.counters().unwrap();
    let packets = counters.iter().map(|(_, _, counter)| counter.packets);
    assert_eq!(
        packets.sum::<u64>(),
        2,
        "each is counted once: {counters:?}"
    );
}
