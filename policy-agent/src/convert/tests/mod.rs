//! Whole objects in both regimes.

mod accepted;
mod foreign;
mod never_wider;
mod objects;
mod pods;
mod refused;

use policy_core::model::PolicyFact;
use serde_json::{Value, json};

use super::{Object, strict};

fn policy_of(spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "x"},
        "spec": spec,
    })
}

fn accepted(spec: Value) -> PolicyFact {
    match strict(&policy_of(spec)) {
        Ok(Object::Policy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

/// The errors of a policy that is refused.
fn refused(spec: Value) -> Vec<String> {
    errors(&policy_of(spec))
}

fn errors(object: &Value) -> Vec<String> {
    let invalid = strict(object).expect_err("a refusal");
    invalid.errors.iter().map(ToString::to_string).collect()
}

fn peers_from(from: Value) -> Value {
    json!({"podSelector": {}, "ingress": [{"from": from}]})
}

fn ports_of(ports: Value) -> Value {
    json!({"podSelector": {}, "ingress": [{"ports": ports}]})
}
