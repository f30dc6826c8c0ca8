//! What the agent learns by netlink about a host: the host is a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod watching;

use std::net::IpAddr;

use policy_agent::node::{Child, Interface, InterfaceKind, NodeEvent, Options};
use policy_harness::Netns;

use crate::watching::{Watching, addresses, pair};

#[test]
fn what_is_there_at_the_start_is_told_first() {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    pair(&host, &pod, "veth0");
    pod.ip(&[
        "addr add 10.1.0.5/32 dev eth0",
        "addr add fd00::5/128 dev eth0",
        "link set eth0 up",
    ])
    .unwrap();
    host.ip(&[
        "link add br0 type bridge",
        "link add d0 type ifb",
        "link set veth0 master br0",
        "addr add 192.0.2.1/24 dev br0",
        "addr add 198.51.100.1/32 dev lo",
        "link add vx0 type vxlan id 7 dstport 4789 dev br0",
    ])
    .unwrap();
    let mut watching = Watching::start(&host, Options::default(), 64);
    let all = watching.until("a snapshot", |event| match event {
        NodeEvent::Interfaces(all) => Some(all.clone()),
        other => panic!("first came {other:?}"),
    });
    let named = |name: &str| {
        all.iter()
            .find(|interface| &*interface.name == name)
            .unwrap()
    };
    let veth = named("veth0");
    let sandbox = veth.sandbox.as_ref().unwrap();
    assert_eq!(veth.kind, InterfaceKind::Veth);
    assert_eq!(veth.ifindex, host.ifindex("veth0").unwrap());
    assert_eq!(veth.bridge, Some(host.ifindex("br0").unwrap()));
    assert_eq!(sandbox.name.as_deref(), Some(pod.name()));
    assert_eq!(sandbox.ifindex, pod.ifindex("eth0").unwrap());
    for address in ["10.1.0.5", "fd00::5"] {
        assert!(
            sandbox.addresses.contains(&address.parse().unwrap()),
            "{sandbox:?}"
        );
    }
    assert_eq!(named("br0").kind, InterfaceKind::Bridge);
    assert_eq!(named("lo").kind, InterfaceKind::Loopback);
    let host_addresses = watching.until("host addresses", |event| match event {
        NodeEvent::HostAddresses(all) => Some(all.clone()),
        _ => None,
    });
    let expected: Vec<IpAddr> = ["192.0.2.1", "198.51.100.1"]
        .map(|text| text.parse().unwrap())
        .into();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = host_addresses.iter().partition(|ip| ip.is_ipv4());
    assert_eq!(v4, expected, "without 127.0.0.1");
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    assert!(
        v6.iter().any(link_local) && v6.iter().all(link_local),
        "without ::1: {v6:?}"
    );
    let ports = watching.until("tunnel ports", |event| match event {
        NodeEvent::TunnelPorts(ports) => Some(ports.clone()),
        _ => None,
    });
    assert_eq!(ports, [4789]);
    watching.stop();
}

#[test]
fn an_interface_is_followed_from_its_making_to_its_end() {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    let mut watching = Watching::start(&host, Options::default(), 64);
    watching.until("the start", |event| {
        matches!(event, NodeEvent::TunnelPorts(_)).then_some(())
    });

    pair(&host, &pod, "veth0");
    let made = watching.interface("veth0", |interface| &*interface.name == "veth0");
    assert!(made.sandbox.is_some());

    // No message of the host's own namespace speaks of these.
    for address in ["10.1.0.5/32", "fd00::5/128"] {
        pod.ip(&[format!("addr add {address} dev eth0")]).unwrap();
        let wanted: ipnet::IpNet = address.parse().unwrap();
        watching.interface(address, |interface| {
            addresses(interface).contains(&wanted.addr())
        });
    }
    pod.ip(&["addr del 10.1.0.5/32 dev eth0"]).unwrap();
    let gone: IpAddr = "10.1.0.5".parse().unwrap();
    let after = watching.interface("the address's end", |interface| {
        &*interface.name == "veth0" && !addresses(interface).contains(&gone)
    });
    assert_eq!(
        after.sandbox.as_ref().map(|sandbox| sandbox.netns),
        made.sandbox.as_ref().map(|sandbox| sandbox.netns),
    );

    host.ip(&["link add br0 type bridge", "link set veth0 master br0"])
        .unwrap();
    let bridge = host.ifindex("br0").unwrap();
    watching.interface("the bridge", |interface| interface.bridge == Some(bridge));
    // A bridge announces a leaving port with RTM_DELLINK, which is not the link's end.
    host.ip(&["link set veth0 nomaster"]).unwrap();
    watching.interface("the port's leaving", |interface| {
        interface.ifindex == made.ifindex && interface.bridge.is_none()
    });
    host.ip(&["link set veth0 down", "link set veth0 name renamed"])
        .unwrap();
    watching.interface("the name", |interface| &*interface.name == "renamed");

    drop(pod);
    watching.until("the end", |event| {
        (*event == NodeEvent::InterfaceGone(made.ifindex)).then_some(())
    });
    watching.stop();
}

#[test]
fn a_pair_whose_end_moves_away_later_gets_its_sandbox() {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    let mut watching = Watching::start(&host, Options::default(), 64);
    host.ip(&["link add veth0 type veth peer name inner"])
        .unwrap();
    let pair = watching.interface("veth0", |interface| &*interface.name == "veth0");
    assert!(pair.sandbox.is_none());
    host.ip(&[format!("link set inner netns {}", pod.name())])
        .unwrap();
    let moved = watching.interface("the sandbox", |interface| {
        interface.ifindex == pair.ifindex && interface.sandbox.is_some()
    });
    assert_eq!(moved.sandbox.unwrap().name.as_deref(), Some(pod.name()));
    watching.stop();
}

#[test]
fn an_index_that_is_used_again_is_another_interface() {
    let host = Netns::new("node-h").unwrap();
    let first = Netns::new("node-p").unwrap();
    let mut watching = Watching::start(&host, Options::default(), 64);
    let make = |pod: &Netns| {
        let add = format!(
            "link add veth0 index 77 type veth peer name eth0 netns {}",
            pod.name()
        );
        host.ip(&[add]).unwrap();
    };
    make(&first);
    let old = watching.interface("the first", |interface| interface.ifindex == 77);
    // A namespace's end is announced before its interfaces have gone.
    host.ip(&["link del veth0"]).unwrap();
    drop(first);
    watching.until("the end", |event| {
        (*event == NodeEvent::InterfaceGone(77)).then_some(())
    });
    let second = Netns::new("node-p").unwrap();
    make(&second);
    let new = watching.interface("the second", |interface| interface.ifindex == 77);
    let key = |interface: &Interface| interface.sandbox.as_ref().unwrap().netns;
    assert_ne!(key(&old), key(&new));
    assert_eq!(new.sandbox.unwrap().name.as_deref(), Some(second.name()));
    watching.stop();
}

#[test]
fn host_addresses_tunnel_ports_and_filters_are_live() {
    let host = Netns::new("node-h").unwrap();
    host.ip(&["link add d0 type ifb", "link set d0 up"])
        .unwrap();
    let mut watching = Watching::start(&host, Options::default(), 64);
    watching.until("the start", |event| {
        matches!(event, NodeEvent::TunnelPorts(_)).then_some(())
    });
    let address: IpAddr = "fd00::9".parse().unwrap();
    for (command, there) in [("add", true), ("del", false)] {
        host.ip(&[format!("addr {command} fd00::9/64 dev d0")])
            .unwrap();
        watching.until("the address", |event| match event {
            NodeEvent::HostAddresses(all) => (all.contains(&address) == there).then_some(()),
            _ => None,
        });
    }
    host.ip(&["link add vx0 type vxlan id 7 dstport 8472 dev d0"])
        .unwrap();
    watching.until("the port", |event| {
        (*event == NodeEvent::TunnelPorts(vec![8472])).then_some(())
    });
    host.ip(&["link del vx0"]).unwrap();
    watching.until("its end", |event| {
        (*event == NodeEvent::TunnelPorts(vec![])).then_some(())
    });

    let ifindex = host.ifindex("d0").unwrap();
    for arguments in [
        &["qdisc", "add", "dev", "d0", "clsact"][..],
        &[
            "filter", "add", "dev", "d0", "ingress", "u32", "match", "u32", "0", "0",
        ],
        &["filter", "del", "dev", "d0", "ingress"],
    ] {
        host.exec("tc", arguments).unwrap();
        watching.until("a change of tc", |event| {
            (*event == NodeEvent::TcChanged { ifindex }).then_some(())
        });
    }
    watching.stop();
}

/// A host with a bridge and an uplink, and a pod.
fn machines() -> (Netns, Netns) {
    let (host, pod) = (Netns::new("node-h").unwrap(), Netns::new("node-p").unwrap());
    pair(&host, &pod, "veth0");
    host.ip(&[
        "link add br0 type bridge",
        "link add up0 type veth peer name up1",
    ])
    .unwrap();
    (host, pod)
}

fn child(watching: &mut Watching, name: &str) -> Child {
    watching.until(name, |event| match event {
        NodeEvent::Child(child) if &*child.name == name => Some(child.clone()),
        _ => None,
    })
}

/// What the first list has.
fn listed(watching: &mut Watching) -> Vec<Child> {
    watching.until("the list", |event| match event {
        NodeEvent::Children(all) => Some(all.clone()),
        _ => None,
    })
}

#[test]
fn every_kind_of_child_of_a_link_of_the_host_is_told_while_it_lasts() {
    let (host, pod) = machines();
    let mut watching = Watching::start(&host, Options::default(), 64);
    assert!(listed(&mut watching).is_empty());
    for (below, kind, options) in [
        ("br0", "macvlan", "mode bridge"),
        ("br0", "macvtap", "mode bridge"),
        ("up0", "macvlan", "mode private"),
        ("up0", "macvtap", "mode passthru"),
    ] {
        let add = format!(
            "link add way0 link {below} netns {} type {kind} {options}",
            pod.name()
        );
        host.ip(&[add]).unwrap();
        let found = child(&mut watching, "way0");
        assert_eq!(found.kind.to_string(), kind);
        assert_eq!(found.below, Some(host.ifindex(below).unwrap()), "{kind}");
        pod.ip(&["link del way0"]).unwrap();
        let gone = watching.until("its end", |event| match event {
            NodeEvent::ChildGone { netns, ifindex } => Some((*netns, *ifindex)),
            _ => None,
        });
        assert_eq!(gone, (found.netns, found.ifindex), "{kind}");
    }
    watching.stop();
}

#[test]
fn a_tunnel_of_a_pod_whose_outer_packets_are_the_hosts_is_told_too() {
    let (host, pod) = machines();
    let mut watching = Watching::start(&host, Options::default(), 64);
    host.ip(&[
        "link add tun0 type vxlan id 5 dstport 4789 local 192.0.2.1 remote 192.0.2.2".to_owned(),
        format!("link set tun0 netns {}", pod.name()),
    ])
    .unwrap();
    let found = child(&mut watching, "tun0");
    assert_eq!(found.kind.to_string(), "vxlan");
    watching.stop();
}

#[test]
fn a_child_that_is_made_from_inside_is_told_and_one_that_was_there_is_in_the_list() {
    let (host, pod) = machines();
    let bridge = host.ifindex("br0").unwrap();
    // As soon as somebody looks, the host has a number in the pod.
    pod.ip(&[
        "link show".to_owned(),
        format!("link add way0 link if{bridge} link-netnsid 0 type macvlan mode bridge"),
    ])
    .unwrap();
    let mut watching = Watching::start(&host, Options::default(), 64);
    let [first] = &listed(&mut watching)[..] else {
        panic!("one child");
    };
    assert_eq!((&*first.name, first.below), ("way0", Some(bridge)));
    pod.ip(&["link set way0 name way1"]).unwrap();
    let renamed = child(&mut watching, "way1");
    assert_eq!(
        (renamed.netns, renamed.ifindex),
        (first.netns, first.ifindex)
    );
    watching.stop();
}

#[test]
fn the_hosts_own_children_and_those_of_the_pods_own_links_are_none() {
    let (host, pod) = machines();
    let mut watching = Watching::start(&host, Options::default(), 64);
    host.ip(&[
        "link add own0 link br0 type macvlan mode bridge",
        "link add own1 link up0 type macvtap mode bridge",
    ])
    .unwrap();
    pod.ip(&[
        "link add own2 link eth0 type macvlan mode bridge",
        "link add own3 link eth0 type macvtap mode bridge",
        "link add own4 type veth peer name own5",
    ])
    .unwrap();
    let way = format!("link add way0 link br0 netns {} type macvlan", pod.name());
    host.ip(&[way]).unwrap();
    // Events come in order.
    let first = watching.until("a child", |event| match event {
        NodeEvent::Child(child) => Some(child.name.clone()),
        _ => None,
    });
    assert_eq!(&*first, "way0");
    watching.stop();
}
