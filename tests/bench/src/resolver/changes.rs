//! One thing changes: the cases. Each makes samples until it has enough, undoes what it did, and
//! fails where the tables did not change although they must.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use policy_core::model::{
    Change, PeerMatch, Peers, PodFact, PolicyFact, PortMatch, Ports, Protocol, Requirement, Rule,
    Selector,
};

use super::{
    cluster::{NODE_PODS, Seedling},
    policies::block,
    relevance::{peers, tells_apart},
    world::World,
};

/// Samples of one case.
pub(super) type Samples = Vec<Duration>;

/// After so many tries there is no change of the wanted kind to be had.
const TRIES: usize = 10_000;

/// Makes something until it is what is wanted.
fn find<T>(world: &mut World, mut make: impl FnMut(&mut World) -> Option<T>) -> Result<T> {
    (0..TRIES)
        .find_map(|_| make(world))
        .context("the cluster has nothing to change that matters to the node")
}

fn random_pod(world: &mut World, local: bool) -> Option<Seedling> {
    let pods = &world.cluster.pods;
    let pod = if local {
        let all: Vec<&Seedling> = world.cluster.local().collect();
        *all[world.rng.usize(..all.len().min(NODE_PODS))]
    } else {
        pods[world.rng.usize(..pods.len())]
    };
    let fact = world.cluster.pod(&pod);
    let fits = world.cluster.is_local(&pod) == local && has_addresses(&fact);
    fits.then_some(pod)
}

/// Others are nobody's peer.
fn has_addresses(pod: &PodFact) -> bool {
    !pod.host_network && !pod.finished
}

/// Whether the node tells the two pods apart: as peers, and if it is its own, as subjects.
fn matters(world: &World, before: &PodFact, after: &PodFact, local: bool) -> bool {
    let relevance = &world.relevance;
    let in_force = relevance.in_force();
    relevance.peers(before, &in_force) != relevance.peers(after, &in_force)
        || (local && relevance.selecting(before) != relevance.selecting(after))
}

/// One sample; the tables must change.
fn sample(world: &mut World, changes: Vec<Change>, samples: &mut Samples) -> Result<()> {
    let said = format!("{changes:?}");
    let changed = world.change(changes)?;
    ensure!(changed.ops > 0, "the tables did not change: {said}");
    samples.push(changed.took);
    Ok(())
}

/// A pod comes and goes: samples of both. It is one more of any workload of the cluster; a local
/// one comes with its interface.
pub(super) fn come_and_go(world: &mut World, local: bool, count: usize) -> Result<[Samples; 2]> {
    let (mut added, mut removed) = (Samples::new(), Samples::new());
    while added.len() < count {
        let offset = (added.len() % 100) as u8;
        let (pod, fact) = find(world, |world| {
            let model = random_pod(world, false)?;
            let pod = world.cluster.sibling(&model, local, offset);
            let fact = world.cluster.pod(&pod);
            let in_force = world.relevance.in_force();
            let is_peer = || !world.relevance.peers(&fact, &in_force).is_empty();
            (has_addresses(&fact) && (local || is_peer())).then_some((pod, fact))
        })?;
        let mut come = vec![Change::Pod(fact.clone())];
        let mut go = vec![Change::PodRemoved(fact.name)];
        if local {
            come.push(world.cluster.endpoint(&pod));
            go.insert(0, Change::EndpointRemoved(world.cluster.ifindex(&pod)));
        }
        sample(world, come, &mut added)?;
        sample(world, go, &mut removed)?;
    }
    Ok([added, removed])
}

/// A pod gets the labels of another workload of its namespace, and its own again.
pub(super) fn relabelled(world: &mut World, local: bool, count: usize) -> Result<Samples> {
    let mut samples = Samples::new();
    while samples.len() < count {
        let (before, after) = find(world, |world| {
            let pod = random_pod(world, local)?;
            let apps = world.cluster.tenants[pod.tenant as usize].apps.len();
            let app = world.rng.usize(..apps) as u8;
            let before = world.cluster.pod(&pod);
            let after = PodFact {
                labels: world.cluster.labels(&pod.of_app(app)),
                ..before.clone()
            };
            matters(world, &before, &after, local).then_some((before, after))
        })?;
        sample(world, vec![Change::Pod(after)], &mut samples)?;
        sample(world, vec![Change::Pod(before)], &mut samples)?;
    }
    Ok(samples)
}

/// A policy that selects some of the node's pods allows somebody more, and again what it did.
pub(super) fn policy(world: &mut World, count: usize) -> Result<Samples> {
    let mut samples = Samples::new();
    while samples.len() < count {
        let before = random_policy(world)?;
        let apps = &world.cluster.tenants[world.rng.usize(3..world.cluster.tenants.len())].apps;
        let app = Requirement::In("app".into(), vec![apps[0].name.into()]);
        let port = 10_000 + samples.len() as u16 % 10_000;
        let peer = PeerMatch::Pods {
            namespaces: samples.len().is_multiple_of(4).then(Selector::everything),
            pods: Selector::new([app]),
        };
        let after = allowing(&before, peer, port);
        sample(world, vec![Change::Policy(after)], &mut samples)?;
        sample(world, vec![Change::Policy(before)], &mut samples)?;
    }
    Ok(samples)
}

/// A policy in force gets a block with an exception inside the network of the pods: every
/// identity inside is split. Taking the block away is not measured.
pub(super) fn split(world: &mut World, count: usize) -> Result<Samples> {
    let mut samples = Samples::new();
    let nodes = world.cluster.pods.len().div_ceil(NODE_PODS);
    while samples.len() < count {
        let before = random_policy(world)?;
        let node = world.rng.usize(..nodes);
        let (high, low) = (64 + node / 256, node % 256);
        let inside = block(
            &format!("10.{high}.{}.0/20", low & 0xf0),
            &[&format!("10.{high}.{low}.0/25")],
        )?;
        let port = 20_000 + samples.len() as u16;
        let after = allowing(&before, inside, port);
        let changed = world.change(vec![Change::Policy(after)])?;
        world.change(vec![Change::Policy(before)])?;
        ensure!(changed.addresses > 0, "no identity was split");
        samples.push(changed.took);
    }
    Ok(samples)
}

/// A namespace goes over to another team, and back.
pub(super) fn namespace(world: &mut World, count: usize) -> Result<Samples> {
    let mut samples = Samples::new();
    while samples.len() < count {
        let (before, after) = find(world, |world| {
            let number = world.rng.usize(3..world.cluster.tenants.len());
            let mut tenant = world.cluster.tenants[number].clone();
            let before = tenant.namespace();
            tenant.team = world.rng.usize(..world.cluster.teams);
            let after = tenant.namespace();
            let in_force = world.relevance.in_force();
            let (one, other) = (&before.labels, &after.labels);
            let mut pods = world.cluster.pods.iter();
            let matters = tells_apart(one, other, &in_force)
                && pods.any(|pod| {
                    let fact = (pod.tenant as usize == number).then(|| world.cluster.pod(pod));
                    fact.filter(has_addresses).is_some_and(|pod| {
                        peers(&pod, one, &in_force) != peers(&pod, other, &in_force)
                    })
                });
            matters.then_some((before, after))
        })?;
        sample(world, vec![Change::Namespace(after)], &mut samples)?;
        sample(world, vec![Change::Namespace(before)], &mut samples)?;
    }
    Ok(samples)
}

pub(super) fn random_policy(world: &mut World) -> Result<PolicyFact> {
    let in_force = world.relevance.in_force();
    ensure!(!in_force.is_empty(), "no policy selects a pod of the node");
    Ok(in_force[world.rng.usize(..in_force.len())].clone())
}

/// The policy with one rule more in the direction that it covers.
pub(super) fn allowing(policy: &PolicyFact, peer: PeerMatch, port: u16) -> PolicyFact {
    let mut policy = policy.clone();
    let rules = policy.ingress.as_mut().or(policy.egress.as_mut());
    rules.into_iter().for_each(|rules| {
        rules.push(Rule {
            peers: Peers::AnyOf(vec![peer.clone()]),
            ports: Ports::AnyOf(vec![PortMatch::Range(Protocol::Tcp, port, port)]),
        });
    });
    policy
}
