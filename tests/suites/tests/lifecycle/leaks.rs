//! What is left when everything is over: nothing.

use std::collections::BTreeSet;

use aya::programs::{TcAttachType, loaded_programs};
use policy_agent::datapath::chain;
use policy_bpf::map_ids;
use policy_harness::{Attach, Wiring};

use crate::scene::{DENY_ALL, FROM_CLIENT, Scene, eventually};

/// Programs on the pods' interfaces, and the maps that they use.
fn in_kernel(scene: &Scene) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let look = || {
        let mut programs = BTreeSet::new();
        for pod in scene.cluster.node.pods() {
            for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
                let entries = chain::chain(pod.ifindex, hook).unwrap().entries;
                programs.extend(entries.iter().filter_map(|entry| entry.prog_id));
            }
        }
        programs
    };
    let programs = scene.cluster.node.host.run(look).unwrap();
    let maps = loaded_programs()
        .flatten()
        .filter(|program| programs.contains(&program.id()))
        .flat_map(|program| program.map_ids().unwrap().unwrap_or_default())
        .collect();
    (programs, maps)
}

fn still_there(programs: &BTreeSet<u32>, maps: &BTreeSet<u32>) -> Vec<String> {
    let programs = loaded_programs()
        .flatten()
        .filter(|program| programs.contains(&program.id()))
        .map(|program| format!("{program:?}"));
    let left = map_ids().unwrap();
    let maps = maps.intersection(&left).map(|id| format!("map {id}"));
    programs.chain(maps).collect()
}

#[test]
fn nothing_is_left_of_runs_that_were_taken_over_and_of_one_that_was_cleaned_up() {
    for (wiring, attach) in [
        (Wiring::Routed, Attach::Tcx),
        (Wiring::Bridged, Attach::Clsact),
    ] {
        let mut scene = Scene::stopped(wiring, attach);
        scene.cluster.agent.start(&[]).unwrap();
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("deny", DENY_ALL);
        scene.policy("from-client", FROM_CLIENT);
        scene.is_silent("outside", "shop/web");
        let mut before = in_kernel(&scene);
        assert!(before.0.len() >= 2 && before.1.len() >= 10, "{before:?}");
        for crashes in [true, false] {
            if crashes {
                scene.cluster.agent.kill().unwrap();
            } else {
                scene.cluster.agent.stop().unwrap();
            }
            scene.cluster.agent.start(&[]).unwrap();
            let after = in_kernel(&scene);
            assert!(before.0.is_disjoint(&after.0), "new programs took over");
            let gone: BTreeSet<_> = before.1.difference(&after.1).copied().collect();
            assert!(!gone.is_empty(), "new tables were filled");
            eventually("the generation before is gone", || {
                still_there(&before.0, &gone).is_empty()
            });
            before = after;
        }
        scene.remove_pod("shop/client");
        scene.cluster.agent.stop().unwrap();
        scene.cluster.agent.cleanup().unwrap();
        let (programs, maps) = before;
        eventually("no program and no map is left", || {
            still_there(&programs, &maps).is_empty()
        });
        let pins = scene.cluster.agent.pin_path().to_owned();
        let manifests = scene.cluster.manifests();
        let node = &scene.cluster.node;
        let mut namespaces = vec![node.host.path(), node.outside.path()];
        namespaces.extend(node.pods().iter().map(|pod| pod.netns.path()));
        assert!(namespaces.iter().all(|path| path.exists()));
        assert!(!pins.exists());
        drop(scene);
        for path in namespaces.iter().chain([&pins, &manifests]) {
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}
