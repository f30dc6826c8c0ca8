//! The loaded datapath, which belongs to one test at a time.

use std::{
    cell::RefCell,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use policy_agent::datapath::{Datapath, LoadOptions, TestOrigin};
use policy_common::{Direction, Reason, names};
use policy_ebpf::memory::MemoryWorld;

use super::{CONFIG, HZ, Shot, tables::Tables};

static KERNEL: Mutex<Option<Kernel>> = Mutex::new(None);

thread_local! {
    /// Held until the test ends: each has a thread of its own.
    static HELD: RefCell<Option<MutexGuard<'static, Option<Kernel>>>> = const { RefCell::new(None) };
}

/// The datapath, and whose tables it holds.
pub(super) struct Kernel {
    datapath: Datapath,
    tables: Tables,
    node: u64,
    checked: u64,
}

impl Kernel {
    /// Waits until no other test uses it.
    pub(super) fn with<R>(then: impl FnOnce(&mut Self) -> R) -> R {
        HELD.with_borrow_mut(|held| {
            let guard = held.get_or_insert_with(|| {
                stay_on_one_processor();
                KERNEL.lock().unwrap_or_else(PoisonError::into_inner)
            });
            then(guard.get_or_insert_with(Self::load))
        })
    }

    fn load() -> Self {
        let options = LoadOptions {
            config: CONFIG,
            hz: Some(HZ),
            ..LoadOptions::embedded().expect("the object")
        };
        Self {
            datapath: Datapath::load(&options, &[]).expect("the object loads"),
            tables: Tables::default(),
            node: 0,
            checked: 0,
        }
    }

    /// Gives the kernel the tables of a node; a new one, or one whose flows another has replaced, gets
    /// a number of its own.
    pub(super) fn become_node(&mut self, number: u64, world: &MemoryWorld) -> u64 {
        let is_new = number == 0 || number != self.node;
        assert!(
            number == 0 || !is_new,
            "two nodes of one test take turns: the kernel holds one"
        );
        if is_new {
            self.node += 1;
        }
        self.tables.write(&mut self.datapath, world, is_new);
        self.node
    }

    /// Runs the program on the packet, and compares.
    pub(super) fn check(&mut self, shot: &Shot<'_>, said: Reason) {
        let program = match shot.hook {
            Direction::Egress => names::FROM_POD,
            Direction::Ingress => names::TO_POD,
        };
        let origin = TestOrigin {
            ifindex: shot.origin.ifindex,
            ingress_ifindex: shot.origin.ingress_ifindex,
            socket: shot.origin.has_socket,
            foreign_socket: shot.origin.has_foreign_socket,
            stamp: self.tables.stamp(shot.origin.stamp),
        };
        let before = self.counted(shot.direction, said);
        let outcome = self.datapath.test_run(program, shot.frame, origin);
        let outcome = outcome.expect("a test run");
        let after = self.counted(shot.direction, said);
        self.checked += 1;
        assert!(
            after == before + 1 && outcome.passed != said.is_drop(),
            "the core says {said:?}, the kernel returns {} for {:?}\n{:02x?}\n{:?}",
            outcome.action,
            shot.origin,
            shot.frame,
            self.datapath.counters(),
        );
    }

    fn counted(&self, direction: Direction, reason: Reason) -> u64 {
        let counter = self.datapath.counter(direction, reason);
        counter.expect("METRICS").packets
    }

    /// Packets so far.
    pub(super) fn checked(&self) -> u64 {
        self.checked
    }
}

/// Programs remember per processor: two would tell two stories where a second is an hour.
fn stay_on_one_processor() {
    let mut one = CpuSet::new();
    one.set(0).expect("processor 0");
    sched_setaffinity(Pid::from_raw(0), &one).expect("one processor");
}
