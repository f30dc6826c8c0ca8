//! What most of these tests begin with: the loaded programs, and a pod.

use std::sync::atomic::{AtomicBool, Ordering};

use policy_agent::datapath::{Datapath, LoadOptions, TableSizes, TestOrigin};
use policy_common::{Config, EndpointId, PortSetId, RulesetId};
use policy_core::plan::{DirectionEntry, EndpointEntry, Op};

/// The pod's addresses.
pub(crate) const OWN: [&str; 2] = ["10.0.0.9", "fd00::9"];

/// Programs believe what a test run says of a packet's origin.
pub(crate) const CONFIG: Config = Config {
    test_seam: 1,
    ..Config::DEFAULT
};

/// So fast that nothing expires, and no copy is too old, while a test runs.
const HZ: u32 = 1_000_000;

/// The programs, over tables with these operations.
pub(crate) fn load(config: Config, sizes: TableSizes, ops: &[Op]) -> Datapath {
    let options = LoadOptions {
        config,
        hz: Some(HZ),
        sizes,
        ..LoadOptions::embedded().unwrap()
    };
    let mut kernel = Datapath::load(&options, &[]).unwrap();
    apply(&mut kernel, ops);
    kernel
}

/// Writes the operations; programs remember again.
pub(crate) fn apply(kernel: &mut Datapath, ops: &[Op]) {
    let failures = kernel.apply(ops);
    assert!(failures.is_empty(), "{failures:?}");
    kernel.settle().unwrap();
}

/// A pod with the rules of ingress and egress; where it has none it is not isolated.
pub(crate) fn pod(ifindex: u32, id: u16, rules: [Option<DirectionEntry>; 2]) -> EndpointEntry {
    let [ingress, egress] = rules;
    EndpointEntry {
        ifindex,
        id: EndpointId(id),
        bridge: None,
        ingress,
        egress,
        addresses: OWN.map(|own| own.parse().unwrap()).to_vec(),
        unknown: false,
        pod_tag: ifindex.into(),
        mac: None,
        eui_64: false,
        services_later: false,
        new_epoch: true,
    }
}

/// What no rule of the ruleset names is denied.
pub(crate) fn rules(ruleset: RulesetId) -> Option<DirectionEntry> {
    Some(DirectionEntry {
        ruleset,
        default_ports: PortSetId::DENY_ALL,
        has_blocks: false,
    })
}

/// A packet at an interface that came by another one.
pub(crate) fn at(ifindex: u32, ingress_ifindex: u32) -> TestOrigin {
    TestOrigin {
        ifindex,
        ingress_ifindex,
        ..TestOrigin::default()
    }
}

/// Ends what other threads do until it is set, also when the test fails.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
