//! Events on objects that are refused: who wrote one sees it where he looks.
//!
//! Every agent of the cluster sees the same objects. All call the event of one problem the same, so that one of
//! them makes it and the others find it made. Invariant: what cannot be written holds up nothing, and a few
//! are written in a minute, however many objects are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Pace, Trouble,
    link::Link,
    pace::{BackOff, between},
};
use crate::{
    convert::ObjectRef,
    source::{Origin, Refusal, contact::Listening},
    text::Printable,
};

/// The controller's name must be one of a domain.
const CONTROLLER: &str = "policy-agent/agent";
const REASON: &str = "Refused";
/// A note has no more bytes.
const LONGEST_NOTE: usize = 1_024;
/// Of an object's name, in that of its event.
const LONGEST_NAME: usize = 200;
/// How often an event is tried.
const TRIES: u32 = 5;

/// Writes events.
pub(super) struct Reporter {
    link: Link,
    pace: Pace,
    /// All that is refused now.
    refused: watch::Receiver<Vec<Refusal>>,
    listening: Listening,
    instance: String,
    is_forbidden: bool,
}

/// An event to be made.
#[derive(Debug)]
struct Report {
    path: String,
    object: Value,
}

impl Reporter {
    pub(super) fn new(link: Link, pace: Pace, refused: watch::Receiver<Vec<Refusal>>) -> Self {
        // Of an agent with the node's network: the node's.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().chars().take(128).collect::<String>();
        Self {
            link,
            pace,
            refused,
            // Counted apart, and shown to nobody.
            listening: Listening::new("Event"),
            instance: if host.is_empty() {
                "unknown".to_owned()
            } else {
                host
            },
            is_forbidden: false,
        }
    }

    /// Writes until nobody says any more what is refused.
    pub(super) async fn run(mut self) {
        let mut written: BTreeSet<String> = BTreeSet::new();
        let mut due = None;
        loop {
            let mut reports = reports(&self.refused.borrow_and_update(), &self.instance);
            written.retain(|name| reports.contains_key(name));
            reports.retain(|name, _| !written.contains(name));
            let Some((name, report)) = reports.pop_first() else {
                due = None;
                match self.refused.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            };
            let at = *due.get_or_insert_with(|| Instant::now() + between(self.pace.report));
            tokio::select! {
                () = sleep_until(at) => {}
                // It may be mended by now.
                changed = self.refused.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            due = None;
            self.write(&report).await;
            written.insert(name);
        }
    }

    async fn write(&mut self, report: &Report) {
        let mut back_off = BackOff::default();
        while back_off.failures() < TRIES && self.refused.has_changed().is_ok() {
            match self.post(report).await {
                Ok(()) | Err(Trouble::Status { code: 409, .. }) => return,
                Err(trouble) if trouble.is_refusal() => return self.forbidden(&trouble),
                Err(trouble) => {
                    tracing::debug!("API server: an event: {}", Printable(&trouble));
                    sleep(back_off.next(&self.pace, trouble.retry_after())).await;
                }
            }
        }
    }

    async fn post(&self, report: &Report) -> Result<(), Trouble> {
        let connection = self.link.get().await?;
        let Report { path, object } = report;
        connection
            .post(path, object, self.pace.patience, &self.listening)
            .await
    }

    /// Once: in a namespace that is on its way out nothing may be made either.
    fn forbidden(&mut self, trouble: &Trouble) {
        if !std::mem::replace(&mut self.is_forbidden, true) {
            tracing::warn!(
                remedy = "give the agent's role the verb create for events (events.k8s.io)",
                "API server: no event can be written: {}",
                Printable(trouble)
            );
        }
    }
}

/// What is to be written, by the names of the events.
fn reports(refused: &[Refusal], instance: &str) -> BTreeMap<String, Report> {
    let mut objects: BTreeMap<&ObjectRef, Vec<&Refusal>> = BTreeMap::new();
    for refusal in refused {
        if let Some(object) = &refusal.object {
            objects.entry(object).or_default().push(refusal);
        }
    }
    let reports = objects.into_iter().filter_map(|(object, refusals)| {
        let Origin::Api {
            resource_version,
            uid,
        } = &refusals.first()?.origin
        else {
            return None;
        };
        Some(report(object, &refusals, resource_version, uid, instance))
    });
    reports.collect()
}

fn report(
    object: &ObjectRef,
    refusals: &[&Refusal],
    version: &str,
    uid: &str,
    instance: &str,
) -> (String, Report) {
    let note = note(refusals);
    let key = Sha256::digest(format!("{}\n{uid}\n{note}", object.kind.name()));
    let mut name: String = object.name.name.chars().take(LONGEST_NAME).collect();
    name.truncate(name.trim_end_matches(['.', '-']).len());
    name.push('.');
    for byte in key.iter().take(8) {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    // Where readers look for events on what is in no namespace.
    let namespace = match &*object.name.namespace {
        "" => "default",
        namespace => namespace,
    };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": now.to_string(),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "action": "Reading",
        "reason": REASON,
        "type": "Warning",
        "regarding": {
            "apiVersion": object.kind.api_version(),
            "kind": object.kind.name(),
            "namespace": &*object.name.namespace,
            "name": &*object.name.name,
            "uid": uid,
            "resourceVersion": version,
        },
        "note": note,
    });
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let report = Report {
        path,
        object: event,
    };
    (name, report)
}

/// What is wrong, one problem after the other, as much as a note may have.
fn note(refusals: &[&Refusal]) -> String {
    let mut note = String::new();
    for refusal in refusals {
        let Refusal { field, problem, .. } = refusal;
        let semicolon = if note.is_empty() { "" } else { "; " };
        let colon = if field.as_str().is_empty() { "" } else { ": " };
        let one = format!(
            "{semicolon}{}{colon}{}",
            Printable(field),
            Printable(problem)
        );
        note.push_str(&one);
    }
    if note.len() > LONGEST_NOTE {
        note.truncate(note.floor_char_boundary(LONGEST_NOTE - "…".len()));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{convert, convert::Kind, source::Problem};
    use policy_core::model::ObjectName;

    fn refusal(namespace: &str, name: &str, uid: &str, problem: &str) -> Refusal {
        let kind = match namespace {
            "" => Kind::Namespace,
            _ => Kind::NetworkPolicy,
        };
        Refusal {
            object: Some(ObjectRef {
                kind,
                name: ObjectName::new(namespace, name),
            }),
            origin: Origin::Api {
                resource_version: "7".into(),
                uid: uid.into(),
            },
            field: convert::Field::root().child("spec"),
            problem: Problem::Syntax(problem.to_owned()),
        }
    }

    #[test]
    fn all_agents_call_the_event_of_one_problem_the_same_and_that_of_another_one_otherwise() {
        let name = |uid: &str, problem: &str, instance: &str| {
            let reports = reports(&[refusal("x", "p", uid, problem)], instance);
            reports.into_keys().next().unwrap()
        };
        let one = name("u", "odd", "node-1");
        assert!(one.starts_with("p.") && one.len() == 18, "{one}");
        assert_eq!(one, name("u", "odd", "node-2"));
        assert_ne!(one, name("v", "odd", "node-1"));
        assert_ne!(one, name("u", "odder", "node-1"));
    }

    #[test]
    fn the_problems_of_one_object_are_one_event_within_the_servers_limits() {
        let long = "ä".repeat(400);
        let many = [1, 2, 3].map(|_| refusal("x", &"n".repeat(253), "u", &long));
        let reports = reports(&many, "node");
        let (name, report) = reports.first_key_value().unwrap();
        assert_eq!(reports.len(), 1);
        assert!(name.len() <= 253);
        let note = report.object["note"].as_str().unwrap();
        assert!(note.len() <= 1_024 && note.len() > 1_000 && note.ends_with('…'));
        assert!(note.starts_with("spec: ä"));
    }

    #[test]
    fn an_event_on_what_is_in_no_namespace_is_in_the_default_one() {
        let reports = reports(&[refusal("", "n", "u", "odd")], "node");
        let report = reports.values().next().unwrap();
        assert_eq!(report.object["metadata"]["namespace"], "default");
        assert!(report.path.contains("/namespaces/default/"));
        assert_eq!(report.object["regarding"]["namespace"], "");
    }
}
