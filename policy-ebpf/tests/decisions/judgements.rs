//! A run that judged more than one endpoint.

use policy_common::{Direction, Endpoint, EndpointId, IdentityId, Reason, RulesetId, Verdict};
use policy_ebpf::{Decision, Judgement, question::Answer};

#[test]
fn each_judgement_names_the_tables_of_its_own_endpoint_and_direction() {
    let mut endpoint = Endpoint {
        id: EndpointId(9),
        epoch: 77,
        ..Endpoint::default()
    };
    endpoint.ingress.ruleset = RulesetId(3);
    endpoint.egress.ruleset = RulesetId(4);
    let judgement = |endpoint, direction| Judgement {
        endpoint,
        direction,
        decision: Decision::of(Reason::Policy),
    };
    let ingress = judgement(Some(&endpoint), Direction::Ingress);
    let egress = judgement(Some(&endpoint), Direction::Egress);
    assert_eq!(
        (ingress.ruleset(), egress.ruleset()),
        (RulesetId(3), RulesetId(4))
    );
    assert_eq!((ingress.id(), ingress.epoch()), (EndpointId(9), 77));
    let nobody = judgement(None, Direction::Ingress);
    assert_eq!(
        (nobody.id(), nobody.ruleset(), nobody.epoch()),
        (EndpointId::NONE, RulesetId::NONE, 0)
    );
}

#[test]
fn a_decision_by_rules_keeps_what_they_said() {
    let audited = Verdict(Verdict::REJECT.0 | Verdict::AUDIT);
    let decision = Decision::by_rules(
        Reason::Policy,
        Answer::new(audited, IdentityId(0xdead_beef)),
    );
    assert_eq!(decision.reason(), Some(Reason::Policy));
    assert_eq!(decision.verdict(), audited);
    assert_eq!(decision.identity(), IdentityId(0xdead_beef));
    assert!(decision.drops());
}
