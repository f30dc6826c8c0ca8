//! Flows of two generations, in the kernel: needs root and the eBPF object.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directory;
mod generation;

use std::{path::Path, process::Command};

use policy_agent::datapath::{Datapath, TestOrigin, fill};
use policy_common::{EndpointId, names};

use crate::{
    directory::Directory,
    generation::{enforce, frame, load},
};

/// A generation in force with room for so many flows, in whose tables the pod may send everything and
/// nobody may open a connection to it.
fn enforced(directory: &Directory, max_flows: u32) -> Datapath {
    enforce(load(directory.pins(), max_flows), POD)
}

const POD: u32 = 7;

fn sends(datapath: &mut Datapath, v6: bool) -> bool {
    let origin = TestOrigin {
        ifindex: POD,
        ingress_ifindex: POD,
        ..TestOrigin::default()
    };
    let outcome = datapath.test_run(names::FROM_POD, &frame(true, v6), origin);
    outcome.unwrap().passed
}

fn receives(datapath: &mut Datapath, v6: bool) -> bool {
    let origin = TestOrigin {
        ifindex: POD,
        ingress_ifindex: 2,
        ..TestOrigin::default()
    };
    let outcome = datapath.test_run(names::TO_POD, &frame(false, v6), origin);
    outcome.unwrap().passed
}

#[test]
fn a_flow_that_begins_while_links_move_is_known_to_both_generations() {
    for v6 in [false, true] {
        let directory = Directory::new(if v6 { "both6" } else { "both4" });
        let mut old = enforced(&directory, 64);
        let mut new = enforced(&directory, 128);
        assert!(new.generation.carry.is_some(), "the tables are others");
        assert!(!receives(&mut new, v6), "nobody asked");
        // The old program opens the flow after the tables were copied; the new one sees the answer.
        assert!(sends(&mut old, v6));
        assert!(receives(&mut new, v6));
        new.generation.finish_carry().unwrap();
        assert!(receives(&mut new, v6), "it was taken along");
        drop(old);
        assert!(receives(&mut new, v6));
    }
}

#[test]
fn a_flow_that_the_new_program_begins_is_known_to_the_old_one() {
    let directory = Directory::new("reverse");
    let mut old = enforced(&directory, 64);
    let mut new = enforced(&directory, 128);
    assert!(!receives(&mut old, false), "nobody asked");
    assert!(sends(&mut new, false));
    assert!(receives(&mut old, false));
    new.generation.finish_carry().unwrap();
    assert!(receives(&mut new, false));
}

#[test]
fn what_the_old_programs_do_afterwards_is_nothing_to_the_new_ones() {
    let directory = Directory::new("after");
    let mut old = enforced(&directory, 64);
    let mut new = enforced(&directory, 128);
    new.generation.finish_carry().unwrap();
    assert!(sends(&mut old, false));
    assert!(!receives(&mut new, false));
}

#[test]
fn generations_with_tables_of_one_size_share_them() {
    let directory = Directory::new("shared");
    let mut old = enforced(&directory, 64);
    let mut new = enforced(&directory, 64);
    assert!(new.generation.carry.is_none());
    assert!(sends(&mut old, false));
    assert!(receives(&mut new, false));
}

#[test]
fn flows_move_along_into_larger_tables() {
    let directory = Directory::new("larger");
    let mut old = enforced(&directory, 64);
    assert!(sends(&mut old, false) && sends(&mut old, true));
    let _new = enforced(&directory, 128);
    let table = fill(directory.pins()).unwrap();
    for name in [names::FLOWS_V4, names::FLOWS_V6] {
        let flows = table.iter().find(|table| table.name == name).unwrap();
        assert_eq!((flows.entries, flows.most), (1, 128));
    }
    let kept = directory.pins().path().join(names::PREVIOUS_FLOWS_V4);
    assert!(!kept.exists(), "the old table lives on");
}

/// A map as the agent before had it, in whose only element these bytes are.
fn earlier_map(path: &Path, kind: &str, key: &[u8], value: &[u8]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let run = |arguments: Vec<String>| {
        let status = Command::new("bpftool").args(arguments).status().unwrap();
        assert!(status.success());
    };
    let path = path.display().to_string();
    let name = path.rsplit('/').next().unwrap();
    let entries = if kind == "array" { 1 } else { 64 };
    run(format!(
        "map create {path} type {kind} key {} value {} entries {entries} name {name}",
        key.len(),
        value.len()
    )
    .split(' ')
    .map(String::from)
    .collect());
    let bytes = |bytes: &[u8]| -> Vec<String> {
        let text: String = hex(bytes);
        let digits = text.as_bytes().chunks(2);
        digits
            .map(|pair| format!("0x{}", str::from_utf8(pair).unwrap()))
            .collect()
    };
    let update = ["map", "update", "pinned", &path, "key"].map(String::from);
    run([
        update.to_vec(),
        bytes(key),
        vec!["value".into()],
        bytes(value),
    ]
    .concat());
}

#[test]
fn what_an_agent_of_layout_2_left_is_taken_along() {
    let mut directory = Directory::new("layout2");
    let path = |name| directory.pins().path().join(name);
    // Endpoint 3 at the pod's interface: epoch, interface, rules, addresses, number, flags, bridge,
    // reserved, tag.
    let mut endpoint = Vec::new();
    endpoint.extend([9u32, POD, 5, 0, 6, 1].map(u32::to_ne_bytes).concat());
    endpoint.extend([10, 0, 0, 9]);
    endpoint.extend([0; 16]);
    endpoint.extend([3u16, 3].map(u16::to_ne_bytes).concat());
    endpoint.extend([0u32, 0].map(u32::to_ne_bytes).concat());
    endpoint.extend(77u64.to_ne_bytes());
    earlier_map(
        &path(names::ENDPOINTS),
        "hash",
        &POD.to_ne_bytes(),
        &endpoint,
    );
    // The pod asked; allowed, answered, under epoch 9. The time of its last packet is now: it was
    // stored a little ahead of the clock.
    let mut key = 3u16.to_ne_bytes().to_vec();
    key.extend([17, 0, 10, 0, 0, 9, 10, 0, 0, 1]);
    key.extend([4000u16, 53].map(u16::to_be_bytes).concat());
    let mut flow = 9u32.to_ne_bytes().to_vec();
    flow.extend([1, 1, 0, 0]);
    let elsewhere = Directory::new("jiffies");
    let jiffies = enforced(&elsewhere, 64)
        .test_run(names::JIFFIES, &[0; 14], TestOrigin::default())
        .unwrap()
        .action;
    flow.extend(jiffies.wrapping_add(60_000).to_ne_bytes());
    flow.extend(0u32.to_ne_bytes());
    earlier_map(&path(names::FLOWS_V4), "hash", &key, &flow);
    let state = [9u64.to_ne_bytes(), (u64::from(2u32)).to_le_bytes()].concat();
    earlier_map(&path(names::NODE_STATE), "array", &[0; 4], &state);

    let [earlier] = directory.pins().endpoints().unwrap()[..] else {
        panic!("one endpoint");
    };
    assert_eq!(
        (earlier.id, earlier.ifindex, earlier.epoch, earlier.pod_tag),
        (EndpointId(3), POD, 9, 77)
    );
    directory.restart();
    let mut datapath = enforced(&directory, 64);
    assert!(
        datapath.generation.carry.is_none(),
        "its programs cannot read those tables"
    );
    assert!(
        receives(&mut datapath, false),
        "the answer to the pod's question"
    );
    assert!(!receives(&mut datapath, true), "nobody asked");
    assert_eq!(directory.pins().endpoints().unwrap().len(), 1);
    let [endpoint] = datapath.endpoints().unwrap()[..] else {
        panic!("one endpoint");
    };
    assert!(endpoint.epoch > 9, "no flow looks newer than it is");
}
