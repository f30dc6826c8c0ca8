//! Rules by identity, and which prefixes they tell apart.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use policy_common::{IdentityId, PortSetId, RulesetId};

use crate::plan::contents::Contents;

/// What rulesets say of one identity where it differs from their default: in order.
pub(super) type Row = Vec<(RulesetId, PortSetId)>;

/// The rules of some contents by identity.
pub(super) struct Rows {
    rows: HashMap<IdentityId, Row>,
}

impl Rows {
    /// Reserved identities are left out: every ruleset says the same of them.
    pub(super) fn new(contents: &Contents) -> Self {
        let mut rows: HashMap<IdentityId, Row> = HashMap::new();
        for (&(ruleset, identity), &ports) in &contents.rules {
            if identity >= IdentityId::FIRST {
                rows.entry(identity).or_default().push((ruleset, ports));
            }
        }
        rows.values_mut().for_each(|row| row.sort_unstable());
        Self { rows }
    }

    /// What some of the rulesets say of an identity. Two identities with the same row are one to
    /// these rulesets; an empty row is that of an address which is nobody's.
    pub(super) fn of(&self, identity: IdentityId, rulesets: &BTreeSet<RulesetId>) -> Row {
        let row = self.rows.get(&identity).into_iter().flatten();
        row.filter(|(ruleset, _)| rulesets.contains(ruleset))
            .copied()
            .collect()
    }

    /// The prefixes of which some of the rulesets say something else than of the prefix around
    /// them. They give these rulesets every verdict that all prefixes together give, whatever other
    /// prefixes stand beside them.
    pub(super) fn telling<'a>(
        &'a self,
        contents: &'a Contents,
        rulesets: &'a BTreeSet<RulesetId>,
    ) -> impl Iterator<Item = (IpNet, IdentityId, Row)> + 'a {
        let mut around: Vec<(IpNet, Row)> = Vec::new();
        // In order: a prefix comes before those inside it.
        contents.cidrs.iter().filter_map(move |(net, identity)| {
            while around.last().is_some_and(|(outer, _)| !outer.contains(net)) {
                around.pop();
            }
            let row = self.of(*identity, rulesets);
            let is_told = match around.last() {
                Some((_, outer)) => *outer != row,
                None => !row.is_empty(),
            };
            around.push((*net, row.clone()));
            is_told.then_some((*net, *identity, row))
        })
    }
}
