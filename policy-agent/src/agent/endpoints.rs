//! From interfaces and bindings to endpoints with programs.
//!
//! Owns when an interface is an endpoint: its number, what the resolver is told, and attaching.
//! Invariant: the endpoint's entry is written before its programs are attached, and its programs
//! are gone before its number is given back.

use std::collections::BTreeSet;

use policy_core::{
    bind::{BindEvent, InterfaceFact},
    model::{Change, EndpointFact},
    plan::Op,
};

use super::{Agent, AgentError, UnknownEndpoint};
use crate::{
    datapath::{AttachError, Hook},
    node::{Interface, InterfaceKind},
};

impl Agent {
    /// The whole list: what is absent is gone.
    pub(super) fn replace_interfaces(&mut self, interfaces: Vec<Interface>) {
        let present: BTreeSet<_> = interfaces.iter().map(|one| one.ifindex).collect();
        let gone: Vec<_> = self
            .interfaces
            .keys()
            .chain(&self.recorded)
            .filter(|ifindex| !present.contains(ifindex))
            .copied()
            .collect();
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
        let before = self.interfaces.get(&ifindex).and_then(namespace);
        let has_moved = before.is_some() && before != namespace(&interface);
        if has_moved && self.recorded.contains(&ifindex) && self.moved.insert(ifindex) {
            // A pod may do that itself, with addresses of its choice behind: it proves nothing.
            tracing::error!(
                "interface {}: its other end moved to another network namespace; its pod is not known any more",
                interface.name
            );
        }
        let events = if self.moved.contains(&ifindex) {
            self.binder.interface_removed(ifindex)
        } else {
            self.binder.interface(fact(&interface))
        };
        self.own.seen(&interface);
        self.interfaces.insert(ifindex, interface);
        for event in events {
            self.on_bind(event);
        }
        // A bound interface is announced once; what else changed of it counts too.
        if self.endpoints.contains_key(&ifindex) {
            self.endpoint(ifindex);
        }
        self.attach(ifindex);
    }

    /// The kernel removed an interface, and with it whatever was attached.
    pub(super) fn interface_gone(&mut self, ifindex: u32) {
        let events = self.binder.interface_removed(ifindex);
        self.remove_endpoint(ifindex);
        self.interfaces.remove(&ifindex);
        self.recorded.remove(&ifindex);
        self.moved.remove(&ifindex);
        self.own.gone(ifindex);
        self.bind_problems.remove(&ifindex);
        for event in events {
            self.on_bind(event);
        }
        self.attached.retain(|(index, _)| *index != ifindex);
        self.moves.retain(|(index, _), _| *index != ifindex);
        self.verify.remove(&ifindex);
        if let Err(error) = self.attacher.forget(ifindex) {
            tracing::warn!("forgetting interface {ifindex}: {error}");
        }
    }

    /// What is known of the pod behind an interface changed.
    pub(super) fn on_bind(&mut self, event: BindEvent) {
        // `gone` says that it cannot be told whose the interface is; while it exists it stays a
        // pod's, or else a pod could free itself by what it does to its end.
        let BindEvent {
            ifindex,
            gone: _,
            pod,
            problem,
        } = event;
        // A claim makes it a pod's interface, though it is not known which pod's.
        if pod.is_some() || problem.is_some() {
            self.recorded.insert(ifindex);
        }
        match problem {
            Some(problem) => {
                tracing::error!("interface {}: {problem}", self.name(ifindex));
                self.bind_problems.insert(ifindex, problem);
            }
            None => {
                self.bind_problems.remove(&ifindex);
            }
        }
        self.endpoint(ifindex);
        self.attach(ifindex);
    }

    /// Tells the resolver what the endpoint is now, if the interface is one.
    fn endpoint(&mut self, ifindex: u32) {
        let Some(interface) = self.interfaces.get(&ifindex) else {
            return;
        };
        let bridge = interface.bridge;
        if self.unknown == UnknownEndpoint::Ignore && !self.recorded.contains(&ifindex) {
            return;
        }
        let Some(id) = self.ids.assign(ifindex) else {
            let reason = "every endpoint number is in use (--max-endpoints)";
            self.not_enforced(ifindex, reason.into());
            return;
        };
        let pod = self.binder.pod_behind(ifindex).cloned();
        if let Some(pod) = &pod {
            self.own.recorded(ifindex, self.binder.addresses(pod));
        }
        let fact = EndpointFact {
            ifindex,
            id,
            bridge,
            pod,
            tag: self.binder.tag(ifindex),
            own: self.own.addresses(ifindex),
        };
        if self.endpoints.get(&ifindex) == Some(&fact) {
            return;
        }
        if self.enforcing {
            tracing::info!(
                interface = %self.name(ifindex),
                pod = fact.pod.as_ref().map(tracing::field::display),
                "endpoint"
            );
        }
        self.endpoints.insert(ifindex, fact.clone());
        self.change(Change::Endpoint(fact));
    }

    /// Takes an endpoint out whose interface is gone: programs first, then the entry.
    fn remove_endpoint(&mut self, ifindex: u32) {
        self.unenforced.remove(&ifindex);
        if self.endpoints.remove(&ifindex).is_none() {
            return;
        }
        tracing::info!(interface = %self.name(ifindex), "endpoint removed");
        for hook in Hook::ENDPOINT {
            if self.attached.remove(&(ifindex, hook))
                && let Err(error) = self.attacher.detach(ifindex, hook)
            {
                tracing::warn!("{error}");
            }
        }
        self.change(Change::EndpointRemoved(ifindex));
        self.ids.release(ifindex);
    }

    /// The hooks that an interface should have.
    fn wanted(&self, ifindex: u32) -> Vec<Hook> {
        if self.endpoints.contains_key(&ifindex) {
            return Hook::ENDPOINT.to_vec();
        }
        let is_foreign_port = self.interfaces.get(&ifindex).is_some_and(|interface| {
            interface
                .bridge
                .is_some_and(|bridge| self.has_endpoints(bridge))
        });
        if is_foreign_port {
            vec![Hook::ClearStamp]
        } else {
            Vec::new()
        }
    }

    fn has_endpoints(&self, bridge: u32) -> bool {
        self.endpoints
            .values()
            .any(|endpoint| endpoint.bridge == Some(bridge))
    }

    /// Attaches what the interface, and the other ports of its bridge, should have.
    pub(super) fn attach(&mut self, ifindex: u32) {
        if !self.enforcing {
            return;
        }
        let bridge = self.interfaces.get(&ifindex).and_then(|one| one.bridge);
        let siblings: Vec<_> = self
            .interfaces
            .values()
            .filter(|other| bridge.is_some() && other.bridge == bridge)
            .map(|other| other.ifindex)
            .chain([ifindex])
            .collect();
        for ifindex in siblings {
            let wanted = self.wanted(ifindex);
            for hook in Hook::ALL {
                match (
                    wanted.contains(&hook),
                    self.attached.contains(&(ifindex, hook)),
                ) {
                    (true, false) => self.attach_one(ifindex, hook),
                    (false, true) => self.detach_one(ifindex, hook),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn attach_one(&mut self, ifindex: u32, hook: Hook) {
        match self
            .attacher
            .attach(&mut self.datapath.programs, ifindex, hook)
        {
            Ok(()) => {
                self.attached.insert((ifindex, hook));
                self.unenforced.remove(&ifindex);
            }
            // Its end is announced, or was a moment ago.
            Err(AttachError::Gone { .. }) => {}
            Err(error) => self.not_enforced(ifindex, causes(&error)),
        }
    }

    fn detach_one(&mut self, ifindex: u32, hook: Hook) {
        self.attached.remove(&(ifindex, hook));
        if let Err(error) = self.attacher.detach(ifindex, hook) {
            tracing::warn!("{}", causes(&error));
        }
    }

    pub(super) fn not_enforced(&mut self, ifindex: u32, reason: String) {
        if self.unenforced.get(&ifindex) != Some(&reason) {
            tracing::error!("interface {} is not enforced: {reason}", self.name(ifindex));
        }
        self.unenforced.insert(ifindex, reason);
    }

    /// Attaches everywhere, and takes off what an earlier run left where nothing belongs now.
    pub(super) fn attach_all(&mut self) -> Result<(), AgentError> {
        let ifindexes: Vec<_> = self.interfaces.keys().copied().collect();
        for ifindex in ifindexes {
            self.attach(ifindex);
        }
        for (ifindex, hook) in self.attacher.records()? {
            let is_wanted = self.wanted(ifindex).contains(&hook);
            if !is_wanted && let Err(error) = self.attacher.detach(ifindex, hook) {
                tracing::warn!("{}", causes(&error));
            }
        }
        Ok(())
    }

    /// Gives a new number to interfaces behind which another pod is than in the run before: flows
    /// of one pod must open nothing for another. Returns the operations with those numbers.
    pub(super) fn renumber(&mut self, mut ops: Vec<Op>) -> Vec<Op> {
        let earlier = std::mem::take(&mut self.earlier);
        let mut moved = Vec::new();
        for op in &ops {
            let Op::PutEndpoint(entry) = op else { continue };
            let before = earlier.get(&entry.ifindex);
            let is_other = before.is_some_and(|before| {
                before.pod_tag != 0 && entry.pod_tag != 0 && before.pod_tag != entry.pod_tag
            });
            if is_other {
                moved.push(entry.ifindex);
            }
        }
        for ifindex in moved {
            self.ids.release(ifindex);
            if let (Some(id), Some(fact)) =
                (self.ids.assign(ifindex), self.endpoints.get_mut(&ifindex))
            {
                fact.id = id;
                self.resolver.apply(Change::Endpoint(fact.clone()));
            }
        }
        // Numbers of endpoints that are gone are free after the first sweep.
        let gone: Vec<_> = self
            .ids
            .interfaces()
            .filter(|ifindex| !self.endpoints.contains_key(ifindex))
            .collect();
        for ifindex in gone {
            self.ids.release(ifindex);
        }
        ops.extend(self.resolver.commit());
        ops
    }

    /// The interface's name, for people.
    pub(super) fn name(&self, ifindex: u32) -> String {
        match self.interfaces.get(&ifindex) {
            Some(interface) => interface.name.to_string(),
            None => ifindex.to_string(),
        }
    }
}

/// An error with its causes, on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// Only veths can be pods' interfaces: what TC programs see on other kinds is not all of their
/// traffic.
pub(super) fn is_enforceable(interface: &Interface) -> bool {
    interface.kind == InterfaceKind::Veth
}

/// The interface as the binder wants it.
fn fact(interface: &Interface) -> InterfaceFact {
    let sandbox = interface
        .sandbox
        .as_ref()
        .filter(|_| is_enforceable(interface));
    InterfaceFact {
        ifindex: interface.ifindex,
        name: interface.name.clone(),
        netns: sandbox.map(|sandbox| sandbox.netns.0.to_string().into()),
        addresses: sandbox
            .map(|sandbox| sandbox.addresses.clone())
            .unwrap_or_default(),
        bridge: interface.bridge,
        sandbox: sandbox.is_some(),
    }
}
