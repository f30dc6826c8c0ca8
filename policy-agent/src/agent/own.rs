//! Which addresses an interface's pod may call its own while nobody says whose the interface is.
//!
//! Owns the memory of what an interface came with. Invariant: whoever lives behind an interface
//! changes nothing here once it was seen; only a pod's record does.

use std::{collections::BTreeMap, net::IpAddr};

use policy_common::Endpoint;

use crate::node::Interface;

/// What interfaces came with.
#[derive(Debug, Default)]
pub(super) struct Own {
    addresses: BTreeMap<u32, Vec<IpAddr>>,
}

impl Own {
    /// What the run before had written: its pods may have changed theirs since.
    pub(super) fn of_earlier(endpoints: &[Endpoint]) -> Self {
        let addresses = endpoints.iter().map(|endpoint| {
            let v4 = IpAddr::from(endpoint.v4.0);
            let v6 = IpAddr::from(endpoint.v6.0);
            let known = [v4, v6].into_iter();
            let known = known.filter(|address| !address.is_unspecified());
            (endpoint.ifindex, known.collect())
        });
        Self {
            addresses: addresses
                .filter(|(_, known): &(u32, Vec<IpAddr>)| !known.is_empty())
                .collect(),
        }
    }

    /// An interface exists like this. What is seen first stays.
    pub(super) fn seen(&mut self, interface: &Interface) {
        let Some(sandbox) = &interface.sandbox else {
            return;
        };
        let routable = sandbox.addresses.iter().copied().filter(is_routable);
        let seen: Vec<_> = routable.collect();
        if !seen.is_empty() {
            self.addresses.entry(interface.ifindex).or_insert(seen);
        }
    }

    /// The interface is this pod's, for which these addresses are recorded.
    pub(super) fn recorded(&mut self, ifindex: u32, addresses: &[IpAddr]) {
        if !addresses.is_empty() {
            self.addresses.insert(ifindex, addresses.to_vec());
        }
    }

    /// The interface is gone.
    pub(super) fn gone(&mut self, ifindex: u32) {
        self.addresses.remove(&ifindex);
    }

    /// The addresses of an interface's pod.
    pub(super) fn addresses(&self, ifindex: u32) -> Vec<IpAddr> {
        self.addresses.get(&ifindex).cloned().unwrap_or_default()
    }
}

/// An address that a pod may have been given: not one that every interface gives itself.
fn is_routable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_link_local && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use policy_common::{V4, V6};

    use super::*;
    use crate::node::{InterfaceKind, NetnsKey, Sandbox};

    fn interface(addresses: &[&str]) -> Interface {
        Interface {
            ifindex: 7,
            name: "v7".into(),
            kind: InterfaceKind::Veth,
            hardware: 1,
            up: true,
            bridge: None,
            sandbox: Some(Sandbox {
                netns: NetnsKey(1),
                name: None,
                ifindex: 2,
                addresses: parsed(addresses),
            }),
        }
    }

    fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_seen_first_stays_whatever_the_pod_does() {
        let mut own = Own::default();
        own.seen(&interface(&["fe80::1"]));
        assert_eq!(own.addresses(7), parsed(&[]), "everybody has one of those");
        own.seen(&interface(&["10.0.0.7", "fd00::7", "fe80::1"]));
        own.seen(&interface(&["10.0.0.8"]));
        assert_eq!(own.addresses(7), parsed(&["10.0.0.7", "fd00::7"]));
        own.gone(7);
        own.seen(&interface(&["10.0.0.8"]));
        assert_eq!(own.addresses(7), parsed(&["10.0.0.8"]), "another interface");
    }

    #[test]
    fn a_pods_record_outlives_its_object() {
        let mut own = Own::default();
        own.seen(&interface(&["10.0.0.7"]));
        own.recorded(7, &parsed(&["10.0.0.9"]));
        own.recorded(7, &[]);
        own.seen(&interface(&["10.0.0.7"]));
        assert_eq!(own.addresses(7), parsed(&["10.0.0.9"]));
    }

    #[test]
    fn a_restart_reads_what_was_written() {
        let earlier = Endpoint {
            ifindex: 7,
            v4: V4([10, 0, 0, 7]),
            v6: V6::default(),
            ..Endpoint::default()
        };
        let mut own = Own::of_earlier(&[earlier]);
        own.seen(&interface(&["10.0.0.66"]));
        assert_eq!(own.addresses(7), parsed(&["10.0.0.7"]));
    }
}
