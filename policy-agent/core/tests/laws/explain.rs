//! What `explain` says is what the tables do.

use policy_core::{
    laws::{
        probe::{ask, probes},
        strategies::facts,
    },
    model::{Change, Ports},
    resolve::{PeerName, Question},
};
use proptest::prelude::*;

use crate::{
    build::{Node, allow, block, endpoint, name, pod, pods, policy, tcp, with},
    compile,
};

#[test]
fn the_policies_and_rules_that_decide_are_named() {
    let node = Node::new([
        Change::Pod(pod("a/p", &[], &["10.0.0.1"])),
        Change::Pod(pod("a/q", &[("app", "x")], &["10.0.0.2"])),
        endpoint(1, "a/p"),
        Change::Policy(policy("a/deny", Some(vec![]), None)),
        Change::Policy(policy(
            "a/web",
            Some(vec![
                allow(vec![block("192.0.2.0/24", &[])], Ports::All),
                allow(vec![pods(with(&[("app", "x")]))], tcp(80, 80)),
            ]),
            None,
        )),
    ]);
    let endpoint = node.resolver.endpoint(1).expect("the endpoint");
    assert_eq!(endpoint.ingress, [name("a/deny"), name("a/web")]);
    assert_eq!(endpoint.egress, []);
    let pod = name("a/p");
    let question = |port| Question {
        pod: &pod,
        direction: policy_common::Direction::Ingress,
        peer: policy_core::model::Peer::Address("10.0.0.2".parse().expect("an address")),
        protocol: 6,
        port: Some(port),
    };
    let allowed = node.resolver.explain(question(80));
    assert!(allowed.allowed);
    assert_eq!(allowed.peer, PeerName::Pod(name("a/q")));
    assert_eq!(allowed.isolated_by, [name("a/deny"), name("a/web")]);
    assert_eq!(allowed.allowed_by.len(), 1);
    assert_eq!(allowed.allowed_by[0].policy, name("a/web"));
    assert_eq!(allowed.allowed_by[0].rule, 1);
    let denied = node.resolver.explain(question(81));
    assert!(!denied.allowed);
    assert_eq!(denied.allowed_by, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_explanation_agrees_with_the_tables(facts in facts()) {
        let (resolver, tables) = compile(&facts);
        for probe in probes() {
            let endpoint = facts.endpoints.iter().find(|fact| fact.ifindex == probe.ifindex);
            let Some(pod) = endpoint.and_then(|fact| fact.pod.as_ref()) else { continue };
            let explanation = resolver.explain(Question {
                pod,
                direction: probe.direction,
                peer: probe.peer,
                protocol: probe.protocol,
                port: probe.port,
            });
            let kept = resolver.policies_of(probe.ifindex, probe.direction);
            prop_assert_eq!(&*kept, &*explanation.isolated_by, "{:?}", probe);
            prop_assert_eq!(explanation.allowed, ask(&tables, &probe), "{:?} {:?}", probe, explanation);
        }
    }
}
