//! Whether rules that take the place of others allow less.
//!
//! In doubt they do: who believes it closes too early, not too late.

use std::collections::BTreeSet;

use policy_common::{Direction, PortSetId, RulesetId, Verdict};

use super::of;
use crate::plan::{
    contents::Contents,
    op::{DirectionEntry, PortRange, PortSetEntry},
};

/// Whether an endpoint that leaves one of these rulesets loses anything that it allows.
pub(super) fn is_any(have: &Contents, want: &Contents, leaving: &BTreeSet<RulesetId>) -> bool {
    have.endpoints.iter().any(|(ifindex, before)| {
        let after = want.endpoints.get(ifindex);
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .any(|direction| {
                let old = of(before, direction).filter(|old| leaving.contains(&old.ruleset));
                let next = after.and_then(|after| of(after, direction));
                // Who is not isolated any more, or gone, loses nothing.
                old.zip(next)
                    .is_some_and(|(old, next)| loses((have, old), (want, next)))
            })
    })
}

/// Whether who changes from the first rules to the others loses anything, by what those say now or by what
/// they would say of the identities that are wanted, among which may be parts of older ones.
pub(super) fn loses(
    (have, old): (&Contents, DirectionEntry),
    (want, next): (&Contents, DirectionEntry),
) -> bool {
    [have, want]
        .into_iter()
        .any(|contents| loses_by((contents, old), (want, next)))
}

fn loses_by(
    (have, old): (&Contents, DirectionEntry),
    (want, next): (&Contents, DirectionEntry),
) -> bool {
    let named = |contents: &Contents, ruleset| -> BTreeSet<_> {
        let rules = contents.rules.keys().filter(|key| key.0 == ruleset);
        rules.map(|key| key.1).collect()
    };
    let said = |contents: &Contents, rules: DirectionEntry, identity| {
        let ports = contents.rules.get(&(rules.ruleset, identity));
        ports.copied().unwrap_or(rules.default_ports)
    };
    let (before, after) = (named(have, old.ruleset), named(want, next.ruleset));
    let identities = before.union(&after).copied();
    let pairs = identities.map(|one| (said(have, old, one), said(want, next, one)));
    pairs
        .chain([(old.default_ports, next.default_ports)])
        .any(|(old, next)| !covers((want, next), (have, old)))
}

/// Whether a port set allows all that another one allows.
fn covers((want, next): (&Contents, PortSetId), (have, old): (&Contents, PortSetId)) -> bool {
    if next == PortSetId::ALLOW_ALL || old == PortSetId::DENY_ALL {
        return true;
    }
    let (Some(next), Some(old)) = (want.port_sets.get(&next), have.port_sets.get(&old)) else {
        return false;
    };
    let allow = |entry: &PortSetEntry| entry.verdict == Verdict::ALLOW;
    next.iter().chain(old.iter()).all(allow)
        && old
            .iter()
            .all(|old| next.iter().any(|next| contains(next.range, old.range)))
}

fn contains(outer: PortRange, inner: PortRange) -> bool {
    match (outer, inner) {
        (PortRange::AnyProtocol, _) => true,
        (PortRange::Protocol(outer), PortRange::Protocol(inner)) => outer == inner,
        (PortRange::Protocol(outer), PortRange::Prefix { protocol, .. }) => outer == protocol,
        (
            PortRange::Prefix {
                protocol,
                port,
                bits,
            },
            PortRange::Prefix {
                protocol: inner,
                port: inner_port,
                bits: inner_bits,
            },
        ) => {
            let differ = u32::from(port ^ inner_port);
            protocol == inner && bits <= inner_bits && differ >> (16 - u32::from(bits.min(16))) == 0
        }
        _ => false,
    }
}
