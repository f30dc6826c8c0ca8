//! Filters that stand in for links at a first start.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::programs::TcAttachType::{Egress, Ingress};
use policy_agent::datapath::chain::{Attachment, Entry, chain};
use policy_common::{Direction, Reason};
use policy_harness::{Attach, Netns, Wiring};

use crate::{
    commits::Direct,
    scene::{DENY_ALL, SOON, Scene, eventually},
    steady::Steady,
    world::{ALWAYS, NEVER, World},
};

/// How often a filter gives way to a link at every hook.
const ROUNDS: usize = 5;

/// Asks and is answered until told to stop; how often.
fn exchanges(from: &Netns, to: SocketAddr, stop: &AtomicBool) -> u64 {
    let talk = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            socket.send(b"question").unwrap();
            socket.recv(&mut [0; 16]).expect("an answer");
            count += 1;
        }
        count
    };
    from.run(talk).unwrap()
}

/// Packets of flows that rules allow, by direction.
fn counted(direct: &Direct) -> [u64; 2] {
    let mut counts = [0; 2];
    for (direction, reason, counter) in direct.datapath.counters().unwrap() {
        if matches!(reason, Reason::Allowed | Reason::Flow) {
            counts[usize::from(direction == Direction::Egress)] += counter.packets;
        }
    }
    counts
}

#[test]
fn a_packet_is_judged_and_counted_once_while_a_link_takes_over_from_a_filter() {
    for wiring in [Wiring::Routed, Wiring::Bridged] {
        let mut scene = Scene::stopped(wiring, Attach::Tcx);
        let mut world = World::new(&mut scene);
        let mut direct = Direct::unattached(&scene, &mut world, true);
        let bridge = |direct: &mut Direct| {
            direct.at_every_hook(&scene, &world, |attacher, programs, ifindex, hook| {
                attacher.bridge(programs, ifindex, hook)
            })
        };
        let stand = bridge(&mut direct);
        assert!(stand.iter().all(Option::is_some), "{stand:?}");
        let (from, to) = ALWAYS[0];
        let server = scene.server(to, false);
        for round in 0..ROUNDS {
            if round > 0 {
                direct.at_every_hook(&scene, &world, |attacher, _, ifindex, hook| {
                    attacher.detach(ifindex, hook)
                });
                bridge(&mut direct);
            }
            let before = counted(&direct);
            let forbidden: Vec<_> = NEVER
                .iter()
                .map(|(from, to)| {
                    Steady::forbidden(scene.netns(from), scene.server(to, round % 2 == 0))
                })
                .collect();
            let stop = AtomicBool::new(false);
            let answered = thread::scope(|threads| {
                let talking = threads.spawn(|| exchanges(scene.netns(from), server, &stop));
                direct.at_every_hook(&scene, &world, |attacher, programs, ifindex, hook| {
                    attacher.attach(programs, ifindex, hook)
                });
                stop.store(true, Ordering::Relaxed);
                talking.join().unwrap()
            });
            for traffic in forbidden {
                traffic.end();
            }
            let after = counted(&direct);
            let packets = [after[0] - before[0], after[1] - before[1]];
            assert_eq!(packets, [2 * answered; 2], "{wiring:?}, round {round}");
        }
    }
}

/// What stands at the hooks of all pods.
fn stands(scene: &Scene) -> Vec<Vec<Entry>> {
    let look = || {
        let pods = scene.cluster.node.pods();
        let hooks = pods
            .iter()
            .flat_map(|pod| [Ingress, Egress].map(|hook| (pod.ifindex, hook)));
        hooks
            .map(|(ifindex, hook)| chain(ifindex, hook).unwrap().entries)
            .collect()
    };
    scene.netns("host").run(look).unwrap()
}

fn is_covered(hooks: &[Vec<Entry>]) -> bool {
    hooks.iter().all(|entries| !entries.is_empty())
}

fn is_link(entry: &Entry) -> bool {
    entry.attachment == Attachment::Tcx
}

#[test]
fn an_agent_that_is_killed_while_filters_stand_in_leaves_enforcement_and_the_next_run_tidies_up() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    for number in 10..26 {
        scene.pod(&format!("shop/web-{number}"), "app: web", number);
    }
    scene.policy("deny", DENY_ALL);
    scene.passes("outside", "shop/web-25");
    for attempt in 0.. {
        scene.cluster.agent.begin(&[]).unwrap();
        eventually("every hook has a program", || is_covered(&stands(&scene)));
        scene.cluster.agent.kill().unwrap();
        if stands(&scene).iter().any(|one| !one.iter().any(is_link)) {
            break;
        }
        // Links stood everywhere before this process had its turn.
        assert!(attempt < 20, "killed too late again and again");
        scene.cluster.agent.cleanup().unwrap();
    }
    assert!(is_covered(&stands(&scene)));
    for pod in ["shop/web-10", "shop/web-25"] {
        scene.is_silent("outside", pod);
        scene.is_silent(pod, "outside");
        scene.passes("host", pod);
    }
    let to = scene.server("shop/web-25", false);
    let forbidden = Steady::forbidden(scene.netns("outside"), to);
    scene.cluster.agent.start(&[]).unwrap();
    forbidden.end();
    for entries in stands(&scene) {
        assert!(entries.len() == 1 && is_link(&entries[0]), "{entries:?}");
    }
    scene.passes("host", "shop/web-25");
    let status = scene.cluster.agent.status().unwrap();
    assert!(status.endpoints.iter().all(|one| one.enforced));
}
