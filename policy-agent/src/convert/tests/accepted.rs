//! What manifests of policies mean.

use policy_core::model::{
    PeerMatch, Peers, PortMatch, Ports, Protocol, Requirement, Rule, Selector,
};
use serde_json::json;

use super::{accepted, peers_from, ports_of};

#[test]
fn policy_types_default_to_ingress_and_to_egress_when_it_has_rules() {
    let covered = |spec| {
        let policy = accepted(spec);
        (policy.ingress.is_some(), policy.egress.is_some())
    };
    assert_eq!(covered(json!({"podSelector": {}})), (true, false));
    assert_eq!(covered(json!({"egress": []})), (true, false));
    assert_eq!(covered(json!({"egress": [{}]})), (true, true));
    assert_eq!(
        covered(json!({"egress": [{}], "policyTypes": []})),
        (true, true)
    );
    assert_eq!(
        covered(json!({"egress": [{}], "policyTypes": ["Ingress"]})),
        (true, false)
    );
    assert_eq!(
        covered(json!({"ingress": [{}], "policyTypes": ["Egress"]})),
        (false, true)
    );
    assert_eq!(
        covered(json!({"policyTypes": ["Ingress", "Egress"]})),
        (true, true)
    );
}

#[test]
fn absent_null_and_empty_lists_mean_the_same() {
    let everything = Some(vec![Rule {
        peers: Peers::All,
        ports: Ports::All,
    }]);
    for rule in [
        json!({}),
        json!({"from": null, "ports": null}),
        json!({"from": [], "ports": []}),
    ] {
        assert_eq!(accepted(json!({"ingress": [rule]})).ingress, everything);
    }
    for spec in [json!({}), json!({"ingress": null}), json!({"ingress": []})] {
        assert_eq!(accepted(spec).ingress, Some(vec![]));
    }
}

#[test]
fn selectors_are_alternatives_apart_and_a_conjunction_together() {
    let label = |name: &str| json!({"matchLabels": {"app": name}});
    let policy = accepted(peers_from(json!([
        {"podSelector": label("a")},
        {"namespaceSelector": {}},
        {"podSelector": label("b"), "namespaceSelector": label("c")},
    ])));
    let select = |name: &str| Selector::new([Requirement::In("app".into(), vec![name.into()])]);
    let pods = |namespaces, pods| PeerMatch::Pods { namespaces, pods };
    assert_eq!(
        policy.ingress.unwrap()[0].peers,
        Peers::AnyOf(vec![
            pods(None, select("a")),
            pods(Some(Selector::everything()), Selector::everything()),
            pods(Some(select("c")), select("b")),
        ])
    );
}

#[test]
fn ports_take_their_defaults() {
    let policy = accepted(ports_of(json!([
        {},
        {"protocol": "SCTP"},
        {"port": 80},
        {"port": 80, "endPort": 80, "protocol": "UDP"},
        {"port": 1, "endPort": 65535},
        {"port": "http"},
    ])));
    use Protocol::{Sctp, Tcp, Udp};
    assert_eq!(
        policy.ingress.unwrap()[0].ports,
        Ports::AnyOf(vec![
            PortMatch::AnyPort(Tcp),
            PortMatch::AnyPort(Sctp),
            PortMatch::Range(Tcp, 80, 80),
            PortMatch::Range(Udp, 80, 80),
            PortMatch::Range(Tcp, 1, 65535),
            PortMatch::Named(Tcp, "http".into()),
        ])
    );
}
