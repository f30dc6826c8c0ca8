//! Traps in how a policy is written, which are not to be seen in what it means.

use serde_json::Value;

use super::{Accepted, Finding};
use crate::convert::Field;

/// Looks at one accepted policy.
pub(super) fn check(policy: &Accepted<'_>, findings: &mut Vec<Finding>) {
    let at = Field::root().child("spec");
    let Some(spec) = policy
        .entry
        .written
        .get("spec")
        .filter(|spec| !spec.is_null())
    else {
        findings.push(
            policy
                .finding(at, "is absent: isolates every pod of the namespace")
                .hint("write `podSelector: {}` if that is meant"),
        );
        return;
    };
    let subjects = at.child("podSelector");
    match spec.get("podSelector") {
        None | Some(Value::Null) => findings.push(
            policy
                .finding(subjects, "is absent: selects every pod of the namespace")
                .hint("write `podSelector: {}` if that is meant"),
        ),
        Some(selector) => null_labels(policy, selector, &subjects, findings),
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let at = at.child(direction);
        for (index, rule) in items(spec.get(direction)).enumerate() {
            let at = at.index(index);
            for list in [peers, "ports"] {
                let how = match rule.get(list) {
                    Some(Value::Null) => Some("has no value"),
                    Some(Value::Array(items)) if items.is_empty() => Some("is empty"),
                    _ => None,
                };
                if let Some(how) = how {
                    let what = if list == "ports" { "port" } else { "peer" };
                    findings.push(
                        policy
                            .finding(at.child(list), format!("{how}: allows every {what}"))
                            .hint(format!("leave {list:?} out if that is meant")),
                    );
                }
            }
            rule_peers(policy, rule.get(peers), &at.child(peers), findings);
        }
    }
}

fn rule_peers(
    policy: &Accepted<'_>,
    peers: Option<&Value>,
    at: &Field,
    findings: &mut Vec<Finding>,
) {
    let mut last = None;
    for (index, peer) in items(peers).enumerate() {
        let at = at.index(index);
        for name in ["podSelector", "namespaceSelector", "ipBlock"] {
            let at = at.child(name);
            match peer.get(name) {
                Some(Value::Null) => findings.push(
                    policy
                        .finding(at, "has no value: it is as if it were not there")
                        .hint(format!(
                            "write `{name}: {{}}` for everything, or leave it out"
                        )),
                ),
                Some(selector) => null_labels(policy, selector, &at, findings),
                None => {}
            }
        }
        let alone = only(peer);
        if let (Some(first), Some(second)) = (last, alone)
            && first != second
        {
            findings.push(
                policy
                    .finding(
                        at,
                        format!(
                            "this {second} and the {first} before it are two peers, either of which is enough"
                        ),
                    )
                    .hint(format!(
                        "if both must hold, write them as one item: remove the '-' before {second}"
                    )),
            );
        }
        last = alone;
    }
}

/// The selector of a peer that has only this one and means something by it.
fn only(peer: &Value) -> Option<&'static str> {
    let peer = peer.as_object()?;
    let set = |name: &str| peer.get(name).is_some_and(|value| !value.is_null());
    match (set("podSelector"), set("namespaceSelector")) {
        (true, false) => Some("podSelector"),
        (false, true) => Some("namespaceSelector"),
        _ => None,
    }
}

fn null_labels(policy: &Accepted<'_>, selector: &Value, at: &Field, findings: &mut Vec<Finding>) {
    for name in ["matchLabels", "matchExpressions"] {
        if selector.get(name).is_some_and(Value::is_null) {
            findings.push(
                policy
                    .finding(
                        at.child(name),
                        "has no value: the selector takes everything",
                    )
                    .hint("indent the labels one level more, or write `{}` for the selector"),
            );
        }
    }
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
