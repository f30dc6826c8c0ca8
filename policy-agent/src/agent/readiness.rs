//! What keeps a snapshot's node from being ready, for probes.
//!
//! Ready is a node on which every wanted program is in front and every change that can be read is what
//! packets meet. What is refused, has no room or is not heard of is said, and is no reason: to end the
//! agent because of it would help nobody. So is what passes no program whatever is attached: a pod could
//! keep its node from being ready by it.

use super::{STALE_MS, Snapshot, UnenforcedInterface};

/// How long a change may wait to be in force, in milliseconds.
const BEHIND_MS: u64 = 5_000;
/// How long the loop may stand still before only a new process helps, in milliseconds.
const STUCK_MS: u64 = 60_000;
/// How long it is usual to hear nothing of an API server, in milliseconds.
#[cfg(feature = "health")]
const SILENT_MS: u64 = 90_000;
/// More lines of one kind are not said.
#[cfg(feature = "health")]
const MOST_LINES: usize = 20;

impl Snapshot {
    /// Why the node is not ready, one line each; empty when it is.
    #[must_use]
    pub fn hindrances(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.agent.enforcing {
            lines.push(format!("the agent is {}", self.agent.state));
        }
        lines.extend(self.stale());
        let missing = self.unenforced.iter().filter(|one| !one.is_way_round);
        lines.extend(missing.map(ToString::to_string));
        lines.extend(self.failures.iter().take(self.refused_writes).cloned());
        let behind = self.sources.iter().filter_map(|source| source.behind_ms);
        let behind = behind.max().filter(|behind| *behind >= BEHIND_MS);
        // What has no room waits for room, and is no reason.
        lines.extend(behind.filter(|_| self.waiting == 0).map(|behind| {
            format!(
                "a change waits for {} seconds to be in force",
                behind / 1_000
            )
        }));
        lines
    }

    /// That the agent's loop is held up.
    #[must_use]
    pub fn stale(&self) -> Option<String> {
        let age = self.agent.age_ms;
        (age >= STALE_MS)
            .then(|| format!("this is {} seconds old: the agent is held up", age / 1_000))
    }

    /// Whether only another process helps.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.agent.age_ms >= STUCK_MS
    }

    /// What is not as it should be and no reason to say that the node is not ready, one line each.
    #[cfg(feature = "health")]
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for source in &self.sources {
            let is_away = |watch: &&crate::source::WatchStatus| {
                let usual = SILENT_MS.saturating_add(watch.listed_every_ms.unwrap_or(0));
                watch.problem.is_some() || watch.silent_ms.is_some_and(|ms| ms >= usual)
            };
            let away = source.watches.iter().filter(is_away);
            lines.extend(away.map(|watch| format!("not heard: {watch}")));
        }
        let ways = self.unenforced.iter().filter(|one| one.is_way_round);
        let ways: Vec<String> = ways.map(ToString::to_string).collect();
        for (what, of_it) in [
            ("not enforced", Some(&ways[..])),
            ("no room", self.failures.get(self.refused_writes..)),
            ("refused", Some(&self.refused[..])),
            ("kept", Some(&self.kept[..])),
            ("address conflict", Some(&self.conflicts[..])),
        ] {
            let of_it = of_it.unwrap_or_default();
            let first = of_it.iter().take(MOST_LINES);
            lines.extend(first.map(|line| format!("{what}: {line}")));
            if let Some(more) = of_it.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
                lines.push(format!("{what}: {more} more"));
            }
        }
        lines
    }
}

impl std::fmt::Display for UnenforcedInterface {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            interface,
            pod,
            reason,
            remedy,
            ..
        } = self;
        formatter.write_str(interface)?;
        if let Some(pod) = pod {
            write!(formatter, " (pod {pod})")?;
        }
        write!(formatter, ": {reason}")?;
        match remedy {
            Some(remedy) => write!(formatter, "; {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::SourceStatus;

    fn enforcing() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.agent.enforcing = true;
        snapshot.sources.push(SourceStatus::default());
        snapshot
    }

    #[test]
    fn a_node_is_ready_when_the_agent_enforces_and_not_before() {
        let mut snapshot = Snapshot::default();
        snapshot.agent.state = "filling the tables".into();
        assert_eq!(snapshot.hindrances(), ["the agent is filling the tables"]);
        assert!(enforcing().hindrances().is_empty());
    }

    #[test]
    fn a_node_is_not_ready_while_a_program_is_missing_or_a_change_waits() {
        type Break = fn(&mut Snapshot);
        let breaks: [(Break, &str); 4] = [
            (|one| one.agent.age_ms = STALE_MS, "held up"),
            (
                |one| {
                    one.unenforced.push(UnenforcedInterface {
                        interface: "veth1".into(),
                        pod: Some("shop/web".into()),
                        reason: "no room".into(),
                        remedy: Some("make some".into()),
                        is_way_round: false,
                    });
                },
                "veth1 (pod shop/web): no room; make some",
            ),
            (
                |one| {
                    one.failures.push("RULES: cannot allocate".into());
                    one.refused_writes = 1;
                },
                "RULES: cannot allocate",
            ),
            (
                |one| one.sources[0].behind_ms = Some(BEHIND_MS),
                "a change waits for 5 seconds",
            ),
        ];
        for (damage, said) in breaks {
            let mut snapshot = enforcing();
            damage(&mut snapshot);
            let lines = snapshot.hindrances();
            assert!(lines.len() == 1 && lines[0].contains(said), "{lines:?}");
        }
    }

    #[test]
    fn what_is_refused_or_has_no_room_or_is_not_heard_is_no_reason_and_is_said() {
        let mut snapshot = enforcing();
        snapshot.refused = vec!["a policy".into(); MOST_LINES + 3];
        snapshot.failures.push("RULES is full".into());
        snapshot.waiting = 7;
        snapshot.unenforced.push(UnenforcedInterface {
            interface: "net1".into(),
            pod: None,
            reason: "passes no program".into(),
            remedy: None,
            is_way_round: true,
        });
        let source = &mut snapshot.sources[0];
        source.behind_ms = Some(10 * BEHIND_MS);
        source.watches.push(crate::source::WatchStatus {
            kind: "Pod".into(),
            silent_ms: Some(SILENT_MS),
            ..Default::default()
        });
        assert!(snapshot.hindrances().is_empty());
        let remarks = snapshot.remarks();
        assert!(remarks[0].starts_with("not heard: Pod"), "{remarks:?}");
        assert_eq!(remarks[1], "not enforced: net1: passes no program");
        assert_eq!(remarks[2], "no room: RULES is full");
        assert_eq!(remarks.last().unwrap(), "refused: 3 more");
        assert_eq!(remarks.len(), 3 + MOST_LINES + 1);
    }

    #[test]
    fn a_loop_that_is_held_up_is_not_stuck_before_a_minute() {
        let mut snapshot = enforcing();
        snapshot.agent.age_ms = STUCK_MS - 1;
        assert!(!snapshot.is_stuck() && !snapshot.hindrances().is_empty());
        snapshot.agent.age_ms = STUCK_MS;
        assert!(snapshot.is_stuck());
    }
}
