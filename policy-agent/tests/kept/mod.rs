//! The objects that earlier releases were built with, and what an agent of 0.1.0 leaves: its own programs
//! make the connections, so that no layout is remembered wrong here.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap},
    programs::{LinkOrder, SchedClassifier, links::FdLink, tc::TcAttachOptions},
};
use policy_agent::datapath::Hook;
use policy_common::{Config, names};

/// A node with one pod, of which the tables say that everything goes out and nothing comes in.
pub(crate) struct Node<'a> {
    /// Of the pod's interface.
    pub(crate) name: &'a str,
    pub(crate) index: u32,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    /// The pod's.
    pub(crate) tag: u64,
    pub(crate) max_flows: u32,
    /// Programs believe `cb[]`, for test runs.
    pub(crate) test_seam: bool,
}

/// Where they are kept.
pub(crate) fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("policy-agent/tests/releases"))
        .find(|releases| releases.is_dir())
        .unwrap()
}

/// The object that a release was built with.
pub(crate) fn object(release: &str) -> Vec<u8> {
    let path = objects().join(format!("{release}.o.gz"));
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
fn config_of_0_1_0(test_seam: bool) -> Vec<u8> {
    let words = [250u32, 16_384, 65_536, 10, 50].map(u32::to_ne_bytes);
    [words.concat(), vec![0, test_seam.into(), 0, 0]].concat()
}

/// ENDPOINTS of 0.1.0: epoch, interface, rulesets with their default port sets (to the pod nothing,
/// from it everything), addresses, number, flags (isolated both ways), bridge, reserved, tag.
fn endpoint_of_0_1_0(node: &Node<'_>) -> [u8; 64] {
    let mut bytes = Vec::new();
    bytes.extend(
        [9u32, node.index, 5, 0, 6, 1]
            .map(u32::to_ne_bytes)
            .concat(),
    );
    bytes.extend(node.v4.octets());
    bytes.extend(node.v6.octets());
    bytes.extend([3u16, 3].map(u16::to_ne_bytes).concat());
    bytes.extend([0u32, 0].map(u32::to_ne_bytes).concat());
    bytes.extend(node.tag.to_ne_bytes());
    bytes.try_into().unwrap()
}

/// What an agent of 0.1.0 leaves: its programs on the interface, its maps and links pinned.
pub(crate) fn leave_0_1_0(pins: &Path, node: &Node<'_>) -> Ebpf {
    let config = config_of_0_1_0(node.test_seam);
    let mut loader = EbpfLoader::new();
    loader.override_global(Config::SYMBOL, &config[..], true);
    for name in [
        names::ADDRESSES_V4,
        names::ADDRESSES_V6,
        names::RULES,
        names::PORTS,
    ] {
        loader.map_max_entries(name, 64);
    }
    for name in [names::FLOWS_V4, names::FLOWS_V6] {
        loader.map_max_entries(name, node.max_flows);
    }
    let mut old = loader.load(&object("0.1.0")).unwrap();
    for (name, map) in old.maps() {
        let name = if name == ".bss" { names::CONTROL } else { name };
        if !name.starts_with('.') {
            map.pin(pins.join(name)).unwrap();
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
        .insert(node.index, endpoint_of_0_1_0(node), 0)
        .unwrap();
    let mut state: Array<_, [u8; 16]> = old.map_mut(names::NODE_STATE).unwrap().try_into().unwrap();
    let epoch_and_layout: [u8; 16] = bytemuck::cast([9u64.to_ne_bytes(), 2u64.to_le_bytes()]);
    state.set(0, epoch_and_layout, 0).unwrap();
    for hook in Hook::ENDPOINT {
        let program = program(&mut old, hook);
        program.load().unwrap();
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(node.name, hook.direction(), options)
            .unwrap();
        let link: FdLink = program.take_link(id).unwrap().try_into().unwrap();
        let record = format!("links/{}-{}", node.index, hook.program());
        link.pin(pins.join(record)).unwrap();
    }
    old
}

pub(crate) fn program(ebpf: &mut Ebpf, hook: Hook) -> &mut SchedClassifier {
    let program = ebpf.program_mut(hook.program()).unwrap();
    program.try_into().unwrap()
}
