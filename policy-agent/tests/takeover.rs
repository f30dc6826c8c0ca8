//! Attachment, restart and removal in the kernel: needs root and the eBPF object. Every test works
//! in a network namespace and a pin directory of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;

use std::{env, process::Command, thread};

use aya::{
    EbpfLoader,
    programs::{LinkOrder, SchedClassifier, tc::TcAttachOptions},
};
use nix::sched::{CloneFlags, unshare};
use policy_agent::datapath::{
    Attacher, Datapath, EMBEDDED, Hook, LoadOptions, Loaded, Mechanism, NodeFacts, Place,
    TableSizes,
    chain::{self, Attachment},
    fill,
};
use policy_common::{EndpointId, IdentityId, names};
use policy_core::{
    bind::EndpointIds,
    plan::{EndpointEntry, Op},
};

use crate::directory::Directory;

/// A host of its own with one veth pair, and a pin directory; both are gone when this is dropped.
struct Host {
    directory: Directory,
    ifindex: u32,
    stand_ins: bool,
}

impl Host {
    fn new(name: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Self::here(name)
    }

    /// In the network namespace where this is, which a test made.
    fn here(name: &str) -> Self {
        ip("link add pod0 type veth peer name eth0");
        Self {
            ifindex: nix::net::if_::if_nametoindex("pod0").unwrap(),
            directory: Directory::new(name),
            stand_ins: false,
        }
    }

    fn load(&self) -> Loaded {
        Loaded::load(&LoadOptions {
            sizes: small(),
            pins: Some(self.directory.pins()),
            stand_ins: self.stand_ins,
            ..LoadOptions::embedded().unwrap()
        })
        .unwrap()
    }

    /// A generation in force.
    fn enforce(&self, wanted: &[Op]) -> Datapath {
        let filled = self.load().fill(&NodeFacts::default(), wanted).unwrap();
        assert!(filled.refused().is_empty());
        filled.enforce().unwrap()
    }

    fn attacher(&self, mechanism: Mechanism) -> Attacher {
        Attacher::new(self.directory.pins().clone(), mechanism)
    }

    /// Programs on the hook, in the order in which they run.
    fn chain(&self, hook: Hook) -> Vec<chain::Entry> {
        chain::chain(self.ifindex, hook.direction())
            .unwrap()
            .entries
    }

    fn names(&self, hook: Hook) -> Vec<String> {
        let chain = self.chain(hook);
        chain.into_iter().map(|entry| entry.name).collect()
    }
}

/// Runs a test in a thread, whose network namespace it may leave.
fn on_own_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let status = Command::new(program)
        .args(arguments.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments}");
}

fn small() -> TableSizes {
    TableSizes {
        max_endpoints: 16,
        max_addresses: 16,
        max_cidrs: 4,
        max_rules: 4,
        max_port_sets: 8,
        max_ports: 16,
        max_flows: 64,
    }
}

fn endpoint(ifindex: u32) -> Op {
    Op::PutEndpoint(EndpointEntry {
        ifindex,
        id: EndpointId(5),
        bridge: None,
        ingress: None,
        egress: None,
        addresses: vec!["10.0.0.9".parse().unwrap()],
        unknown: false,
        pod_tag: 77,
        mac: None,
        eui_64: false,
        services_later: false,
        new_epoch: true,
    })
}

/// A program of somebody else on the hook, before all others.
fn attach_foreign_first(hook: Hook) -> aya::Ebpf {
    let mut loader = EbpfLoader::new();
    for name in [
        names::ADDRESSES_V4,
        names::ADDRESSES_V6,
        names::FLOWS_V4,
        names::FLOWS_V6,
        names::RULES,
        names::PORT_SETS,
    ] {
        loader.map_max_entries(name, 1);
    }
    let mut ebpf = loader.load(EMBEDDED.unwrap()).unwrap();
    let program: &mut SchedClassifier = ebpf
        .program_mut(names::JIFFIES)
        .unwrap()
        .try_into()
        .unwrap();
    program.load().unwrap();
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    program
        .attach_with_options("pod0", hook.direction(), options)
        .unwrap();
    ebpf
}

/// Three generations after one another on one hook each; the last one's names are told by `named`.
fn take_over(host: &Host, mechanism: Mechanism, named: &str) {
    let attacher = host.attacher(mechanism);
    let mut ids: Vec<u32> = Vec::new();
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let mut datapath = host.enforce(&[endpoint(host.ifindex)]);
        for hook in Hook::ENDPOINT {
            attacher
                .attach(&mut datapath.programs, host.ifindex, hook)
                .unwrap();
            let [entry] = &host.chain(hook)[..] else {
                panic!("one program on the hook: {:?}", host.chain(hook));
            };
            assert_eq!(
                entry.attachment == Attachment::Tcx,
                mechanism == Mechanism::Tcx
            );
            let own = datapath.programs.ids(hook.program());
            assert_eq!(entry.prog_id, Some(own[0]));
            ids.extend(own);
        }
        drop(datapath);
        assert_eq!(host.names(Hook::FromPod), [named], "stays attached");
        let [earlier] = host.directory.pins().endpoints().unwrap()[..] else {
            panic!("one endpoint is pinned");
        };
        epochs.push(earlier.epoch);
        let mut numbers = EndpointIds::new(16, &[earlier]);
        assert_eq!(numbers.assign(host.ifindex), Some(EndpointId(5)));
    }
    ids.dedup();
    assert_eq!(ids.len(), 6, "every generation has its own programs");
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
}

#[test]
fn a_second_generation_takes_over_in_place() {
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        on_own_thread(move || {
            let host = Host::new(&format!("takeover-{mechanism:?}"));
            take_over(&host, mechanism, "from_pod");
        });
    }
}

/// Set for a process that has only the capabilities of the shipped agent.
const SHIPPED: &str = "TEST_HAS_SHIPPED_CAPABILITIES";

#[test]
fn the_shipped_capabilities_suffice_to_take_over_and_to_move_to_the_front() {
    if env::var_os(SHIPPED).is_none() {
        // A process has no more than its bounding set when it starts a program.
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let output = Command::new("setpriv")
                .arg("--bounding-set=-all,+bpf,+net_admin,+net_broadcast,+perfmon")
                .arg("--inh-caps=-all")
                .arg(env::current_exe().unwrap())
                .arg("the_shipped_capabilities_suffice")
                .env(SHIPPED, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}");
            assert!(said.contains("1 passed"), "{said}");
        });
        return;
    }
    let host = Host::here("shipped");
    // Only who may do everything may ask for a program's name.
    take_over(&host, Mechanism::Tcx, "");
    let mut datapath = host.enforce(&[endpoint(host.ifindex)]);
    let attacher = host.attacher(Mechanism::Tcx);
    for hook in Hook::ENDPOINT {
        attacher
            .attach(&mut datapath.programs, host.ifindex, hook)
            .unwrap();
        let _foreign = attach_foreign_first(hook);
        let place = attacher.place(&datapath.programs, host.ifindex, hook);
        assert!(matches!(place.unwrap(), Place::Behind { .. }));
        attacher
            .move_first(&mut datapath.programs, host.ifindex, hook)
            .unwrap();
        let place = attacher.place(&datapath.programs, host.ifindex, hook);
        assert!(matches!(place.unwrap(), Place::First { .. }));
    }
    for hook in Hook::ENDPOINT {
        attacher.detach(host.ifindex, hook).unwrap();
        assert_eq!(host.chain(hook), []);
    }
    take_over(&host, Mechanism::Clsact, "from_pod");
}

#[test]
fn the_other_mechanism_replaces_the_one_before() {
    on_own_thread(|| {
        let host = Host::new("mechanism");
        let mut datapath = host.enforce(&[]);
        for mechanism in [Mechanism::Tcx, Mechanism::Clsact, Mechanism::Tcx] {
            let attacher = host.attacher(mechanism);
            attacher
                .attach(&mut datapath.programs, host.ifindex, Hook::ToPod)
                .unwrap();
            let [entry] = &host.chain(Hook::ToPod)[..] else {
                panic!("one program on the hook");
            };
            assert_eq!(
                entry.attachment == Attachment::Tcx,
                mechanism == Mechanism::Tcx
            );
        }
    });
}

#[test]
fn a_program_that_came_before_ours_is_overtaken() {
    on_own_thread(|| {
        let host = Host::new("overtaken");
        let mut datapath = host.enforce(&[]);
        let attacher = host.attacher(Mechanism::Tcx);
        attacher
            .attach(&mut datapath.programs, host.ifindex, Hook::FromPod)
            .unwrap();
        for _ in 0..3 {
            let _foreign = attach_foreign_first(Hook::FromPod);
            assert_eq!(host.names(Hook::FromPod), ["jiffies", "from_pod"]);
            attacher
                .move_first(&mut datapath.programs, host.ifindex, Hook::FromPod)
                .unwrap();
            assert_eq!(host.names(Hook::FromPod), ["from_pod", "jiffies"]);
            let first = host.chain(Hook::FromPod)[0].prog_id.unwrap();
            let own = datapath.programs.ids(names::FROM_POD);
            assert!(own.contains(&first));
        }
    });
}

#[test]
fn a_filter_that_came_before_ours_is_overtaken() {
    on_own_thread(|| {
        let host = Host::new("overtaken-filter");
        let mut datapath = host.enforce(&[]);
        let attacher = host.attacher(Mechanism::Clsact);
        attacher
            .attach(&mut datapath.programs, host.ifindex, Hook::FromPod)
            .unwrap();
        let command = Command::new("tc")
            .args("filter add dev pod0 ingress pref 1 bpf bytecode".split(' '))
            .arg("1,6 0 0 0,")
            .status();
        assert!(command.unwrap().success());
        for _ in 0..2 {
            attacher
                .move_first(&mut datapath.programs, host.ifindex, Hook::FromPod)
                .unwrap();
            assert_eq!(host.names(Hook::FromPod), ["from_pod", "bpf"]);
        }
    });
}

#[test]
fn a_filter_stands_in_for_a_link_only_where_nobody_else_has_a_program() {
    on_own_thread(|| {
        let mut host = Host::new("bridge-foreign");
        host.stand_ins = true;
        let mut datapath = host.enforce(&[]);
        let attacher = host.attacher(Mechanism::Tcx);
        let programs = &mut datapath.programs;
        let foreign = attach_foreign_first(Hook::FromPod);
        assert_eq!(
            attacher
                .bridge(programs, host.ifindex, Hook::FromPod)
                .unwrap(),
            None
        );
        drop(foreign);
        run("tc", "qdisc add dev pod0 clsact");
        let command = Command::new("tc")
            .args("filter add dev pod0 egress pref 7 bpf bytecode".split(' '))
            .arg("1,6 0 0 0,")
            .status();
        assert!(command.unwrap().success());
        assert_eq!(
            attacher
                .bridge(programs, host.ifindex, Hook::ToPod)
                .unwrap(),
            None
        );
        assert_eq!(host.names(Hook::FromPod), [""; 0]);
        assert_eq!(host.names(Hook::ToPod), ["bpf"]);
        assert!(attacher.records().unwrap().is_empty());
        let stands = attacher.bridge(programs, host.ifindex, Hook::FromPod);
        let own = programs.ids(names::FROM_POD).first().copied();
        assert!(stands.unwrap() == own && own.is_some());
        // The interface has the place of clsact taken by a qdisc that runs all on ingress.
        ip("link add pod1 type veth peer name eth1");
        run("tc", "qdisc add dev pod1 ingress");
        let other = nix::net::if_::if_nametoindex("pod1").unwrap();
        let refused = attacher.bridge(programs, other, Hook::ToPod);
        assert!(refused.is_err(), "{refused:?}");
    });
}

#[test]
fn a_link_takes_over_from_a_filter_of_whichever_generation() {
    on_own_thread(|| {
        let mut host = Host::new("bridge");
        host.stand_ins = true;
        let attacher = host.attacher(Mechanism::Tcx);
        for is_same in [true, false] {
            let mut datapath = host.enforce(&[]);
            for hook in Hook::ENDPOINT {
                attacher
                    .bridge(&mut datapath.programs, host.ifindex, hook)
                    .unwrap()
                    .unwrap();
                assert_ne!(host.chain(hook)[0].attachment, Attachment::Tcx);
            }
            if !is_same {
                drop(datapath);
                datapath = host.enforce(&[]);
            }
            assert_eq!(attacher.records().unwrap().len(), 2);
            for hook in Hook::ENDPOINT {
                attacher
                    .attach(&mut datapath.programs, host.ifindex, hook)
                    .unwrap();
                let own = datapath.programs.ids(hook.program()).first().copied();
                let [entry] = &host.chain(hook)[..] else {
                    panic!("one program on the hook: {:?}", host.chain(hook));
                };
                assert_eq!((entry.attachment, entry.prog_id), (Attachment::Tcx, own));
                assert!(attacher.filters().unwrap().len() <= 1);
            }
            assert!(attacher.filters().unwrap().is_empty());
            for hook in Hook::ENDPOINT {
                attacher.detach(host.ifindex, hook).unwrap();
            }
        }
    });
}

#[test]
fn what_is_gone_is_no_error() {
    on_own_thread(|| {
        let host = Host::new("gone");
        let mut datapath = host.enforce(&[]);
        let attacher = host.attacher(Mechanism::Tcx);
        attacher
            .attach(&mut datapath.programs, host.ifindex, Hook::FromPod)
            .unwrap();
        ip("link del pod0");
        attacher.detach(host.ifindex, Hook::FromPod).unwrap();
        attacher.forget(host.ifindex).unwrap();
        assert!(
            attacher
                .attach(&mut datapath.programs, host.ifindex, Hook::FromPod)
                .is_err()
        );
        assert!(attacher.records().unwrap().is_empty());
    });
}

#[test]
fn a_generation_that_was_cut_off_leaves_nothing_behind() {
    on_own_thread(|| {
        let mut host = Host::new("cut-off");
        let address = Op::PutAddress {
            address: "10.0.0.1".parse().unwrap(),
            identity: IdentityId(20),
            owner: None,
            host: false,
        };
        let _first = host.enforce(&[address]);
        let pins = host.directory.pins();
        let pinned = || std::fs::read_dir(pins.path()).unwrap().count();
        let before = pinned();
        drop(host.load());
        drop(host.load().fill(&NodeFacts::default(), &[]).unwrap());
        assert_eq!(pinned(), before);
        // It ended between two renames.
        let next = pins.path().join("next");
        let name = names::CIDRS_V4;
        std::fs::rename(pins.path().join(name), next.join(name)).unwrap();
        host.directory.restart();
        let table = fill(host.directory.pins()).unwrap();
        let addresses = table.iter().find(|table| table.name == names::ADDRESSES_V4);
        assert_eq!(addresses.unwrap().entries, 1, "the first is in force");
        assert_eq!(std::fs::read_dir(next).unwrap().count(), 0);
    });
}
