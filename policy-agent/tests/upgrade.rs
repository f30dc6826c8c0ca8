//! From the object of a release to this one, in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod generation;
mod kept;

use std::{process::Command, thread};

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};
use nix::sched::{CloneFlags, unshare};
use policy_agent::datapath::{
    Attacher, Datapath, Hook, Mechanism, Pins, TestOrigin,
    chain::{Attachment, chain},
};
use policy_common::{EndpointId, names};

use crate::{
    directory::Directory,
    generation::{enforce, frame, load, load_object},
    kept::{Node, leave_0_1_0, object, objects, program},
};

fn origin(ifindex: u32, ingress_ifindex: u32) -> TestOrigin {
    TestOrigin {
        ifindex,
        ingress_ifindex,
        ..TestOrigin::default()
    }
}

/// What an agent of a later release leaves; its layouts and its CONFIG are today's. One with others
/// needs a function like the one above.
fn leave(release: &str, pins: &Pins, ifindex: u32) -> Datapath {
    let mut old = enforce(load_object(&object(release), pins, 64), ifindex);
    let attacher = Attacher::new(pins.clone(), Mechanism::Tcx);
    for hook in Hook::ENDPOINT {
        attacher.attach(&mut old.programs, ifindex, hook).unwrap();
    }
    old
}

/// The programs of a kept object.
enum Old {
    Of010(Ebpf),
    Later(Box<Datapath>),
}

impl Old {
    /// Runs a program; the seam is that of today.
    fn passes(&mut self, hook: Hook, packet: &[u8], origin: TestOrigin) -> bool {
        match self {
            Self::Of010(old) => {
                let options = TestRunOptions {
                    data_in: Some(packet),
                    ctx_in: Some(&origin.context()),
                    ..TestRunOptions::default()
                };
                let result = program(old, hook).test_run(options).unwrap();
                result.return_value.cast_signed() == -1
            }
            Self::Later(old) => {
                let outcome = old.test_run(hook.program(), packet, origin);
                outcome.unwrap().passed
            }
        }
    }
}

fn upgrade(release: &str) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let command = Command::new("ip")
        .args("link add pod0 type veth peer name eth0".split(' '))
        .status();
    assert!(command.unwrap().success());
    let ifindex = nix::net::if_::if_nametoindex("pod0").unwrap();
    let mut directory = Directory::new("upgrade");
    let pins = directory.pins();
    let mut old = match release {
        "0.1.0" => {
            let node = Node {
                name: "pod0",
                index: ifindex,
                v4: [10, 0, 0, 9].into(),
                v6: "fd00::9".parse().unwrap(),
                tag: 77,
                max_flows: 64,
                test_seam: true,
            };
            Old::Of010(leave_0_1_0(pins.path(), &node))
        }
        later => Old::Later(Box::new(leave(later, pins, ifindex))),
    };
    // The pod asks over IPv4; nobody asked over IPv6.
    let (asks, hears) = (frame(true, false), frame(false, false));
    let (inside, outside) = (origin(ifindex, ifindex), origin(ifindex, 2));
    assert!(!old.passes(Hook::ToPod, &hears, outside));
    assert!(old.passes(Hook::FromPod, &asks, inside));
    assert!(old.passes(Hook::ToPod, &hears, outside));

    let [earlier] = pins.endpoints().unwrap()[..] else {
        panic!("one endpoint");
    };
    assert_eq!(
        (earlier.id, earlier.ifindex, earlier.pod_tag),
        (EndpointId(3), ifindex, 77)
    );
    directory.restart();
    let pins = directory.pins();
    let mut new = enforce(load(pins, 64), ifindex);
    let attacher = Attacher::new(pins.clone(), Mechanism::Tcx);
    for hook in Hook::ENDPOINT {
        let on_hook = || chain(ifindex, hook.direction()).unwrap().entries;
        let [before] = &on_hook()[..] else {
            panic!("the old program alone");
        };
        attacher.attach(&mut new.programs, ifindex, hook).unwrap();
        let [after] = &on_hook()[..] else {
            panic!("the new program alone");
        };
        assert_eq!(after.attachment, Attachment::Tcx);
        assert_ne!(after.prog_id, before.prog_id);
        let own = new.programs.ids(hook.program());
        assert_eq!(after.prog_id, Some(own[0]));
    }
    drop(old);
    let heard = |new: &mut Datapath, v6| {
        let outcome = new.test_run(names::TO_POD, &frame(false, v6), outside);
        outcome.unwrap().passed
    };
    assert!(heard(&mut new, false), "the answer to the pod's question");
    assert!(!heard(&mut new, true), "nobody asked");
}

/// The releases whose objects are kept.
fn releases() -> Vec<String> {
    let names = std::fs::read_dir(objects()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().replace(".o.gz", ""))
        .collect()
}

#[test]
fn connections_that_a_kept_releases_programs_know_live_on_and_links_move_in_place() {
    let releases = releases();
    assert!(releases.iter().any(|release| release == "0.1.0"));
    for release in releases {
        println!("from {release}");
        if let Err(panic) = thread::spawn(move || upgrade(&release)).join() {
            std::panic::resume_unwind(panic);
        }
    }
}
