//! From the object of a release to this one, in the kernel: needs root and the eBPF object. The kept
//! object's own programs make the connections, so that no layout is remembered wrong here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod generation;

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap},
    programs::{
        LinkOrder, SchedClassifier, TestRun as _, TestRunOptions, links::FdLink,
        tc::TcAttachOptions,
    },
};
use nix::sched::{CloneFlags, unshare};
use policy_agent::datapath::{
    Attacher, Datapath, Hook, Mechanism, PinDir, Pins, TestOrigin,
    chain::{Attachment, chain},
};
use policy_common::{Config, EndpointId, names};

use crate::{
    directory::Directory,
    generation::{enforce, frame, load, load_object},
};

/// The object that a release was built with.
fn object(release: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/releases")
        .join(format!("{release}.o.gz"));
    let output = Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// The global CONFIG of 0.1.0: HZ, two limits, rate and burst of events, debug, the seam of tests,
/// events of what is allowed, padding.
fn config_of_0_1_0() -> Vec<u8> {
    let words = [250u32, 16_384, 65_536, 10, 50].map(u32::to_ne_bytes);
    [words.concat(), vec![0, 1, 0, 0]].concat()
}

/// ENDPOINTS of 0.1.0: epoch, interface, rulesets with their default port sets (to the pod nothing,
/// from it everything), addresses, number, flags (isolated both ways), bridge, reserved, tag.
fn endpoint_of_0_1_0(ifindex: u32) -> [u8; 64] {
    let mut bytes = Vec::new();
    bytes.extend([9u32, ifindex, 5, 0, 6, 1].map(u32::to_ne_bytes).concat());
    bytes.extend([10, 0, 0, 9]);
    bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    bytes.extend([3u16, 3].map(u16::to_ne_bytes).concat());
    bytes.extend([0u32, 0].map(u32::to_ne_bytes).concat());
    bytes.extend(77u64.to_ne_bytes());
    bytes.try_into().unwrap()
}

/// What an agent of 0.1.0 leaves: its programs on the interface, its maps and links pinned.
fn leave_0_1_0(pins: &PinDir, ifindex: u32) -> Ebpf {
    let config = config_of_0_1_0();
    let mut loader = EbpfLoader::new();
    loader.override_global(Config::SYMBOL, &config[..], true);
    for name in [
        names::ADDRESSES_V4,
        names::ADDRESSES_V6,
        names::FLOWS_V4,
        names::FLOWS_V6,
        names::RULES,
        names::PORTS,
    ] {
        loader.map_max_entries(name, 64);
    }
    let mut old = loader.load(&object("0.1.0")).unwrap();
    for (name, map) in old.maps() {
        let name = if name == ".bss" { names::CONTROL } else { name };
        if !name.starts_with('.') {
            map.pin(pins.path().join(name)).unwrap();
        }
    }
    let mut port_sets: Array<_, [u8; 64]> =
        old.map_mut(names::PORT_SETS).unwrap().try_into().unwrap();
    // One entry, which allows every protocol.
    let mut allow_all = [0; 64];
    (allow_all[0], allow_all[13], allow_all[14]) = (1, 1, 1);
    port_sets.set(1, allow_all, 0).unwrap();
    let mut endpoints: HashMap<_, u32, [u8; 64]> =
        old.map_mut(names::ENDPOINTS).unwrap().try_into().unwrap();
    endpoints
        .insert(ifindex, endpoint_of_0_1_0(ifindex), 0)
        .unwrap();
    let mut state: Array<_, [u8; 16]> = old.map_mut(names::NODE_STATE).unwrap().try_into().unwrap();
    let epoch_and_layout: [u8; 16] = bytemuck::cast([9u64.to_ne_bytes(), 2u64.to_le_bytes()]);
    state.set(0, epoch_and_layout, 0).unwrap();
    for hook in Hook::ENDPOINT {
        let program = program(&mut old, hook);
        program.load().unwrap();
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options("pod0", hook.direction(), options)
            .unwrap();
        let link: FdLink = program.take_link(id).unwrap().try_into().unwrap();
        let record = format!("links/{ifindex}-{}", hook.program());
        link.pin(pins.path().join(record)).unwrap();
    }
    old
}

fn program(ebpf: &mut Ebpf, hook: Hook) -> &mut SchedClassifier {
    let program = ebpf.program_mut(hook.program()).unwrap();
    program.try_into().unwrap()
}

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
        "0.1.0" => Old::Of010(leave_0_1_0(pins, ifindex)),
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

#[test]
fn connections_that_a_kept_releases_programs_know_live_on_and_links_move_in_place() {
    let kept = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/releases"));
    let names = kept.unwrap().map(|entry| entry.unwrap().file_name());
    let releases: Vec<_> = names
        .map(|name| name.to_string_lossy().replace(".o.gz", ""))
        .collect();
    assert!(releases.iter().any(|release| release == "0.1.0"));
    for release in releases {
        println!("from {release}");
        if let Err(panic) = thread::spawn(move || upgrade(&release)).join() {
            std::panic::resume_unwind(panic);
        }
    }
}
