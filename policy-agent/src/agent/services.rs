//! Addresses of Services, and where egress to them is judged.
//!
//! Whom a pod means that calls a Service is known when the node's proxy has translated the packet: there the
//! programs at pods and at the interfaces by which packets leave the node judge it. Owns what is known of
//! addresses, and whether the programs may rely on being asked again. Must not know what stands behind a Service.
//! Invariant: while a packet may leave the node by an interface that does not judge it, egress is judged
//! by Services' addresses as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use policy_core::model::{Change, ObjectName, ServiceFact};

use super::{
    Agent, ServicesStatus,
    hook_state::HookState,
    ports::{Port, Ports},
    tables::Request,
};
use crate::{
    datapath::Hook,
    node::{Interface, InterfaceKind},
};

/// For how long an interface is new.
const NEW: Duration = Duration::from_secs(5);

/// What is known of Services.
#[derive(Debug, Default)]
pub(super) struct Services {
    cidrs: Vec<IpNet>,
    named: BTreeMap<ObjectName, Vec<IpAddr>>,
    /// They are others than those that were written.
    anew: bool,
    /// The addresses that were written last, without those inside others.
    written: Vec<IpNet>,
    /// How many lists were written.
    lists: u64,
    /// What the resolver was told.
    told: u64,
    /// The interface by which packets leave the node without being judged, and was said so.
    open_exit: Option<String>,
}

impl Services {
    pub(super) fn of(cidrs: &[IpNet]) -> Self {
        Self {
            cidrs: cidrs.to_vec(),
            anew: !cidrs.is_empty(),
            ..Self::default()
        }
    }

    /// Takes what is said of a Service.
    fn put(&mut self, change: Change) {
        self.anew |= match change {
            Change::Service(ServiceFact { name, addresses }) => {
                self.named.insert(name, addresses.clone()) != Some(addresses)
            }
            Change::ServiceRemoved(name) => self.named.remove(&name).is_some(),
            _ => false,
        };
    }

    fn all(&self) -> Vec<IpNet> {
        let named = self.named.values().flatten().copied().map(IpNet::from);
        let all: BTreeSet<IpNet> = self.cidrs.iter().map(IpNet::trunc).chain(named).collect();
        let mut widest: Vec<IpNet> = Vec::new();
        for net in all {
            // In this order what is inside another follows it.
            if widest.last().is_none_or(|last| !last.contains(&net)) {
                widest.push(net);
            }
        }
        widest
    }

    pub(super) fn status(&self) -> ServicesStatus {
        ServicesStatus {
            ranges: self.written.len(),
            judged_behind: self.told != 0,
            open_exit: self.open_exit.clone(),
        }
    }
}

/// Whether packets leave the node by an interface, or by what it stands on. On a dummy nothing leaves, and what is
/// sent round by an IFB comes back.
pub(super) fn leads_out(interface: &Interface) -> bool {
    match &interface.kind {
        InterfaceKind::Loopback | InterfaceKind::Ifb => false,
        InterfaceKind::Other(kind) => &**kind != "dummy",
        InterfaceKind::Physical
        | InterfaceKind::Veth
        | InterfaceKind::Bridge
        | InterfaceKind::Vxlan
        | InterfaceKind::Geneve
        | InterfaceKind::Netkit => true,
    }
}

impl Ports {
    /// Why what leaves the node is not judged everywhere; `None`: it is. An interface that has just come is
    /// still to get its program, which takes milliseconds.
    fn open_exit(&self, now: Instant) -> Option<&str> {
        let pod_bridges = self.pod_bridges();
        let is_open = |port: &&Port| {
            let record = &port.hooks[Hook::Exit as usize];
            let is_new = matches!(record.state, HookState::Absent | HookState::Unknown)
                && record.removed.is_none()
                && port.since.is_some_and(|since| now - since < NEW);
            self.wanted(port, &pod_bridges).exit && !record.is_in_front() && !is_new
        };
        let open = self.iter().map(|(_, port)| port).find(is_open)?;
        open.interface.as_ref().map(|one| &*one.name)
    }
}

impl Agent {
    /// A Service came, changed or went.
    pub(super) fn service(&mut self, change: Change) {
        self.services.put(change);
    }

    /// What an isolated pod sends to this host or to a Service may leave the node translated. Once there was
    /// such a pod, the programs stay: policies come and go.
    pub(super) fn want_exits(&mut self) {
        self.ports.has_exits |= self.resolver.isolates_egress();
    }

    /// Tells programs and resolver what there is, once a turn.
    pub(super) fn write_services(&mut self, now: Instant) {
        if std::mem::take(&mut self.services.anew) {
            let all = self.services.all();
            if all != self.services.written {
                self.services.written.clone_from(&all);
                self.services.lists += 1;
                self.tables.ask(Request::Services(all));
            }
        }
        let is_any = !self.services.written.is_empty();
        self.ports.has_exits |= is_any;
        if !self.phase.is_begun() {
            return;
        }
        let open = is_any.then(|| self.ports.open_exit(now)).flatten();
        if open != self.services.open_exit.as_deref() {
            let open = open.map(str::to_owned);
            if let Some(open) = &open
                && self.services.told != 0
            {
                tracing::error!(
                    "packets may leave the node by {open} unjudged: egress to Services is judged by their own \
                     addresses until that is put right"
                );
            }
            self.services.open_exit = open;
        }
        let told = if is_any && self.services.open_exit.is_none() {
            self.services.lists
        } else {
            0
        };
        if told != self.services.told {
            self.services.told = told;
            self.change(Change::Services(told));
            self.pace.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, addresses: &[&str]) -> Change {
        Change::Service(ServiceFact {
            name: ObjectName::new("default", name),
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        })
    }

    #[test]
    fn addresses_inside_a_range_add_nothing() {
        let mut services = Services::of(&["10.96.0.1/12".parse().unwrap()]);
        assert!(std::mem::take(&mut services.anew));
        services.put(service("in", &["10.97.0.1", "2001:db8::7"]));
        services.put(service("out", &["192.0.2.7"]));
        assert!(std::mem::take(&mut services.anew));
        let said = |services: &Services| -> Vec<String> {
            services.all().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            said(&services),
            ["10.96.0.0/12", "192.0.2.7/32", "2001:db8::7/128"]
        );
        services.put(service("out", &["192.0.2.7"]));
        assert!(!services.anew);
        let out = ObjectName::new("default", "out");
        services.put(Change::ServiceRemoved(out));
        assert_eq!(said(&services), ["10.96.0.0/12", "2001:db8::7/128"]);
    }
}
