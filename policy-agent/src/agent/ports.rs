//! Everything known of each interface of the host, in one place.
//!
//! Owns what belongs to an interface; must not know sources, tables or the kernel. Invariant:
//! whether an interface is enforced is derived from what it should have and what was seen at its
//! hooks, never remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use policy_common::Endpoint;
use policy_core::{bind::BindProblem, model::EndpointFact};

use super::{
    hook_state::{Cause, HookRecord, HookState},
    reconcile::{Hooks, Verb, Wanted, next_due, reconcile},
    services::leads_out,
};
use crate::{
    datapath::Hook,
    node::{Interface, NetnsKey},
};

/// One interface.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Tells it from others that have or had its index.
    pub(super) life: u64,
    /// As netlink shows it; `None` while only the run before knew of it.
    pub(super) interface: Option<Interface>,
    /// When it came; `None`: it was there at the start.
    pub(super) since: Option<Instant>,
    /// It leads into the sandbox of a pod that had its interface long before.
    pub(super) is_late: bool,
    /// It is a pod's for as long as it exists.
    pub(super) recorded: bool,
    /// Its other end moved to another network namespace.
    pub(super) moved: bool,
    /// Its endpoint in the run before, for its number.
    pub(super) earlier: Option<Endpoint>,
    /// What the resolver was told of it as an endpoint.
    pub(super) fact: Option<EndpointFact>,
    /// It should be an endpoint, but every number is in use.
    pub(super) no_number: bool,
    /// The turn in which its entry was written first.
    pub(super) entry: u64,
    /// Why the pod behind it is not known.
    pub(super) bind: Option<BindProblem>,
    /// Its hooks.
    pub(super) hooks: Hooks,
    /// The alarm that was logged.
    pub(super) alarm: Option<Alarm>,
}

/// Why an interface is not enforced that should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    /// For people.
    pub(super) reason: String,
    /// What helps, where something does.
    pub(super) remedy: Option<String>,
}

impl Port {
    /// The bridge whose port it is.
    pub(super) fn bridge(&self) -> Option<u32> {
        self.interface.as_ref()?.bridge
    }

    /// The namespace into which it leads.
    pub(super) fn netns(&self) -> Option<NetnsKey> {
        let sandbox = self.interface.as_ref()?.sandbox.as_ref()?;
        Some(sandbox.netns)
    }

    /// Whether it was added to a pod that has another, and is not known to be anybody's.
    pub(super) fn is_late_link(&self) -> bool {
        self.is_late && self.fact.is_none() && !self.no_number
    }

    /// Why the interface is not enforced, if it should be and is not.
    pub(super) fn unenforced(&self, wanted: Wanted, most_endpoints: u32) -> Option<Alarm> {
        if self.no_number {
            return Some(Alarm {
                reason: format!(
                    "every endpoint number is in use (--max-endpoints {most_endpoints})"
                ),
                remedy: Some(
                    "start the agent with a larger --max-endpoints; until then it is tried again \
                     when a pod ends"
                        .into(),
                ),
            });
        }
        let mut remedy = None;
        let mut reasons: Vec<String> = Vec::new();
        for (hook, record) in Hook::ALL.into_iter().zip(&self.hooks) {
            if !wanted.wants(hook) || record.is_in_front() {
                continue;
            }
            let (reason, help) = why(hook, record);
            remedy = remedy.or(help);
            // Both programs of an endpoint often fail for one reason.
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        (!reasons.is_empty()).then(|| Alarm {
            reason: reasons.join("; "),
            remedy,
        })
    }

    /// Why nobody can say whether the interface is enforced, though its programs were in front when they
    /// were last seen.
    pub(super) fn contested(&self, wanted: Wanted, now: Instant) -> Option<Alarm> {
        let hooks = Hook::ALL.into_iter().zip(&self.hooks);
        let mut lost = hooks.filter(|(hook, one)| wanted.wants(*hook) && one.is_contested(now));
        let (hook, record) = lost.next()?;
        let program = hook.program();
        let reason = match record.rivals.as_slice() {
            [] => format!("{program} is removed by somebody again and again"),
            rivals => format!(
                "{program} is displaced by {} again and again",
                rivals.join(", ")
            ),
        };
        let remedy = Some("find out who does that: it is put right ever more seldom".into());
        Some(Alarm { reason, remedy })
    }

    /// Whether it is an endpoint whose programs nobody has tried to attach yet.
    pub(super) fn is_untried(&self) -> bool {
        let is_new = |hook: &Hook| match self.hooks.get(*hook as usize) {
            Some(record) => {
                matches!(record.state, HookState::Absent | HookState::Unknown)
                    && record.removed.is_none()
            }
            None => false,
        };
        self.fact.is_some() && Hook::ENDPOINT.iter().any(is_new)
    }

    /// Whether what is not in place is not merely new, or about to be put right.
    pub(super) fn is_alarming(&self, wanted: Wanted, now: Instant) -> bool {
        let is_wrong = |(hook, record): (Hook, &HookRecord)| {
            wanted.wants(hook)
                && match &record.state {
                    HookState::Failed { error, .. } => !error.gone,
                    HookState::Behind { fixed, .. } => *fixed || record.is_fought_for(now),
                    HookState::Absent => record.is_fought_for(now),
                    _ => false,
                }
        };
        self.no_number || Hook::ALL.into_iter().zip(&self.hooks).any(is_wrong)
    }
}

fn why(hook: Hook, record: &HookRecord) -> (String, Option<String>) {
    let program = hook.program();
    match &record.state {
        HookState::Attached { .. } | HookState::Bridged { .. } => (String::new(), None),
        HookState::Absent if record.removed.is_some() => (
            format!("{program} was removed by somebody"),
            Some("it is put back; if that repeats, find out who removes it".into()),
        ),
        HookState::Absent | HookState::Unknown => {
            ("its programs are still to be attached".into(), None)
        }
        HookState::Behind { names, fixed } => {
            let names = names.join(", ");
            let (text, remedy) = if *fixed {
                (
                    format!("{program} stands behind {names}, which has no preference"),
                    Some("remove that filter".into()),
                )
            } else {
                (
                    format!("{program} stands behind {names}"),
                    Some(
                        "it is moved to the front again; if that repeats, somebody does the same"
                            .into(),
                    ),
                )
            };
            (text, remedy)
        }
        HookState::Failed { error, .. } => {
            let Cause { error, remedy, .. } = error;
            (error.clone(), remedy.clone())
        }
    }
}

/// Only veths can be pods' interfaces: what TC programs see on other kinds is not all of their
/// traffic.
pub(super) fn is_enforceable(interface: &Interface) -> bool {
    interface.kind.is_enforceable()
}

/// The rank of a pod that policies isolate.
pub(super) const ISOLATED: u8 = 0;

/// An action at a hook of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action {
    /// What.
    pub(super) verb: Verb,
    /// How many others go first.
    pub(super) rank: u8,
    /// Where.
    pub(super) ifindex: u32,
    /// The hook.
    pub(super) hook: Hook,
}

/// The interfaces, by index.
#[derive(Debug, Default)]
pub(super) struct Ports {
    by_index: BTreeMap<u32, Port>,
    lives: u64,
    /// Packets may be sent round by an IFB.
    pub(super) has_ifb: bool,
    /// Something may leave the node whose egress is still to be judged.
    pub(super) has_exits: bool,
    /// Filters bridge the wait for links where pods are isolated.
    pub(super) bridge: bool,
}

impl Ports {
    /// The interfaces that were endpoints in the run before. Whoever was a pod's interface stays
    /// one: a restart must not open it.
    pub(super) fn recorded(earlier: &[Endpoint]) -> Self {
        let port = |endpoint: &Endpoint| {
            let port = Port {
                recorded: true,
                earlier: Some(*endpoint),
                ..Port::default()
            };
            (endpoint.ifindex, port)
        };
        Self {
            by_index: earlier.iter().map(port).collect(),
            ..Self::default()
        }
    }

    /// One interface that is known.
    pub(super) fn get(&self, ifindex: u32) -> Option<&Port> {
        self.by_index.get(&ifindex)
    }

    /// One interface that is known.
    pub(super) fn get_mut(&mut self, ifindex: u32) -> Option<&mut Port> {
        self.by_index.get_mut(&ifindex)
    }

    /// One interface, made known.
    pub(super) fn entry(&mut self, ifindex: u32) -> &mut Port {
        self.by_index.entry(ifindex).or_insert_with(|| {
            self.lives += 1;
            Port {
                life: self.lives,
                ..Port::default()
            }
        })
    }

    /// Forgets an interface.
    pub(super) fn remove(&mut self, ifindex: u32) -> Option<Port> {
        self.by_index.remove(&ifindex)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Port)> {
        self.by_index.iter().map(|(index, port)| (*index, port))
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Port)> {
        self.by_index.iter_mut().map(|(index, port)| (*index, port))
    }

    /// The interface's name, for people.
    pub(super) fn name(&self, ifindex: u32) -> String {
        let interface = self.get(ifindex).and_then(|port| port.interface.as_ref());
        interface.map_or_else(|| ifindex.to_string(), |one| one.name.to_string())
    }

    /// The bridges that have endpoints: their other ports clear stamps.
    pub(super) fn pod_bridges(&self) -> BTreeSet<u32> {
        let endpoints = self.by_index.values().filter(|port| port.fact.is_some());
        endpoints.filter_map(Port::bridge).collect()
    }

    /// What an interface should have.
    pub(super) fn wanted(&self, port: &Port, pod_bridges: &BTreeSet<u32>) -> Wanted {
        let endpoint = port.fact.is_some();
        let on_pod_bridge = port.bridge().is_some_and(|one| pod_bridges.contains(&one));
        let own = port.interface.as_ref().map(|one| one.ifindex);
        let is_pod_bridge = own.is_some_and(|own| pod_bridges.contains(&own));
        Wanted {
            endpoint,
            clear_stamp: !endpoint && on_pod_bridge,
            stamp_host: self.has_ifb && is_pod_bridge,
            exit: self.has_exits
                && !endpoint
                && !is_pod_bridge
                && port.interface.as_ref().is_some_and(leads_out),
            bridge: false,
        }
    }

    /// Everything that is to be done now, most urgent first. `written` is the last turn whose
    /// entries the programs find.
    pub(super) fn actions(
        &self,
        written: u64,
        now: Instant,
        rank: impl Fn(u32, &Port) -> u8,
    ) -> Vec<Action> {
        let pod_bridges = self.pod_bridges();
        let mut actions = Vec::new();
        for (ifindex, port) in self.iter() {
            // Its entry comes first; what stands there meanwhile stays.
            if port.fact.is_some() && port.entry > written {
                continue;
            }
            let mut wanted = self.wanted(port, &pod_bridges);
            let bridge = self.bridge && port.is_untried();
            let rank_of = || rank(ifindex, port);
            wanted.bridge = bridge && rank_of() == ISOLATED;
            let todo = reconcile(wanted, &port.hooks, now);
            if todo.is_empty() {
                continue;
            }
            let rank = rank_of();
            actions.extend(todo.into_iter().map(|(hook, verb)| Action {
                verb,
                rank,
                ifindex,
                hook,
            }));
        }
        // Stable: the order within an interface stays.
        actions.sort_by_key(|action| (urgency(action.verb), action.rank, action.ifindex));
        actions
    }

    /// When something is due next that is not due yet.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let pod_bridges = self.pod_bridges();
        let ports = self.by_index.values();
        ports
            .filter_map(|port| next_due(self.wanted(port, &pod_bridges), &port.hooks, now))
            .min()
    }
}

/// What is quick or opens something goes before what takes long, and looking comes last.
fn urgency(verb: Verb) -> u8 {
    match verb {
        Verb::Detach => 0,
        Verb::Bridge => 1,
        Verb::Move => 2,
        Verb::Attach => 3,
        Verb::Look => 4,
    }
}

#[cfg(test)]
mod tests;
