//! Activation: for which pods new predicates hold.
//!
//! Invariant: every address for which a predicate of a new ruleset holds is marked, or its pod's
//! group gains the predicate.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{ContainerPort, IpBlock, Protocol},
    resolve::{
        compile::{
            Active,
            predicate::{Predicate, PredicateId, Predicates, Scope, Term},
            term::Scopes,
        },
        facts::{
            cluster::Cluster,
            group::{Group, numbers},
            ids::GroupId,
        },
    },
};

/// Which groups gain which predicates, those together that gain the same.
pub(crate) type Gains = BTreeMap<Vec<PredicateId>, Vec<GroupId>>;

/// What the pods that a term selects gain.
#[derive(Default)]
struct Activated {
    /// The term itself.
    is_new: bool,
    /// The numbers that they declare under new port names.
    names: Vec<(PredicateId, Protocol, Arc<str>)>,
}

/// A new port name in use for everybody (`None`) or for the addresses of a block.
struct FreshName {
    block: Option<Arc<Predicate>>,
    protocol: Protocol,
    name: Arc<str>,
}

/// Makes the predicates known for which new rulesets ask. Says which groups gain terms and
/// port names of terms, and marks the addresses for which other port names may hold.
pub(crate) fn activate(facts: &mut Cluster, active: &mut Active) -> Gains {
    let Active {
        predicates,
        scopes,
        blocks,
    } = active;
    let mut terms: BTreeMap<PredicateId, Activated> = BTreeMap::new();
    let mut names: Vec<FreshName> = Vec::new();
    for id in predicates.take_fresh() {
        if !predicates.is_asked_for(id) {
            predicates.remove(id);
            continue;
        }
        let Some(predicate) = predicates.get(id).cloned() else {
            continue;
        };
        match predicate.as_ref() {
            Predicate::Term(term) => {
                insert_term(facts, scopes, id, term);
                terms.entry(id).or_default().is_new = true;
            }
            Predicate::Block(block) => blocks.insert(id, block),
            Predicate::Name(peer, protocol, name) => {
                let peer = peer.and_then(|peer| Some((peer, predicates.get(peer)?)));
                match peer {
                    Some((peer, predicate)) if matches!(**predicate, Predicate::Term(_)) => {
                        let names = &mut terms.entry(peer).or_default().names;
                        names.push((id, *protocol, name.clone()));
                    }
                    peer => names.push(FreshName {
                        block: peer.map(|(_, peer)| peer.clone()),
                        protocol: *protocol,
                        name: name.clone(),
                    }),
                }
            }
            Predicate::Number(..) => {}
        }
    }
    if facts.addresses.is_all_marked() {
        return Gains::new();
    }
    if !names.is_empty() {
        mark_names(facts, &names);
    }
    gains(facts, predicates, &terms)
}

fn insert_term(facts: &mut Cluster, scopes: &mut Scopes, id: PredicateId, term: &Term) {
    if let Some(scope) = scopes.insert(id, term)
        && let Scope::Matching(selector) = &term.scope
    {
        let Cluster {
            labelled,
            namespaces,
            ..
        } = facts;
        labelled.matching(selector, |name| {
            if let Some(namespace) = namespaces.get_mut(name) {
                namespace.scopes.push(scope);
                namespace.scopes.sort_unstable();
            }
        });
    }
}

fn gains(
    facts: &Cluster,
    predicates: &mut Predicates,
    terms: &BTreeMap<PredicateId, Activated>,
) -> Gains {
    let mut gained: Vec<(GroupId, PredicateId)> = Vec::new();
    for (&id, activated) in terms {
        let Some(predicate) = predicates.get(id).cloned() else {
            continue;
        };
        let Predicate::Term(term) = &*predicate else {
            continue;
        };
        let mut selected: Vec<GroupId> = Vec::new();
        let mut select_in = |name: &Arc<str>| {
            if let Some(namespace) = facts.namespaces.get(name) {
                let labels = &namespace.groups.labels;
                labels.matching(&term.pods, |&group| selected.push(group));
            }
        };
        match &term.scope {
            Scope::Namespace(name) => select_in(name),
            Scope::Matching(selector) => facts.labelled.matching(selector, select_in),
        }
        if activated.is_new {
            gained.extend(selected.iter().map(|&group| (group, id)));
        }
        if activated.names.is_empty() {
            continue;
        }
        let traits = |&group: &GroupId| &facts.groups[group as usize].traits;
        let ports: Vec<&[ContainerPort]> =
            selected.iter().map(|group| &*traits(group).ports).collect();
        for (group, ports) in selected.iter().zip(ports) {
            for (name, protocol, text) in &activated.names {
                for number in numbers(ports, *protocol, text) {
                    let number = Predicate::Number(*name, number);
                    gained.push((*group, predicates.intern(number)));
                }
            }
        }
    }
    gained.sort_unstable();
    let mut gains = Gains::new();
    let mut of_one = Vec::new();
    for of_group in gained.chunk_by(|(one, _), (other, _)| one == other) {
        of_one.clear();
        of_one.extend(of_group.iter().map(|&(_, predicate)| predicate));
        let group = of_group[0].0;
        match gains.get_mut(&of_one) {
            Some(groups) => groups.push(group),
            None => {
                gains.insert(of_one.clone(), vec![group]);
            }
        }
    }
    gains
}

fn mark_names(facts: &mut Cluster, names: &[FreshName]) {
    let groups = facts.groups.iter();
    let concerned = |group: &Group| names.iter().any(|name| concerns(facts, name, group));
    let marked: Vec<GroupId> = groups
        .filter(|(_, group)| concerned(group))
        .map(|(group, _)| group as GroupId)
        .collect();
    for group in marked {
        facts.mark_group(group);
    }
}

fn concerns(facts: &Cluster, fresh: &FreshName, group: &Group) -> bool {
    let mut numbers = numbers(&group.traits.ports, fresh.protocol, &fresh.name);
    let declares = numbers.next().is_some();
    declares
        && match fresh.block.as_deref() {
            Some(Predicate::Block(IpBlock { cidr, .. })) => {
                let mut addresses = group.addresses.iter();
                addresses.any(|&address| cidr.contains(&facts.addresses[address].ip))
            }
            _ => true,
        }
}
