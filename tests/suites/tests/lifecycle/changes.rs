//! Files that change under traffic: what they do not concern never notices.

use std::thread;

use policy_harness::traffic::{Outcome, Protocol};

use crate::{
    random::{Random, batch},
    scene::{Scene, in_every_setting, namespace},
    steady::Steady,
    world::{ALWAYS, NEVER, World},
};

/// Rounds of one change per file.
const ROUNDS: usize = 20;

/// Pairs whose verdict changes all the time.
const SOMETIMES: [(&str, &str); 6] = [
    ("shop/one", "shop/web"),
    ("team/two", "shop/web"),
    ("shop/one", "team/two"),
    ("team/two", "shop/one"),
    ("shop/web", "shop/one"),
    ("outside", "shop/one"),
];

#[test]
fn changes_of_files_lead_to_what_the_specification_says_and_interrupt_nothing_else() {
    let limits = ["--max-pod-opened-flows", "--max-peer-opened-flows"];
    let arguments = limits.map(|limit| [limit, "200000"]).concat();
    in_every_setting(&arguments, |scene| {
        let mut random = Random::new();
        let mut world = World::new(scene);
        let traffic = traffic(scene);
        let mut seen = [0_u32; 2];
        for round in 0..ROUNDS {
            for (file, text, removes) in batch(&mut random, round) {
                if removes && world.remove(&file).is_some() {
                    std::fs::remove_file(scene.cluster.manifests().join(file)).unwrap();
                } else {
                    scene.cluster.write(&file, &text).unwrap();
                    world.write(&file, &text);
                }
                world.holds(scene);
            }
            // What was written before it is read before it, or with it.
            let last = namespace("round", "");
            scene.cluster.apply("round.yaml", &last).unwrap();
            if round % 4 == 3 {
                agrees(scene, &world, &mut seen);
            }
        }
        assert!(
            seen.iter().all(|count| *count > 0),
            "both verdicts were seen: {seen:?}"
        );
        for steady in traffic {
            assert!(steady.end() > 100);
        }
    });
}

fn traffic(scene: &Scene) -> Vec<Steady> {
    let mut traffic = Vec::new();
    for v6 in [false, true] {
        for (from, to) in ALWAYS {
            traffic.push(Steady::allowed(scene.netns(from), scene.server(to, v6)));
        }
        for (from, to) in NEVER {
            traffic.push(Steady::forbidden(scene.netns(from), scene.server(to, v6)));
        }
    }
    traffic
}

/// The pairs that change are as the specification says now. Silence takes its time: all at once.
fn agrees(scene: &Scene, world: &World, seen: &mut [u32; 2]) {
    let mut ways = Vec::new();
    for (from, to) in SOMETIMES {
        for (protocol, number) in [(Protocol::Tcp, 6), (Protocol::Udp, 17)] {
            for v6 in [false, true] {
                let wanted = world.allows(scene, from, to, number, v6);
                seen[usize::from(wanted)] += 1;
                ways.push((protocol, from, to, v6, wanted));
            }
        }
    }
    thread::scope(|threads| {
        for (protocol, from, to, v6, wanted) in ways {
            threads.spawn(move || {
                let outcome = scene.ask(protocol, from, to, v6);
                let what = format!("{protocol:?} {from} → {to}, IPv6 {v6}");
                assert_eq!(outcome == Outcome::Allowed, wanted, "{what}");
            });
        }
    });
}
