//! Which rulesets endpoints have, where policies or pods changed.
//!
//! Invariant: an endpoint whose rulesets may be others is looked at; others are not.

use policy_common::Direction;

use crate::resolve::{
    compile::{policy::Compiler, predicate::Predicates},
    facts::cluster::Cluster,
    tables::{Tables, endpoint::Isolation},
};

/// The rulesets of one endpoint.
pub(crate) struct Choice {
    pub(crate) ifindex: u32,
    pub(crate) ingress: Option<Isolation>,
    pub(crate) egress: Option<Isolation>,
}

/// The rulesets of every endpoint that may have others now.
pub(crate) fn choose_rulesets(
    facts: &mut Cluster,
    predicates: &mut Predicates,
    tables: &mut Tables,
) -> Vec<Choice> {
    let namespaces = std::mem::take(&mut facts.dirty.policies);
    let mut interfaces = std::mem::take(&mut facts.dirty.endpoints);
    if !namespaces.is_empty() {
        let endpoints = facts.endpoints.iter();
        interfaces.extend(endpoints.filter_map(|(&ifindex, fact)| {
            let pod = fact.pod.as_ref()?;
            namespaces.contains(&pod.namespace).then_some(ifindex)
        }));
    }
    let facts = &*facts;
    let mut compiler = Compiler::new(predicates);
    let contents: Vec<_> = interfaces
        .into_iter()
        .map(|ifindex| {
            let pod = facts.endpoints.get(&ifindex);
            let pod = pod.and_then(|fact| facts.pod(fact.pod.as_ref()?));
            let mut content = |direction| {
                let pod = pod?;
                let namespace = facts.namespaces.get(&pod.name.namespace)?;
                let traits = &facts.group_of(pod).traits;
                compiler.content(namespace, pod, traits, direction)
            };
            let ingress = content(Direction::Ingress);
            (ifindex, ingress, content(Direction::Egress))
        })
        .collect();
    let Tables {
        rulesets,
        port_sets,
        ..
    } = tables;
    let mut choices = Vec::with_capacity(contents.len());
    for (ifindex, ingress, egress) in contents {
        let mut acquire = |content: Option<_>| {
            let (content, policies) = content?;
            Some(Isolation {
                ruleset: rulesets.acquire(content, ifindex, predicates, port_sets),
                policies,
            })
        };
        choices.push(Choice {
            ifindex,
            ingress: acquire(ingress),
            egress: acquire(egress),
        });
    }
    choices
}
