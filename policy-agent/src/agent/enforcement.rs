//! From what is wanted to jobs, and from what was seen to what people read.
//!
//! Owns the one place from which hooks are changed. Knows no kernel. Invariant: an interface is
//! reported once when it is not enforced, and once when it is again.

use std::{sync::atomic::Ordering, time::Instant};

use policy_common::Direction;

use super::{
    Agent, Phase, UnknownEndpoint,
    hook_state::{HookRecord, HookState, Seen},
    hooks::{At, Done, Job},
    ports::{Action, ISOLATED, Port},
    reconcile::Verb,
    tables::Request,
};
use crate::datapath::{Hook, Mechanism};

/// Jobs that the thread has at a time: it never waits for the loop, and what becomes urgent waits
/// for few.
const MOST_JOBS: usize = 4;
/// Isolated pods whose links are made without filters that stand in for them meanwhile.
const FEW: usize = 4;

impl Agent {
    /// Gives the most urgent jobs.
    pub(super) fn reconcile(&mut self, now: Instant) {
        if !self.phase.is_begun() || self.jobs >= MOST_JOBS {
            return;
        }
        let rank = |ifindex: u32, port: &Port| match &port.fact {
            None => 2,
            Some(_) if self.is_isolated(ifindex, port) => ISOLATED,
            Some(_) => 1,
        };
        let actions = self.ports.actions(self.written, now, rank);
        if actions.is_empty() && self.jobs == 0 {
            self.all_in_place();
        }
        for action in actions.into_iter().take(MOST_JOBS - self.jobs) {
            self.begin_action(action, now);
        }
    }

    /// Whether policies isolate the pod of an endpoint, or everything does while it is not known.
    fn is_isolated(&self, ifindex: u32, port: &Port) -> bool {
        let by_policies = |direction| !self.resolver.policies_of(ifindex, direction).is_empty();
        port.fact.as_ref().is_some_and(|fact| fact.pod.is_none())
            || by_policies(Direction::Ingress)
            || by_policies(Direction::Egress)
    }

    /// Whether an isolated pod has programs that are still to be attached for the first time.
    pub(super) fn is_any_untried(&self) -> bool {
        self.ports
            .iter()
            .any(|(ifindex, port)| port.is_untried() && self.is_isolated(ifindex, port))
    }

    fn begin_action(&mut self, action: Action, now: Instant) {
        let Action {
            verb,
            ifindex,
            hook,
            ..
        } = action;
        let name = self.ports.name(ifindex);
        let Some(port) = self.ports.get_mut(ifindex) else {
            return;
        };
        let life = port.life;
        let Some(record) = port.hooks.get_mut(hook as usize) else {
            return;
        };
        if verb == Verb::Move {
            let was_fought_for = record.is_fought_for(now);
            record.moving(now);
            if let HookState::Behind { names, .. } = &record.state
                && !was_fought_for
            {
                tracing::error!(
                    interface = name,
                    program = hook.program(),
                    "stood behind {}: moving to the front",
                    names.join(", ")
                );
            }
        }
        record.in_flight = true;
        self.jobs += 1;
        let place = At {
            generation: self.growth.generation,
            ifindex,
            life,
            hook,
        };
        self.hooks.give(Job::At { place, verb });
    }

    /// Takes in what came of a job.
    pub(super) fn on_done(&mut self, done: Done, now: Instant) {
        match done {
            Done::At { place, verb, seen } => {
                self.jobs -= 1;
                self.observe(place, verb, seen, now);
            }
            Done::Forgotten => self.forgetting -= 1,
        }
    }

    fn observe(&mut self, place: At, verb: Verb, seen: Seen, now: Instant) {
        let At {
            generation,
            ifindex,
            life,
            hook,
        } = place;
        let name = self.ports.name(ifindex);
        let Some(port) = self.ports.get_mut(ifindex).filter(|port| port.life == life) else {
            return;
        };
        let Some(record) = port.hooks.get_mut(hook as usize) else {
            return;
        };
        if verb == Verb::Look && seen == Seen::Missing && !record.is_fought_for(now) {
            tracing::error!(
                interface = name,
                program = hook.program(),
                "was removed by somebody: attaching again"
            );
        }
        if verb == Verb::Detach && seen == Seen::Missing {
            record.forget();
        } else {
            record.observe(seen, now);
            // What was done meanwhile was done with the programs before.
            record.outdated |=
                generation < self.growth.generation && record.state != HookState::Absent;
        }
        let is_first = matches!(verb, Verb::Attach | Verb::Bridge) && record.is_in_front();
        if let Some(fact) = &port.fact
            && is_first
            && self.phase != Phase::Enforcing
        {
            self.tables.ask(Request::Adopt(fact.id));
        }
        self.alarms.insert(ifindex);
    }

    /// Whether no link leads to programs of the generation before any more.
    pub(super) fn have_links_moved(&self) -> bool {
        let pod_bridges = self.ports.pod_bridges();
        self.ports.iter().all(|(_, port)| {
            let wanted = self.ports.wanted(port, &pod_bridges);
            port.unenforced(wanted, self.most_endpoints).is_none()
        })
    }

    /// Says what is not enforced any more, and what is again.
    pub(super) fn report_alarms(&mut self, now: Instant) {
        if !self.phase.is_begun() {
            return;
        }
        let pod_bridges = self.ports.pod_bridges();
        for ifindex in std::mem::take(&mut self.alarms) {
            let name = self.ports.name(ifindex);
            let Some(port) = self.ports.get(ifindex) else {
                continue;
            };
            let wanted = self.ports.wanted(port, &pod_bridges);
            let alarm = port
                .unenforced(wanted, self.most_endpoints)
                .filter(|_| port.is_alarming(wanted, now));
            let is_quiet = port.hooks.iter().all(|hook| !hook.is_fought_for(now));
            let pod = self.binder.pod_behind(ifindex);
            match (&port.alarm, &alarm) {
                (before, Some(alarm)) if before.as_ref() != Some(alarm) => tracing::error!(
                    pod = pod.map(tracing::field::display),
                    remedy = alarm.remedy,
                    "interface {name} is not enforced: {}",
                    alarm.reason
                ),
                // Else whoever fights for the place fills the log.
                (Some(_), None) if !is_quiet => {
                    self.alarms.insert(ifindex);
                    continue;
                }
                (Some(_), None) if port.unenforced(wanted, self.most_endpoints).is_some() => {
                    continue;
                }
                (Some(_), None) => tracing::info!(
                    pod = pod.map(tracing::field::display),
                    "interface {name} is enforced again"
                ),
                _ => continue,
            }
            if let Some(port) = self.ports.get_mut(ifindex) {
                port.alarm = alarm;
            }
        }
    }

    /// Everywhere, or only where netlink said so, chains may have changed.
    pub(super) fn look_again(&mut self, at: Option<u32>) {
        let is_there = |record: &&mut HookRecord| {
            !matches!(record.state, HookState::Absent | HookState::Failed { .. })
        };
        for (ifindex, port) in self.ports.iter_mut() {
            if at.is_none_or(|one| one == ifindex) {
                for record in port.hooks.iter_mut().filter(is_there) {
                    record.stale = true;
                }
            }
        }
    }

    /// While the programs are loaded: says so where too few pods are isolated for filters to stand in
    /// for links, so that nobody waits for the programs that only those need.
    pub(super) fn spare_bridges(&self) {
        let are_few = self.binder.pods() <= FEW || !self.resolver.is_any_policy();
        if are_few && self.unknown == UnknownEndpoint::Ignore {
            self.tables.no_bridges.store(true, Ordering::Relaxed);
        }
    }

    /// At a first start with many isolated pods filters stand in until it is their links' turn: a link
    /// is slow to make. They are not worth what they cost where few wait: a qdisc keeps the interface
    /// from sending for some milliseconds when it is made.
    pub(super) fn begin_bridging(&mut self) {
        let waiting = self.ports.iter().filter(|(ifindex, port)| {
            let has_none = |hook: &HookRecord| hook.state == HookState::Absent;
            port.hooks.iter().all(has_none) && self.is_isolated(*ifindex, port)
        });
        let are_many = waiting.count() > FEW;
        self.ports.bridge = are_many && self.mechanism == Mechanism::Tcx;
    }

    /// Nothing is left to attach for the first time.
    fn all_in_place(&mut self) {
        self.ports.bridge = false;
        if let Phase::Attaching { since } = self.phase {
            self.phase = Phase::Enforcing;
            tracing::info!(
                endpoints = self.ports.iter().filter(|(_, port)| port.fact.is_some()).count(),
                mechanism = super::snapshot::mechanism(self.mechanism),
                pin_path = %self.pins.path().display(),
                attached_in_ms = since.elapsed().as_millis(),
                "enforcing"
            );
        }
    }

    /// Takes note of what an earlier run left attached, and has what belongs nowhere taken off.
    pub(super) fn take_records(&mut self) {
        for (ifindex, hook) in self.records.take().unwrap_or_default() {
            let port = self
                .ports
                .get(ifindex)
                .filter(|port| port.interface.is_some());
            if port.is_none() {
                self.hooks.give(Job::Forget(ifindex));
                self.forgetting += 1;
            } else if let Some(record) = self.ports.entry(ifindex).hooks.get_mut(hook as usize) {
                *record = HookRecord::left_behind();
            }
        }
    }
}

/// Every hook as a number is its place in [`Hook::ALL`].
const _: () = {
    assert!(Hook::FromPod as usize == 0);
    assert!(Hook::ToPod as usize == 1);
    assert!(Hook::ClearStamp as usize == 2);
    assert!(Hook::StampHost as usize == 3);
    assert!(Hook::Exit as usize == 4);
};
