//! Which new version of a file does nothing but close.
//!
//! Pure. Invariant: whatever other files say, before or after, what such a version changes takes no
//! verdict from denied to allowed: it need not keep its place among other changes.

use std::sync::Arc;

use policy_core::model::PolicyFact;

use super::{Age, Manifests};
use crate::{convert::Object, source::manifests::File};

impl Manifests {
    /// Whether all that a new version of a file changes is that its policies allow less. Broken files
    /// and objects of which several files say something keep their place.
    pub(in crate::source::manifests) fn only_closes(&self, name: &Arc<str>, file: &File) -> bool {
        let held = self.files.get(name);
        if file.blank || held.is_some_and(|held| !held.refused.is_empty()) {
            return false;
        }
        let mut policies: Vec<_> = Vec::with_capacity(file.entries.len());
        for entry in &file.entries {
            let (Some(key), Ok(Object::Policy(policy))) = (&entry.object, &entry.outcome) else {
                return false;
            };
            let is_own = self
                .claims
                .get(key)
                .is_none_or(|claims| claims[..] == [Arc::clone(name)]);
            if !is_own || policies.iter().any(|(other, _)| *other == key) {
                return false;
            }
            policies.push((key, policy));
        }
        let before = |key| {
            let accepted = held.and_then(|held| held.objects.get(key))?;
            match &*accepted.object {
                Object::Policy(policy) if accepted.age == Age::Current => Some(policy),
                _ => None,
            }
        };
        let is_gone = |key| !policies.iter().any(|(other, _)| *other == key);
        !held.is_some_and(|held| held.objects.keys().any(is_gone))
            && policies
                .iter()
                .all(|(key, policy)| closes(before(key), policy))
    }
}

/// Whether a policy that takes the place of another one, or of none, can only deny more.
fn closes(before: Option<&PolicyFact>, now: &PolicyFact) -> bool {
    let nothing = PolicyFact {
        ingress: None,
        egress: None,
        ..now.clone()
    };
    let before = before.unwrap_or(&nothing);
    let directions = [
        (&before.ingress, &now.ingress),
        (&before.egress, &now.egress),
    ];
    before.subjects == now.subjects
        && directions.into_iter().all(|pair| match pair {
            // Where other policies isolate the pods already, each rule allows more.
            (None, now) => now.iter().flatten().next().is_none(),
            (Some(_), None) => false,
            (Some(before), Some(now)) => now.iter().all(|rule| before.contains(rule)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWS: &str = "ingress: [{from: [{podSelector: {}}]}], ";

    fn policy(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\nspec: {{{spec}}}\n---\n"
        )
    }

    fn denies(name: &str) -> String {
        policy(name, "podSelector: {}, policyTypes: [Ingress]")
    }

    /// Whether `after` only closes in the place of `before`.
    fn only_closes(before: &str, after: &str) -> bool {
        let mut manifests = Manifests::default();
        let other = "other.yaml".into();
        manifests.replace(&other, File::read(denies("others").as_bytes()));
        let name = "a.yaml".into();
        if !before.is_empty() {
            manifests.replace(&name, File::read(before.as_bytes()));
        }
        manifests.only_closes(&name, &File::read(after.as_bytes()))
    }

    #[test]
    fn a_new_policy_closes_when_it_allows_nothing() {
        assert!(only_closes("", &denies("a")));
        assert!(only_closes(&denies("a"), &(denies("a") + &denies("b"))));
        let allows = format!("podSelector: {{}}, {ALLOWS}policyTypes: [Ingress]");
        assert!(!only_closes("", &policy("a", &allows)));
        assert!(!only_closes(
            "",
            &policy("a", "podSelector: {}, egress: [{}], policyTypes: [Egress]")
        ));
    }

    #[test]
    fn a_policy_that_changes_closes_when_it_keeps_its_pods_and_loses_rules() {
        let one = format!("podSelector: {{}}, {ALLOWS}policyTypes: [Ingress]");
        let both = "podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}]}], policyTypes: [Ingress]";
        assert!(only_closes(&policy("a", both), &policy("a", &one)));
        assert!(only_closes(&policy("a", &one), &denies("a")));
        assert!(!only_closes(&policy("a", &one), &policy("a", both)));
        let narrower = "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]";
        assert!(!only_closes(&denies("a"), &policy("a", narrower)));
        let elsewhere = "podSelector: {}, policyTypes: [Egress]";
        assert!(!only_closes(&denies("a"), &policy("a", elsewhere)));
    }

    #[test]
    fn what_is_broken_or_gone_or_no_policy_or_of_two_files_does_not_only_close() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: x}\n---\n";
        for (before, after) in [
            (denies("a") + &denies("b"), denies("a")),
            (denies("a"), String::new()),
            (String::new(), denies("a") + "kind: ]"),
            (String::new(), denies("a") + pod),
            (String::new(), denies("a") + &denies("a")),
            (String::new(), denies("others")),
            (denies("a") + "kind: ]", denies("a")),
        ] {
            assert!(!only_closes(&before, &after), "{before:?} {after:?}");
        }
    }
}
