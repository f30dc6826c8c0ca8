//! What has to be done at the hooks of an interface.
//!
//! Pure: what is wanted and what was seen last come in, actions come out. Invariant: while a
//! wanted program is not in front there is an action, or a time at which there is one; when all is
//! in place, and has not just been lost, there is none.

use std::time::Instant;

use super::hook_state::{HookRecord, HookState};
use crate::datapath::Hook;

/// What is done at one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verb {
    /// Take off whatever is ours.
    Detach,
    /// Put a filter there until the link stands.
    Bridge,
    /// Put the program there, in the place of an earlier one of ours.
    Attach,
    /// Move the program to the front.
    Move,
    /// See what is there.
    Look,
}

/// What an interface should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The programs of a pod's interface.
    pub(super) endpoint: bool,
    /// The program that clears stamps.
    pub(super) clear_stamp: bool,
    /// The program that stamps packets of the host.
    pub(super) stamp_host: bool,
    /// The program that judges what leaves the node.
    pub(super) exit: bool,
    /// Filters may bridge the wait for links.
    pub(super) bridge: bool,
}

impl Wanted {
    pub(super) fn wants(self, hook: Hook) -> bool {
        match hook {
            Hook::FromPod | Hook::ToPod => self.endpoint,
            Hook::ClearStamp => self.clear_stamp,
            Hook::StampHost => self.stamp_host,
            Hook::Exit => self.exit,
        }
    }
}

/// The hooks of one interface, in the order of [`Hook::ALL`].
pub(super) type Hooks = [HookRecord; Hook::ALL.len()];

/// What is to be done now, in order. Marks nothing: whoever begins an action says so.
pub(super) fn reconcile(wanted: Wanted, seen: &Hooks, now: Instant) -> Vec<(Hook, Verb)> {
    let mut actions: Vec<_> = Hook::ALL
        .into_iter()
        .zip(seen)
        .filter_map(|(hook, record)| Some((hook, next(wanted, hook, record, now)?)))
        .collect();
    // What comes off goes first. Where programs of an earlier generation stand, the one that
    // answers for what reaches the pod changes first; on a bare interface the one that answers for
    // what the pod says, since nothing may reach a pod that cannot be answered for.
    let replaces = seen
        .iter()
        .any(|record| record.outdated || record.state == HookState::Unknown);
    actions.sort_by_key(|(hook, verb)| (*verb, replaces == (*hook == Hook::FromPod)));
    actions
}

fn next(wanted: Wanted, hook: Hook, record: &HookRecord, now: Instant) -> Option<Verb> {
    if record.in_flight {
        return None;
    }
    if !wanted.wants(hook) {
        return match &record.state {
            HookState::Absent => None,
            HookState::Failed { next_try, .. } if *next_try > now => None,
            _ => Some(Verb::Detach),
        };
    }
    match &record.state {
        HookState::Absent if record.stays_off_until().is_some_and(|until| until > now) => None,
        HookState::Absent
            if wanted.bridge && !record.no_bridge && Hook::ENDPOINT.contains(&hook) =>
        {
            Some(Verb::Bridge)
        }
        HookState::Bridged {
            next_try: Some(next_try),
            ..
        } if *next_try > now => None,
        HookState::Absent | HookState::Unknown | HookState::Bridged { .. } => Some(Verb::Attach),
        HookState::Attached { .. } if record.outdated => Some(Verb::Attach),
        HookState::Attached { .. } => {
            let is_due = record.looked_for_at(now).is_some_and(|at| at <= now);
            (record.stale || is_due).then_some(Verb::Look)
        }
        HookState::Behind { fixed: true, .. } => record.stale.then_some(Verb::Look),
        HookState::Behind { fixed: false, .. } => match record.rests_until() {
            Some(until) if until > now => record.stale.then_some(Verb::Look),
            _ => Some(Verb::Move),
        },
        HookState::Failed { next_try, .. } if *next_try > now => None,
        HookState::Failed { .. } => Some(Verb::Attach),
    }
}

/// When the next action is due that is not due yet.
pub(super) fn next_due(wanted: Wanted, seen: &Hooks, now: Instant) -> Option<Instant> {
    Hook::ALL
        .into_iter()
        .zip(seen)
        .filter(|(_, record)| !record.in_flight)
        .filter_map(|(hook, record)| match &record.state {
            HookState::Failed { next_try, .. } => Some(*next_try),
            HookState::Absent if wanted.wants(hook) => record.stays_off_until(),
            HookState::Bridged { next_try, .. } => *next_try,
            HookState::Attached { .. } if wanted.wants(hook) => record.looked_for_at(now),
            HookState::Behind { fixed: false, .. } if wanted.wants(hook) => record.rests_until(),
            _ => None,
        })
        .filter(|due| *due > now)
        .min()
}

#[cfg(test)]
mod tests;
