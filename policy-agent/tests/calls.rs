//! Programs that call others, in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generation;

use std::{
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, loaded_programs};
use policy_agent::datapath::{Datapath, LoadOptions, PinDir, PinLock, TestOrigin};
use policy_common::{Direction, Reason, names};
use policy_core::plan::Op;

use crate::generation::{endpoint, frame, load, options};

const POD: u32 = 7;
/// Endpoint 3 sent it to the node, which translated it.
const OWED: TestOrigin = TestOrigin {
    ifindex: POD,
    ingress_ifindex: 2,
    socket: false,
    foreign_socket: false,
    stamp: 0xc003,
};

/// A pin directory that is gone when this is dropped.
struct Pins {
    dir: PinDir,
    lock: Option<PinLock>,
}

impl Pins {
    fn new(name: &str) -> Self {
        let name = format!("agent-test-{}-{name}", std::process::id());
        let dir = PinDir::new(format!("/sys/fs/bpf/{name}"));
        let lock = dir.lock().unwrap();
        dir.prepare(&lock).unwrap();
        Self {
            dir,
            lock: Some(lock),
        }
    }

    fn load(&self) -> Datapath {
        let mut datapath = load(&self.dir, 64);
        assert!(datapath.apply(&[endpoint(POD)]).is_empty());
        datapath
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.dir.remove_all().unwrap();
        let lock = self.lock.take().unwrap();
        self.dir.remove_run_files(lock).unwrap();
    }
}

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
fn judges(program: &SchedClassifier, counters: &Datapath) -> bool {
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

#[test]
fn programs_call_one_another_when_their_agent_is_gone() {
    let pins = Pins::new("calls");
    let old = pins.load();
    old.publish().unwrap();
    let left = left_by(old);
    // Shares the counters; its own programs are not run.
    let new = pins.load();
    assert!(judges(&left, &new), "the pin holds them");
}

#[test]
fn a_new_agent_holds_the_programs_before_until_every_link_has_moved() {
    let pins = Pins::new("held");
    let old = pins.load();
    old.publish().unwrap();
    let left = left_by(old);
    let mut new = pins.load();
    new.publish().unwrap();
    // What the kernel does when the last one lets go it does a little later.
    thread::sleep(Duration::from_millis(300));
    assert!(judges(&left, &new));

    new.finish_carry().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while judges(&left, &new) {
        assert!(Instant::now() < deadline, "nobody holds them any more");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(judges(&left_by(new), &pins.load()));
}

#[test]
fn no_program_runs_after_the_last_one_also_where_it_calls_another() {
    let pins = Pins::new("last");
    let object = LoadOptions::embedded().unwrap().object;
    let mut datapath = Datapath::load(&LoadOptions {
        stand_ins: true,
        ..options(object, &pins.dir, 64)
    })
    .unwrap();
    let Op::PutEndpoint(mut open) = endpoint(POD) else {
        panic!("it is one");
    };
    open.ingress = None;
    assert!(datapath.apply(&[Op::PutEndpoint(open)]).is_empty());
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
