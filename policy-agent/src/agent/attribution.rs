//! Which policies stood behind the tables by which a packet was judged.
//!
//! An event is read later than its packet was judged, perhaps by tables that are replaced since. Owns what
//! was last written for each endpoint, and a little of what was written before. Invariant: of tables that
//! are not remembered any more nobody is named, rather than the policies of today.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use policy_common::{Direction, EndpointId, RulesetId};
use policy_core::{model::ObjectName, plan::Op, resolve::Resolver};

/// Tables that are remembered for each endpoint.
const REMEMBERED: usize = 8;

/// What was written for one endpoint at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    ingress: RulesetId,
    egress: RulesetId,
    pod: Option<ObjectName>,
    ingress_policies: Arc<[ObjectName]>,
    egress_policies: Arc<[ObjectName]>,
}

impl Written {
    fn ruleset(&self, direction: Direction) -> RulesetId {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// Whose rules judged a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judges {
    /// The pod that was judged, if it was known.
    pub(super) pod: Option<ObjectName>,
    /// The policies that isolated it in the direction.
    pub(super) policies: Arc<[ObjectName]>,
}

/// What was written for the endpoints, the newest first.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    endpoints: BTreeMap<EndpointId, VecDeque<Written>>,
}

impl Attribution {
    /// Remembers what these operations write. Call it when they are planned: `resolver` names the
    /// policies.
    pub(super) fn record(&mut self, ops: &[Op], resolver: &Resolver) {
        for op in ops {
            let Op::PutEndpoint(entry) = op else {
                continue;
            };
            let ruleset = |rules: Option<policy_core::plan::DirectionEntry>| {
                rules.map_or(RulesetId::NONE, |rules| rules.ruleset)
            };
            let policies = |direction| resolver.policies_of(entry.ifindex, direction);
            let view = resolver.endpoint(entry.ifindex);
            self.push(
                entry.id,
                Written {
                    ingress: ruleset(entry.ingress),
                    egress: ruleset(entry.egress),
                    pod: view.and_then(|view| view.pod.cloned()),
                    ingress_policies: policies(Direction::Ingress),
                    egress_policies: policies(Direction::Egress),
                },
            );
        }
    }

    fn push(&mut self, endpoint: EndpointId, written: Written) {
        let before = self.endpoints.entry(endpoint).or_default();
        // A number that another pod has now was swept before: nothing of the pod before is asked for.
        before.retain(|before| before.pod == written.pod);
        before.push_front(written);
        before.truncate(REMEMBERED);
    }

    /// The pod of an endpoint, also when that is gone, until another has its number.
    pub(super) fn pod(&self, endpoint: EndpointId) -> Option<&ObjectName> {
        self.endpoints.get(&endpoint)?.front()?.pod.as_ref()
    }

    /// The policies that isolate an endpoint in a direction, as they were written last.
    pub(super) fn policies(&self, endpoint: EndpointId, direction: Direction) -> &[ObjectName] {
        let written = self.endpoints.get(&endpoint).and_then(VecDeque::front);
        written.map_or(&[], |written| match direction {
            Direction::Ingress => &written.ingress_policies,
            Direction::Egress => &written.egress_policies,
        })
    }

    /// Who judged a packet by this ruleset of the endpoint.
    pub(super) fn of(
        &self,
        endpoint: EndpointId,
        direction: Direction,
        ruleset: RulesetId,
    ) -> Option<Judges> {
        let written = self.endpoints.get(&endpoint)?;
        let written = written
            .iter()
            .find(|written| written.ruleset(direction) == ruleset)?;
        Some(Judges {
            pod: written.pod.clone(),
            policies: match direction {
                Direction::Ingress => &written.ingress_policies,
                Direction::Egress => &written.egress_policies,
            }
            .clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: EndpointId = EndpointId(3);

    fn written(pod: &str, ingress: u32, policy: &str) -> Written {
        Written {
            ingress: RulesetId(ingress),
            egress: RulesetId::NONE,
            pod: Some(ObjectName::new("shop", pod)),
            ingress_policies: [ObjectName::new("shop", policy)].into(),
            egress_policies: [].into(),
        }
    }

    fn named(attribution: &Attribution, ruleset: u32) -> Option<String> {
        let judges = attribution.of(WEB, Direction::Ingress, RulesetId(ruleset))?;
        Some(judges.policies[0].to_string())
    }

    #[test]
    fn a_packet_is_attributed_to_the_policies_of_its_own_tables() {
        let mut attribution = Attribution::default();
        attribution.push(WEB, written("web", 5, "old"));
        attribution.push(WEB, written("web", 6, "new"));
        assert_eq!(named(&attribution, 5).as_deref(), Some("shop/old"));
        assert_eq!(named(&attribution, 6).as_deref(), Some("shop/new"));
        assert_eq!(named(&attribution, 7), None, "rather nobody");
    }

    #[test]
    fn of_one_ruleset_the_newest_names_count() {
        let mut attribution = Attribution::default();
        attribution.push(WEB, written("web", 5, "old"));
        attribution.push(WEB, written("web", 5, "new"));
        assert_eq!(named(&attribution, 5).as_deref(), Some("shop/new"));
    }

    #[test]
    fn a_number_that_is_given_to_another_pod_forgets_the_pod_before() {
        let mut attribution = Attribution::default();
        attribution.push(WEB, written("web", 5, "old"));
        attribution.push(WEB, written("db", 6, "new"));
        assert_eq!(named(&attribution, 5), None);
    }

    #[test]
    fn only_the_last_few_are_remembered() {
        let mut attribution = Attribution::default();
        for ruleset in 1..100 {
            attribution.push(WEB, written("web", ruleset, "p"));
        }
        assert_eq!(named(&attribution, 99 - REMEMBERED as u32), None);
        assert!(named(&attribution, 99).is_some());
    }
}
