//! A thousand commits under traffic, one at a time: the programs drop exactly what they must.

use std::collections::BTreeMap;

use policy_agent::datapath::{
    AttachError, AttachMode, Attacher, Datapath, Hook, LoadOptions, PinDir, Programs,
};
use policy_common::{Config, Reason};
use policy_core::{model::Change, plan::Op, resolve::Resolver};
use policy_harness::{
    Attach,
    topology::{HOST_V4, HOST_V6},
};

use crate::{
    random::{Random, batch},
    scene::{SETTINGS, Scene},
    steady::{self, Steady},
    world::{ALWAYS, NEVER, World},
};

/// Commits that wrote something.
const COMMITS: usize = 1000;

/// The datapath of the scene's node without an agent: whoever holds it says when what is written.
/// The scene's agent, which never ran, cleans up.
pub(crate) struct Direct {
    resolver: Resolver,
    pub(crate) datapath: Datapath,
    pub(crate) attacher: Attacher,
}

impl Direct {
    fn new(scene: &Scene, world: &mut World) -> Self {
        let mut direct = Self::unattached(scene, world, false);
        direct.at_every_hook(scene, world, |attacher, programs, ifindex, hook| {
            attacher.attach(programs, ifindex, hook)
        });
        direct
    }

    /// The tables are filled, and nothing is on an interface.
    pub(crate) fn unattached(scene: &Scene, world: &mut World, stand_ins: bool) -> Self {
        let pins = PinDir::new(scene.cluster.agent.pin_path());
        let pins = pins.lock().unwrap();
        let many = 200_000;
        let datapath = Datapath::load(
            &LoadOptions {
                config: Config {
                    pod_opened_limit: many,
                    peer_opened_limit: many,
                    ..Config::DEFAULT
                },
                stand_ins,
                ..LoadOptions::embedded().unwrap()
            },
            &[],
        );
        let mechanism = match scene.cluster.agent.attach() {
            Attach::Tcx => AttachMode::Tcx,
            Attach::Clsact => AttachMode::Clsact,
        };
        let mut direct = Self {
            resolver: Resolver::new(),
            datapath: datapath.unwrap(),
            attacher: Attacher::new(pins, mechanism.mechanism()),
        };
        let host = [HOST_V4, HOST_V6, "169.254.1.1", "fe80::1"];
        let host = host.map(|address| address.parse().unwrap()).to_vec();
        world.facts.apply(&Change::HostAddresses(host));
        for change in world.facts.changes() {
            direct.resolver.apply(change);
        }
        assert!(direct.commit());
        direct
    }

    /// Does the same at every hook of every pod.
    pub(crate) fn at_every_hook<T: Send>(
        &mut self,
        scene: &Scene,
        world: &World,
        action: impl Fn(&Attacher, &mut Programs, u32, Hook) -> Result<T, AttachError> + Sync + Send,
    ) -> Vec<T> {
        let Self {
            attacher, datapath, ..
        } = self;
        let all = || {
            let pods = world.facts.endpoints.iter();
            let hooks = pods.flat_map(|pod| Hook::ENDPOINT.map(|hook| (pod.ifindex, hook)));
            hooks
                .map(|(ifindex, hook)| action(attacher, &mut datapath.programs, ifindex, hook))
                .collect::<Result<Vec<_>, _>>()
        };
        scene.netns("host").run(all).unwrap().unwrap()
    }

    /// Commits what was applied, and says whether that wrote anything.
    fn commit(&mut self) -> bool {
        let ops = self.resolver.commit();
        self.execute(&ops)
    }

    fn execute(&mut self, ops: &[Op]) -> bool {
        let failures = self.datapath.apply(ops);
        assert!(failures.is_empty(), "{failures:?}");
        self.datapath.settle().unwrap();
        !ops.is_empty()
    }

    /// How many packets were dropped so far, by reason.
    fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut drops = BTreeMap::new();
        for (_, reason, counter) in self.datapath.counters().unwrap() {
            if reason.is_drop() {
                *drops.entry(reason.name()).or_default() += counter.packets;
            }
        }
        drops
    }
}

#[test]
fn a_thousand_commits_drop_no_packet_that_is_allowed_and_pass_none_that_is_not() {
    for (wiring, attach) in SETTINGS {
        eprintln!("{wiring:?}, {attach:?}");
        let mut scene = Scene::stopped(wiring, attach);
        under_traffic(&mut scene);
    }
}

fn under_traffic(scene: &mut Scene) {
    let mut random = Random::new();
    let mut world = World::new(scene);
    let mut direct = Direct::new(scene, &mut world);
    let (mut allowed, mut forbidden) = (Vec::new(), Vec::new());
    for v6 in [false, true] {
        for (from, to) in ALWAYS {
            allowed.push(Steady::allowed(scene.netns(from), scene.server(to, v6)));
        }
        for (from, to) in NEVER {
            forbidden.push(Steady::forbidden(scene.netns(from), scene.server(to, v6)));
        }
    }
    let (mut commits, mut round) = (0, 0);
    while commits < COMMITS {
        for (file, text, removes) in batch(&mut random, round) {
            let removed = removes.then(|| world.remove(&file)).flatten();
            let change = removed.unwrap_or_else(|| world.write(&file, &text));
            world.holds(scene);
            direct.resolver.apply(change);
            if direct.commit() {
                commits += 1;
                steady::go_on(allowed.iter().chain(&forbidden));
            }
        }
        // What the agent does when nothing has changed for a while.
        let unused = direct.resolver.collect();
        direct.execute(&unused);
        round += 1;
    }
    let answered: u64 = allowed.into_iter().map(Steady::end).sum();
    let rounds: u64 = forbidden.into_iter().map(Steady::end).sum();
    assert!(answered > COMMITS as u64, "{answered} rounds of traffic");
    // TCP would send again what a wrong verdict dropped; the counters tell.
    let wanted = BTreeMap::from([(Reason::Policy.name(), rounds * Steady::FORBIDDEN_PACKETS)]);
    assert_eq!(direct.drops(), wanted);
}
