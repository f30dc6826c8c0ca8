//! What the agent does when the kernel has more to tell than it can take.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod watching;

use std::net::IpAddr;

use policy_agent::node::{Interface, NetnsKey, NodeEvent, Options};
use policy_harness::Netns;

use crate::watching::{Watching, addresses, pair};

/// A watcher with tiny buffers that a full channel holds up: it misses all that happens until the
/// next event is taken from it.
fn held_up(host: &Netns) -> (Watching, Vec<Interface>) {
    let options = Options {
        receive_buffer: Some(2304),
        ..Options::default()
    };
    let mut watching = Watching::start(host, options, 1);
    let first = watching.until("a snapshot", |event| match event {
        NodeEvent::Interfaces(all) => Some(all.clone()),
        _ => None,
    });
    (watching, first)
}

/// Enough of links that come and go to overrun any buffer.
fn overrun(host: &Netns) {
    let numbers = || 0..60;
    let add = numbers().map(|number| format!("link add d{number} type ifb"));
    let del = numbers().map(|number| format!("link del d{number}"));
    host.ip(&add.chain(del).collect::<Vec<_>>()).unwrap();
}

/// The snapshot that comes with the next resynchronisation.
fn resynced(watching: &mut Watching) -> Vec<Interface> {
    let mut last = None;
    watching.until("the resynchronisation", |event| match event {
        NodeEvent::Interfaces(all) => {
            last = Some(all.clone());
            None
        }
        NodeEvent::Resynced => last.take(),
        _ => None,
    })
}

fn key(all: &[Interface], name: &str) -> NetnsKey {
    let mut all = all.iter();
    let interface = all.find(|interface| &*interface.name == name).unwrap();
    interface.sandbox.as_ref().unwrap().netns
}

#[test]
fn an_overrun_socket_reads_everything_anew() {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    pair(&host, &pod, "veth0");
    let (mut watching, before) = held_up(&host);
    overrun(&host);
    host.ip(&["link add last type ifb"]).unwrap();
    let after = resynced(&mut watching);
    let names: Vec<&str> = after.iter().map(|interface| &*interface.name).collect();
    assert_eq!(names, ["lo", "veth0", "last"]);
    assert_eq!(key(&before, "veth0"), key(&after, "veth0"));
    // And what comes afterwards is told.
    host.ip(&["link add late type ifb"]).unwrap();
    watching.interface("late", |interface| &*interface.name == "late");
    watching.stop();
}

#[test]
fn a_namespace_that_took_anothers_number_unseen_is_told_apart() {
    let host = Netns::new("node-h").unwrap();
    let pod = Netns::new("node-p").unwrap();
    let make = |pod: &Netns| {
        let add = format!(
            "link add veth0 index 77 type veth peer name eth0 netns {}",
            pod.name()
        );
        host.ip(&[add]).unwrap();
    };
    make(&pod);
    let (mut watching, before) = held_up(&host);
    overrun(&host);
    host.ip(&["link del veth0"]).unwrap();
    drop(pod);
    let other = Netns::new("node-p").unwrap();
    make(&other);
    let after = resynced(&mut watching);
    assert_ne!(key(&before, "veth0"), key(&after, "veth0"));
    watching.stop();
}

#[test]
fn a_pod_that_changes_addresses_without_end_does_not_overrun_the_host() {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    pair(&host, &pod, "veth0");
    let options = Options {
        receive_buffer: Some(2304),
        ..Options::default()
    };
    let mut watching = Watching::start(&host, options, 64);
    watching.until("the start", |event| {
        matches!(event, NodeEvent::TunnelPorts(_)).then_some(())
    });
    let add: Vec<String> = (0..200)
        .map(|n| format!("addr add 10.9.0.{n}/32 dev eth0"))
        .collect();
    pod.ip(&add).unwrap();
    let all: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 9, 0, n])).collect();
    watching.until("all addresses", |event| match event {
        NodeEvent::Resynced => panic!("the host's own socket was overrun"),
        NodeEvent::Interface(interface) => all
            .iter()
            .all(|ip| addresses(interface).contains(ip))
            .then_some(()),
        _ => None,
    });
    watching.stop();
}
