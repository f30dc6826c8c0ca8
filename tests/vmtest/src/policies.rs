//! The policies of the checks, and what follows from facts.

use std::sync::Arc;

use policy_core::{
    model::{
        Change, ObjectName, PeerMatch, Peers, PolicyFact, PortMatch, Ports, Protocol, Requirement,
        Rule, Selector,
    },
    plan::Op,
    resolve::Resolver,
};

/// All that follows from the facts.
pub(crate) fn compile(facts: &[Change]) -> (Resolver, Vec<Op>) {
    let mut resolver = Resolver::new();
    for fact in facts {
        resolver.apply(fact.clone());
    }
    let wanted = resolver.commit();
    (resolver, wanted)
}

/// Who may connect to the second pod.
pub(crate) fn ingress_to_b(rules: Vec<Rule>) -> PolicyFact {
    PolicyFact {
        name: ObjectName::new("default", "b"),
        subjects: labelled("b"),
        ingress: Some(rules),
        egress: None,
    }
}

pub(crate) fn labelled(app: &str) -> Selector {
    Selector::new([Requirement::In("app".into(), vec![Arc::from(app)])])
}

/// The first pod, on one TCP and one UDP port.
pub(crate) fn web() -> Rule {
    Rule {
        peers: Peers::AnyOf(vec![PeerMatch::Pods {
            namespaces: None,
            pods: labelled("a"),
        }]),
        ports: Ports::AnyOf(vec![
            PortMatch::Range(Protocol::Tcp, 80, 80),
            PortMatch::Range(Protocol::Udp, 53, 53),
        ]),
    }
}

/// Everybody, on every port.
pub(crate) fn everything() -> Rule {
    Rule {
        peers: Peers::All,
        ports: Ports::All,
    }
}
