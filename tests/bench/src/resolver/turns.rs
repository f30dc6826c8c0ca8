//! What one turn of the agent's loop may have to resolve at a time: many pods, or a change that concerns
//! all of them. While it lasts the loop does nothing else.

use anyhow::Result;
use policy_core::model::{Change, PeerMatch, Selector};

use super::{
    changes::{Samples, allowing, random_policy},
    cluster::Seedling,
    world::World,
};

/// Pods of a large batch.
pub(super) const PODS: usize = 10_000;

/// Samples of each kind of change.
pub(super) struct Turns {
    pub(super) removed: Samples,
    pub(super) added: Samples,
    pub(super) relabelled: Samples,
    /// The first policy that names all pods of the cluster.
    pub(super) all_named: Samples,
}

/// So many pods anywhere in the cluster go, come, get the labels of another workload, and their own again.
pub(super) fn turns(world: &mut World, pods: usize, count: usize) -> Result<Turns> {
    let mut turns = Turns {
        removed: Samples::new(),
        added: Samples::new(),
        relabelled: Samples::new(),
        all_named: Samples::new(),
    };
    for _ in 0..count {
        let chosen = choose(world, pods);
        let of = |world: &World, change: &dyn Fn(&World, &Seedling) -> Change| -> Vec<Change> {
            chosen.iter().map(|pod| change(world, pod)).collect()
        };
        let own = |world: &World, pod: &Seedling| Change::Pod(world.cluster.pod(pod));
        let gone = |world: &World, pod: &Seedling| Change::PodRemoved(world.cluster.name(pod));
        let others = |world: &World, pod: &Seedling| {
            let mut fact = world.cluster.pod(pod);
            let apps = world.cluster.tenants[pod.tenant as usize].apps.len();
            let app = (usize::from(pod.app) + 1) % apps;
            fact.labels = world.cluster.labels(&pod.of_app(app as u8));
            Change::Pod(fact)
        };
        let changes = of(world, &gone);
        turns.removed.push(world.turn(changes)?.took);
        let changes = of(world, &own);
        turns.added.push(world.turn(changes)?.took);
        let changes = of(world, &others);
        turns.relabelled.push(world.turn(changes)?.took);
        let changes = of(world, &own);
        world.turn(changes)?;

        let before = random_policy(world)?;
        let everybody = PeerMatch::Pods {
            namespaces: Some(Selector::everything()),
            pods: Selector::everything(),
        };
        let after = allowing(&before, everybody, 30_000);
        let named = world.turn(vec![Change::Policy(after)])?;
        // In a small cluster others name them already.
        if named.addresses > pods {
            turns.all_named.push(named.took);
        }
        world.turn(vec![Change::Policy(before)])?;
    }
    Ok(turns)
}

/// Pods of the cluster that are not this node's, as far as there are so many.
fn choose(world: &mut World, count: usize) -> Vec<Seedling> {
    let World { cluster, rng, .. } = world;
    let elsewhere = cluster.pods.iter().filter(|pod| !cluster.is_local(pod));
    rng.choose_multiple(elsewhere.copied(), count)
}
