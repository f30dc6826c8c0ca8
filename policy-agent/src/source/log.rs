//! What the log says of policies that come, change and go.
//!
//! Knows which policies were there, and nothing else of a source.

use std::collections::BTreeMap;

use policy_core::model::{Change, ObjectName};

use super::{Origin, Revision};
use crate::text::Printable;

/// More policies of one batch are counted instead of listed.
const MOST_LINES: usize = 20;

/// The policies that the log has spoken of, with where they came from.
#[derive(Debug, Default)]
pub(super) struct PolicyLog(BTreeMap<ObjectName, Option<Origin>>);

impl PolicyLog {
    /// Logs what a batch does to policies; `origin` says where one is now.
    pub(super) fn batch(
        &mut self,
        changes: &[Change],
        revision: &Revision,
        origin: impl Fn(&ObjectName) -> Option<Origin>,
    ) {
        for line in self.lines(changes, revision, origin) {
            tracing::info!("{line}");
        }
    }

    fn lines(
        &mut self,
        changes: &[Change],
        revision: &Revision,
        origin: impl Fn(&ObjectName) -> Option<Origin>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let (mut added, mut changed, mut removed) = (0, 0, 0);
        for change in changes {
            let (name, what, origin) = match change {
                Change::Policy(fact) => {
                    let origin = origin(&fact.name);
                    let known = self.0.insert(fact.name.clone(), origin.clone());
                    let what = match known {
                        None => (&mut added, "added"),
                        Some(_) => (&mut changed, "changed"),
                    };
                    (&fact.name, what, origin)
                }
                Change::PolicyRemoved(name) => {
                    let origin = self.0.remove(name).flatten();
                    (name, (&mut removed, "removed"), origin)
                }
                _ => continue,
            };
            let (count, what) = what;
            *count += 1;
            if lines.len() <= MOST_LINES {
                let from = match origin {
                    Some(origin) => format!(" ({origin})"),
                    None => String::new(),
                };
                let name = Printable(name);
                lines.push(format!("policy {name} {what}{from}, revision {revision}"));
            }
        }
        if lines.len() > MOST_LINES {
            lines = vec![format!(
                "policies: {added} added, {changed} changed, {removed} removed, revision {revision}"
            )];
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use policy_core::model::{PolicyFact, Selector};

    use super::*;

    fn policy(name: &str) -> Change {
        Change::Policy(PolicyFact {
            name: ObjectName::new("x", name),
            subjects: Selector::everything(),
            ingress: None,
            egress: None,
        })
    }

    fn origin(name: &ObjectName) -> Option<Origin> {
        Some(Origin::File {
            name: format!("{}.yaml", name.name).into(),
            place: None,
        })
    }

    #[test]
    fn each_policy_has_a_line_with_its_origin_and_the_revision() {
        let mut log = PolicyLog::default();
        let revision = Revision::new("r1");
        let mut lines = |changes: &[Change]| log.lines(changes, &revision, origin);
        assert_eq!(
            lines(&[policy("a")]),
            ["policy x/a added (a.yaml), revision r1"]
        );
        assert_eq!(
            lines(&[
                policy("a"),
                Change::PodRemoved(ObjectName::new("x", "p")),
                policy("b\u{1b}[31m"),
            ]),
            [
                "policy x/a changed (a.yaml), revision r1",
                "policy x/b\\u{1b}[31m added (b\\u{1b}[31m.yaml), revision r1",
            ]
        );
        let gone = Change::PolicyRemoved(ObjectName::new("x", "a"));
        assert_eq!(lines(&[gone]), ["policy x/a removed (a.yaml), revision r1"]);
        assert_eq!(lines(&[]), [] as [String; 0]);
    }

    #[test]
    fn thousands_at_once_are_counted() {
        let mut log = PolicyLog::default();
        let revision = Revision::new("r1");
        let many: Vec<_> = (0..5_000).map(|n| policy(&format!("p{n}"))).collect();
        assert_eq!(
            log.lines(&many, &revision, origin),
            ["policies: 5000 added, 0 changed, 0 removed, revision r1"]
        );
        let mut more = many;
        more.push(policy("new"));
        more.push(Change::PolicyRemoved(ObjectName::new("x", "p0")));
        assert_eq!(
            log.lines(&more, &revision, origin),
            ["policies: 1 added, 5000 changed, 1 removed, revision r1"]
        );
    }
}
