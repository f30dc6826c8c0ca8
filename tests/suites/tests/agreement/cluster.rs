//! What random clusters lack: interfaces that are all pods', policies that allow much.

use policy_agent::datapath::TableSizes;
use policy_common::EndpointId;
use policy_core::model::{
    Change, EndpointFact, ObjectName, Peers, PolicyFact, PortMatch, Ports, Protocol, Rule, Selector,
};

use policy_core::laws::strategies as generate;

/// Every interface is a pod's at first.
pub(crate) fn inhabit(ifindex: u32) -> Change {
    let name = generate::PODS[ifindex as usize - 1];
    Change::Endpoint(EndpointFact {
        ifindex,
        id: EndpointId(ifindex as u16 + 100),
        bridge: None,
        pod: Some(ObjectName::new("a", name)),
        ..EndpointFact::default()
    })
}

/// Random policies allow little: one that allows much comes, turns round, and goes.
pub(crate) fn open(step: usize) -> Change {
    let name = ObjectName::new("a", "open");
    let ports = vec![
        PortMatch::Range(Protocol::Tcp, 80, 8080),
        PortMatch::AnyPort(Protocol::Udp),
        PortMatch::AnyPort(Protocol::Sctp),
    ];
    let rule = |ports| Rule {
        peers: Peers::All,
        ports,
    };
    let some = Some(vec![rule(Ports::AnyOf(ports))]);
    let all = Some(vec![rule(Ports::All)]);
    let (ingress, egress) = match step % 5 {
        0 => (some, Some(vec![])),
        1 => (Some(vec![]), some),
        2 => (some.clone(), some),
        3 => (all.clone(), all),
        _ => return Change::PolicyRemoved(name),
    };
    Change::Policy(PolicyFact {
        name,
        subjects: Selector::everything(),
        ingress,
        egress,
    })
}

/// Tables that a random cluster fits in.
pub(crate) fn small() -> TableSizes {
    TableSizes {
        max_endpoints: 256,
        max_addresses: 64,
        max_cidrs: 1024,
        max_rules: 65_536,
        max_port_sets: 1024,
        max_ports: 65_536,
        max_flows: 1024,
    }
}
