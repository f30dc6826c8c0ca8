//! What of the format this enforcer does not have.
//!
//! Such cases are named, never counted as passed.

use super::case::Case;

/// Capabilities of `requires` that are here.
const CAPABILITIES: &[&str] = &[
    "NetworkPolicy",
    "SCTP",
    "endPort",
    "IPv6",
    "admission",
    "unvalidated",
];

/// Kinds that steps may apply, delete or create.
const KINDS: &[&str] = &["NetworkPolicy", "Namespace", "Pod"];

/// The first thing that the case needs and that is not here.
pub(crate) fn missing(case: &Case) -> Option<String> {
    let capability = case
        .requires
        .iter()
        .find(|capability| !CAPABILITIES.contains(&capability.as_str()));
    let steps = || case.steps.iter();
    let actions = || steps().flat_map(|step| &step.actions);
    let applied = actions().filter_map(|action| action.apply.as_ref());
    let admitted = steps()
        .flat_map(|step| &step.admission)
        .map(|request| &request.object);
    let deleted = actions().filter_map(|action| Some(action.delete.as_ref()?.kind.as_str()));
    let mut kinds = applied
        .chain(admitted)
        .filter_map(|object| object["kind"].as_str())
        .chain(deleted);
    // The kind says more than the capability's name.
    kinds
        .find(|kind| !KINDS.contains(kind))
        .map(str::to_owned)
        .or_else(|| capability.cloned())
}
