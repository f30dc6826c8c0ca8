//! Which addresses an interface's pod may call its own: IP addresses while nobody says whose the
//! interface is, and its link's own at all times.
//!
//! Owns the memory of what an interface came with. Invariant: whoever lives behind an interface
//! changes nothing here once it was seen; only a pod's record does.

use std::{collections::BTreeMap, net::IpAddr};

use policy_common::Endpoint;

use crate::node::Interface;

/// What interfaces came with.
#[derive(Debug, Default)]
pub(super) struct Own {
    addresses: BTreeMap<u32, OwnAddresses>,
    links: BTreeMap<u32, OwnLink>,
}

/// The addresses of an interface's pod.
#[derive(Debug, Default)]
struct OwnAddresses {
    all: Vec<IpAddr>,
    /// A pod's record or the run before told them: what is seen adds nothing.
    are_told: bool,
}

impl OwnAddresses {
    fn told(all: Vec<IpAddr>) -> Self {
        Self {
            all,
            are_told: true,
        }
    }

    /// Who sets an interface up gives it one address after the other, and a reading may fall in
    /// between: of each family, those count that were there when there was one.
    fn seen(&mut self, addresses: &[IpAddr]) {
        if self.are_told {
            return;
        }
        for is_ipv4 in [true, false] {
            let of_family = |one: &IpAddr| one.is_ipv4() == is_ipv4;
            if !self.all.iter().any(of_family) {
                let new = addresses.iter().copied();
                self.all.extend(new.filter(of_family).filter(is_routable));
            }
        }
    }
}

/// What an interface is to its link, for good from when its pod was first known: until then whoever
/// sets it up may still change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnLink {
    mac: Option<[u8; 6]>,
    /// Its pod was known once.
    is_given: bool,
    /// Its link-local address is made of that; nothing while it has none.
    eui_64: Option<bool>,
}

impl OwnLink {
    /// Its Ethernet address; nothing before its pod was known.
    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        self.mac.filter(|_| self.is_given)
    }

    /// Its link-local address is the one made of its Ethernet address.
    pub(super) fn is_eui_64(&self) -> bool {
        self.is_given && self.eui_64 == Some(true)
    }
}

impl Own {
    /// What the run before had written: its pods may have changed theirs since.
    pub(super) fn of_earlier(endpoints: &[Endpoint]) -> Self {
        let addresses = endpoints.iter().map(|endpoint| {
            let v4 = IpAddr::from(endpoint.v4.0);
            let v6 = IpAddr::from(endpoint.v6.0);
            let known = [v4, v6].into_iter();
            let known = known.filter(|address| !address.is_unspecified());
            (endpoint.ifindex, known.collect::<Vec<_>>())
        });
        let addresses = addresses.filter(|(_, known)| !known.is_empty());
        let links = endpoints.iter().filter(|one| one.has(Endpoint::MAC));
        let links = links.map(|endpoint| {
            let link = OwnLink {
                mac: Some(endpoint.mac),
                is_given: true,
                eui_64: endpoint.has(Endpoint::EUI_64).then_some(true),
            };
            (endpoint.ifindex, link)
        });
        Self {
            addresses: addresses
                .map(|(ifindex, known)| (ifindex, OwnAddresses::told(known)))
                .collect(),
            links: links.collect(),
        }
    }

    /// An interface exists like this. What is seen first stays.
    pub(super) fn seen(&mut self, interface: &Interface) {
        let Some(sandbox) = &interface.sandbox else {
            return;
        };
        let addresses = self.addresses.entry(interface.ifindex).or_default();
        addresses.seen(&sandbox.addresses);
        let link = self.links.entry(interface.ifindex).or_default();
        if !link.is_given || link.mac.is_none() {
            (link.mac, link.eui_64) = (sandbox.mac, None);
        }
        let mut given = sandbox.addresses.iter().filter(|one| is_link_local(one));
        if let (None, Some(mac)) = (link.eui_64, link.mac)
            && given.clone().next().is_some()
        {
            let made = Endpoint {
                mac,
                ..Endpoint::default()
            };
            let made = IpAddr::from(made.link_local().0);
            link.eui_64 = Some(given.any(|one| *one == made));
        }
    }

    /// The interface is this pod's, for which these addresses are recorded.
    pub(super) fn recorded(&mut self, ifindex: u32, addresses: &[IpAddr]) {
        if !addresses.is_empty() {
            let told = OwnAddresses::told(addresses.to_vec());
            self.addresses.insert(ifindex, told);
            self.links.entry(ifindex).or_default().is_given = true;
        }
    }

    /// Another pod than in the run before is behind the interface: what that one was to its link says
    /// nothing of this one.
    pub(super) fn another_pod(&mut self, interface: &Interface) {
        self.links.remove(&interface.ifindex);
        self.seen(interface);
        self.links.entry(interface.ifindex).or_default().is_given = true;
    }

    /// The interface is gone.
    pub(super) fn gone(&mut self, ifindex: u32) {
        self.addresses.remove(&ifindex);
        self.links.remove(&ifindex);
    }

    /// What the interface's pod is to its link.
    pub(super) fn link(&self, ifindex: u32) -> OwnLink {
        self.links.get(&ifindex).copied().unwrap_or_default()
    }

    /// The addresses of an interface's pod.
    pub(super) fn addresses(&self, ifindex: u32) -> Vec<IpAddr> {
        let own = self.addresses.get(&ifindex);
        own.map(|own| own.all.clone()).unwrap_or_default()
    }
}

/// An address that a pod may have been given: not one that every interface gives itself.
fn is_routable(address: &IpAddr) -> bool {
    !is_link_local(address) && !address.is_loopback()
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_common::{V4, V6};

    use super::*;
    use crate::{
        netns::Mark,
        node::{InterfaceKind, NetnsKey, Sandbox},
    };

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
                number: 1,
                name: None,
                mark: Mark::default(),
                names: Arc::default(),
                ifindex: 2,
                mac: Some([2, 0, 0, 0, 0, 7]),
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
    fn a_family_whose_address_comes_after_the_others_counts_too() {
        for order in [["10.0.0.7", "fd00::7"], ["fd00::7", "10.0.0.7"]] {
            let mut own = Own::default();
            own.seen(&interface(&order[..1]));
            own.seen(&interface(&order));
            own.seen(&interface(&["10.0.0.7", "10.0.0.8", "fd00::7", "fd00::8"]));
            assert_eq!(own.addresses(7), parsed(&order));
        }
        let mut own = Own::default();
        own.recorded(7, &parsed(&["10.0.0.7"]));
        own.seen(&interface(&["10.0.0.7", "fd00::7"]));
        assert_eq!(
            own.addresses(7),
            parsed(&["10.0.0.7"]),
            "its record has one"
        );
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

    #[test]
    fn what_an_interface_is_to_its_link_is_settled_when_its_pod_is_known() {
        let made = "fe80::ff:fe00:7";
        let mut own = Own::default();
        own.seen(&interface(&["10.0.0.7", "fe80::99"]));
        assert_eq!(own.link(7).mac(), None, "it is still being set up");
        own.seen(&interface(&["10.0.0.7"]));
        own.recorded(7, &parsed(&["10.0.0.7"]));
        assert_eq!(own.link(7).mac(), Some([2, 0, 0, 0, 0, 7]));
        assert!(!own.link(7).is_eui_64(), "it has none yet");
        let mut changed = interface(&["10.0.0.7", made, "fe80::99"]);
        changed.sandbox.as_mut().unwrap().mac = Some([2, 0, 0, 0, 0, 8]);
        own.seen(&changed);
        assert_eq!(own.link(7).mac(), Some([2, 0, 0, 0, 0, 7]));
        assert!(own.link(7).is_eui_64());
        own.seen(&interface(&["fe80::99"]));
        assert!(own.link(7).is_eui_64());
        own.gone(7);
        own.recorded(7, &parsed(&["10.0.0.7"]));
        own.seen(&interface(&["fe80::99"]));
        own.seen(&interface(&[made]));
        assert!(!own.link(7).is_eui_64(), "it came with another");
    }
}
