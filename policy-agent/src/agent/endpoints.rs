//! From interfaces and bindings to endpoints.
//!
//! Owns when an interface is an endpoint: its number and what the resolver is told. Programs are
//! not its business: what a hook needs follows from what stands here.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use policy_core::{
    bind::{BindEvent, InterfaceFact},
    model::{Change, EndpointFact},
    plan::Op,
};

use super::{Agent, UnknownEndpoint, hooks::Job, ports::is_enforceable};
use crate::node::{Interface, InterfaceKind, Sandbox};

impl Agent {
    /// The whole list: what is absent is gone.
    pub(super) fn replace_interfaces(&mut self, interfaces: Vec<Interface>) {
        if !self.node_synced.interfaces {
            self.recall(&interfaces);
        }
        let present: BTreeSet<_> = interfaces.iter().map(|one| one.ifindex).collect();
        let known = self.ports.iter().map(|(ifindex, _)| ifindex);
        let gone: Vec<_> = known.filter(|ifindex| !present.contains(ifindex)).collect();
        for ifindex in gone {
            self.interface_gone(ifindex);
        }
        for interface in interfaces {
            self.interface(interface);
        }
    }

    /// One interface appeared or changed.
    pub(super) fn interface(&mut self, interface: Interface) {
        let ifindex = interface.ifindex;
        let namespace = |one: &Interface| one.sandbox.as_ref().map(|sandbox| sandbox.netns);
        let now = Instant::now();
        let is_late =
            namespace(&interface).is_some_and(|netns| self.is_set_up(netns, Some(ifindex), now));
        let is_start = !self.node_synced.interfaces;
        self.links_changed();
        if let Some(sandbox) = leads_into(&interface) {
            self.recall_sandbox(sandbox);
        }
        let port = self.ports.entry(ifindex);
        if port.interface.is_none() && !is_start {
            port.since = Some(now);
            port.is_late = is_late;
        }
        let before = port.interface.as_ref().and_then(namespace);
        let has_moved = before.is_some() && before != namespace(&interface);
        if has_moved && port.recorded && !port.moved {
            port.moved = true;
            // A pod may do that itself, with addresses of its choice behind: it proves nothing.
            tracing::error!(
                "interface {}: its other end moved to another network namespace; its pod is not known any more",
                interface.name
            );
        }
        let events = if port.moved {
            self.binder.interface_removed(ifindex)
        } else {
            self.binder.interface(fact(&interface))
        };
        self.own.seen(&interface);
        let is_ifb = interface.kind == InterfaceKind::Ifb;
        port.interface = Some(interface);
        // Nobody binds one that moved, and it stays a pod's.
        let is_endpoint = port.fact.is_some() || port.no_number || port.moved;
        self.ifb(ifindex, is_ifb);
        for event in events {
            self.on_bind(event);
        }
        // A bound interface is announced once; what else changed of it counts too.
        if is_endpoint {
            self.endpoint(ifindex);
        }
    }

    /// The kernel removed an interface, and with it whatever was attached.
    pub(super) fn interface_gone(&mut self, ifindex: u32) {
        let pod = self.binder.pod_behind(ifindex).cloned();
        let tag = self.binder.tag(ifindex);
        self.links_changed();
        let events = self.binder.interface_removed(ifindex);
        self.own.gone(ifindex);
        self.ifb(ifindex, false);
        let name = self.ports.name(ifindex);
        if let Some(pod) = pod {
            self.lost(pod, tag, (ifindex, name.clone()), Instant::now());
        }
        if let Some(port) = self.ports.remove(ifindex) {
            self.hooks.give(Job::Forget(ifindex));
            self.forgetting += 1;
            if port.fact.is_some() {
                tracing::info!(interface = %name, "endpoint removed");
                self.change(Change::EndpointRemoved(ifindex));
                self.ids.release(ifindex);
            }
        }
        for event in events.into_iter().filter(|event| event.ifindex != ifindex) {
            self.on_bind(event);
        }
    }

    /// What is known of the pod behind an interface changed.
    pub(super) fn on_bind(&mut self, event: BindEvent) {
        // While the interface exists it stays a pod's, also when it cannot be told whose any more: or
        // else a pod could free itself by what it does to its end.
        let BindEvent {
            ifindex,
            pod,
            problem,
        } = event;
        let name = self.ports.name(ifindex);
        self.links_changed();
        let port = self.ports.entry(ifindex);
        // A claim makes it a pod's interface, though it is not known which pod's.
        port.recorded |= pod.is_some() || problem.is_some();
        if let Some(problem) = &problem {
            tracing::error!("interface {name}: {problem}");
        }
        port.bind = problem;
        self.endpoint(ifindex);
    }

    /// Tells the resolver what the endpoint is now, if the interface is one.
    fn endpoint(&mut self, ifindex: u32) {
        let turn = self.turn + 1;
        let is_enforcing = self.phase.is_begun();
        let Some(port) = self.ports.get_mut(ifindex) else {
            return;
        };
        let Some(interface) = &port.interface else {
            return;
        };
        if self.unknown == UnknownEndpoint::Ignore && !port.recorded {
            return;
        }
        let Some(id) = self.ids.assign(ifindex) else {
            port.no_number = true;
            self.alarms.insert(ifindex);
            return;
        };
        port.no_number = false;
        let pod = self.binder.pod_behind(ifindex).cloned();
        if let Some(pod) = &pod {
            self.own.recorded(ifindex, self.binder.addresses(pod));
        }
        let link = self.own.link(ifindex);
        let fact = EndpointFact {
            ifindex,
            id,
            bridge: interface.bridge,
            pod,
            // One that moved away from its pod stays that pod's for the next run.
            tag: match (self.binder.tag(ifindex), &port.fact) {
                (0, Some(fact)) if port.moved => fact.tag,
                (tag, _) => tag,
            },
            own: self.own.addresses(ifindex),
            mac: self.check_mac.then_some(link.mac()).flatten(),
            eui_64: link.is_eui_64(),
        };
        if port.fact.as_ref() == Some(&fact) {
            return;
        }
        if port.fact.is_none() {
            port.entry = turn;
        }
        if is_enforcing {
            tracing::info!(
                interface = %interface.name,
                pod = fact.pod.as_ref().map(tracing::field::display),
                "endpoint"
            );
        }
        port.fact = Some(fact.clone());
        self.alarms.insert(ifindex);
        self.change(Change::Endpoint(fact));
    }

    /// Numbers are free again: whoever had none is tried again.
    pub(super) fn assign_numbers(&mut self) {
        let without = self.ports.iter().filter(|(_, port)| port.no_number);
        let without: Vec<_> = without.map(|(ifindex, _)| ifindex).collect();
        for ifindex in without {
            self.endpoint(ifindex);
        }
    }

    /// Gives a new number to interfaces behind which another pod is than in the run before: flows
    /// of one pod must open nothing for another. Returns the operations with those numbers.
    pub(super) fn renumber(&mut self, mut ops: Vec<Op>) -> Vec<Op> {
        let mut moved = Vec::new();
        for op in &ops {
            let Op::PutEndpoint(entry) = op else { continue };
            let port = self.ports.get(entry.ifindex);
            let before = port.and_then(|port| port.earlier.as_ref());
            let is_other = before.is_some_and(|before| {
                before.pod_tag != 0 && entry.pod_tag != 0 && before.pod_tag != entry.pod_tag
            });
            if is_other {
                moved.push(entry.ifindex);
            }
        }
        for ifindex in moved {
            self.ids.release(ifindex);
            let Some(port) = self.ports.get_mut(ifindex) else {
                continue;
            };
            if let Some(interface) = &port.interface {
                self.own.another_pod(interface);
            }
            let link = self.own.link(ifindex);
            if let (Some(id), Some(fact)) = (self.ids.assign(ifindex), &mut port.fact) {
                fact.id = id;
                fact.mac = self.check_mac.then_some(link.mac()).flatten();
                fact.eui_64 = link.is_eui_64();
                self.resolver.apply(Change::Endpoint(fact.clone()));
            }
        }
        // Numbers of endpoints that are gone are free after the first sweep.
        let is_endpoint = |ifindex: &u32| {
            self.ports
                .get(*ifindex)
                .is_some_and(|port| port.fact.is_some())
        };
        let gone: Vec<_> = self
            .ids
            .interfaces()
            .filter(|ifindex| !is_endpoint(ifindex))
            .collect();
        for ifindex in gone {
            self.ids.release(ifindex);
        }
        for (_, port) in self.ports.iter_mut() {
            port.earlier = None;
        }
        ops.extend(self.resolver.commit());
        ops
    }
}

/// The sandbox into which an interface leads that may be a pod's.
pub(super) fn leads_into(interface: &Interface) -> Option<&Sandbox> {
    let sandbox = interface.sandbox.as_ref();
    sandbox.filter(|_| is_enforceable(interface))
}

/// A sandbox's namespace as the binder calls it.
pub(super) fn key(sandbox: &Sandbox) -> Arc<str> {
    sandbox.netns.0.to_string().into()
}

/// The interface as the binder wants it.
fn fact(interface: &Interface) -> InterfaceFact {
    let sandbox = leads_into(interface);
    InterfaceFact {
        ifindex: interface.ifindex,
        netns: sandbox.map(key),
        addresses: sandbox
            .map(|sandbox| sandbox.addresses.clone())
            .unwrap_or_default(),
        sandbox: sandbox.is_some(),
    }
}
