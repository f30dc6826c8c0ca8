//! Our programs among those of others.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{
    maps::{Array, Map, MapData, MapInfo},
    programs::{TcAttachType, loaded_programs},
};
use policy_agent::datapath::chain;
use policy_common::names;
use policy_harness::{Attach, Foreign, Wiring, foreign::Place, traffic::Outcome};

use crate::{
    scene::{DENY_ALL, Scene, eventually, in_every_setting},
    steady::Steady,
};

const UNSPEC: i32 = -1;
const OK: i32 = 0;
const SHOT: i32 = 2;

/// Takes everything off a pod's interface, as somebody else would.
fn strip(scene: &Scene, pod: &str) {
    let found = scene.cluster.pod(pod).unwrap();
    match scene.cluster.agent.attach() {
        Attach::Clsact => {
            let arguments = ["qdisc", "del", "dev", found.interface.as_str(), "clsact"];
            scene.netns("host").exec("tc", &arguments).unwrap();
        }
        Attach::Tcx => {
            let links = scene.cluster.agent.pin_path().join("links");
            for link in std::fs::read_dir(links).unwrap().flatten() {
                let path = link.path();
                if path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(&format!("{}-", found.ifindex))
                {
                    let arguments = ["link", "detach", "pinned", path.to_str().unwrap()];
                    scene.netns("host").exec("bpftool", &arguments).unwrap();
                }
            }
        }
    }
}

/// Whether a program reads the global that the agent writes, and may remember what it reads.
fn hears_the_agent(scene: &Scene, program: u32) -> bool {
    let pin = scene.cluster.agent.pin_path().join(names::CONTROL);
    let words = Map::from_map_data(MapData::from_pin(&pin).unwrap()).unwrap();
    let words: Array<_, [u64; 4]> = words.try_into().unwrap();
    let [begun, settled, ..] = words.get(&0, 0).unwrap();
    assert!(begun == settled && begun != 0, "{begun} and {settled}");
    let control = MapInfo::from_pin(pin).unwrap().id();
    let ours = loaded_programs()
        .flatten()
        .find(|loaded| loaded.id() == program);
    ours.unwrap().map_ids().unwrap().unwrap().contains(&control)
}

#[test]
fn programs_that_somebody_removes_are_put_back() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        scene.is_silent("outside", "shop/web");
        strip(scene, "shop/web");
        scene.becomes("outside", "shop/web", Outcome::Denied);
        scene.becomes("shop/web", "outside", Outcome::Denied);
        scene.passes("host", "shop/web");
        // What leaves the node is judged there meanwhile.
        eventually("it is said", || {
            let log = scene.cluster.agent.log();
            log.contains("was removed by somebody")
        });
    });
}

#[test]
fn programs_of_others_still_run_after_ours() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.passes("outside", "shop/web");
        let interface = scene.cluster.pod("shop/web").unwrap().interface.clone();
        let place = match scene.cluster.agent.attach() {
            Attach::Tcx => Place::TcxLast,
            Attach::Clsact => Place::Clsact(10),
        };
        for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
            let mut foreign = Foreign::returning("lifecycle_shot", SHOT).unwrap();
            let host = scene.netns("host");
            let attached = foreign.attach(host, &interface, hook, place).unwrap();
            scene.is_silent("outside", "shop/web");
            drop(attached);
            // A TCX link stays as long as anybody on the machine, who lists all links, holds it open.
            scene.becomes("outside", "shop/web", Outcome::Allowed);
            scene.passes("outside", "shop/web");
        }
    });
}

#[test]
fn a_program_that_lets_everything_pass_is_overtaken() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        // Answers leave freely: only the hook that the other program usurps stands in the way.
        scene.policy("deny", "{podSelector: {}, policyTypes: [Ingress]}");
        scene.is_silent("outside", "shop/web");
        let pod = scene.cluster.pod("shop/web").unwrap();
        let (interface, ifindex) = (pod.interface.clone(), pod.ifindex);
        let mut foreign = Foreign::returning("lifecycle_ok", OK).unwrap();
        let host = scene.netns("host");
        let (place, hook) = match scene.cluster.agent.attach() {
            Attach::Tcx => (Place::TcxFirst, TcAttachType::Egress),
            // The kernel runs the newest filter of a preference first.
            Attach::Clsact => (Place::Clsact(1), TcAttachType::Egress),
        };
        let _attached = foreign.attach(host, &interface, hook, place).unwrap();
        scene.becomes("outside", "shop/web", Outcome::Denied);
        let chain = scene.cluster.node.host.run(|| chain::chain(ifindex, hook));
        let entries = chain.unwrap().unwrap().entries;
        assert_eq!(entries.len(), 2, "the other one stays: {entries:?}");
        assert_eq!(entries[1].prog_id, Some(foreign.id()));
        assert!(
            hears_the_agent(scene, entries[0].prog_id.unwrap()),
            "the program that came first does not learn when tables change"
        );
        scene.passes("host", "shop/web");
    });
}

#[test]
fn a_program_that_has_no_opinion_changes_nothing() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let interface = scene.cluster.pod("shop/web").unwrap().interface.clone();
        let mut foreign = Foreign::returning("lifecycle_none", UNSPEC).unwrap();
        let place = match scene.cluster.agent.attach() {
            Attach::Tcx => Place::TcxFirst,
            Attach::Clsact => Place::Clsact(10),
        };
        let host = scene.netns("host");
        let _attached = foreign
            .attach(host, &interface, TcAttachType::Egress, place)
            .unwrap();
        scene.passes("outside", "shop/web");
        scene.policy("deny", DENY_ALL);
        scene.is_silent("outside", "shop/web");
    });
}

#[test]
fn a_pin_that_somebody_removes_opens_nothing_and_is_made_again() {
    let mut scene = Scene::stopped(Wiring::Bridged, Attach::Tcx);
    scene.cluster.agent.start(&[]).unwrap();
    scene.pod("shop/web", "app: web", 10);
    scene.policy("deny", DENY_ALL);
    let web = scene.server("shop/web", false);
    let forbidden = Steady::forbidden(scene.netns("outside"), web);
    let links = scene.cluster.agent.pin_path().join("links");
    let pins = || -> Vec<_> {
        let entries = std::fs::read_dir(&links).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let before = pins().len();
    assert!(before > 0);
    for pin in pins() {
        std::fs::remove_file(pin).unwrap();
    }
    scene.is_silent("outside", "shop/web");
    eventually("the pins are there again", || pins().len() == before);
    // They hold what they held.
    scene.cluster.agent.kill().unwrap();
    scene.is_silent("outside", "shop/web");
    assert!(forbidden.end() > 100);
}

/// What the agent's process has used of a processor.
fn used(scene: &Scene) -> Duration {
    let pid = scene.cluster.agent.status().unwrap().agent.pid;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let used = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

/// More than the agent rests between two moves to the front.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// Places are verified every fifteen seconds; then come two moves.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_place_that_is_fought_for_without_a_pause_is_taken_seldom_and_said_once_until_peace() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", "{podSelector: {}, policyTypes: [Ingress]}");
        let interface = scene.cluster.pod("shop/web").unwrap().interface.clone();
        let place = match scene.cluster.agent.attach() {
            Attach::Tcx => Place::TcxFirst,
            Attach::Clsact => Place::Clsact(1),
        };
        let shown = |scene: &Scene| {
            let status = scene.cluster.agent.status().unwrap();
            let mut all = status.unenforced.into_iter();
            all.find(|one| one.interface == interface)
        };
        let began = (used(scene), Instant::now());
        // Puts itself in front again as soon as it is overtaken, and for the time being before.
        let is_over = AtomicBool::new(false);
        thread::scope(|threads| {
            let host = scene.netns("host");
            let fighter = threads.spawn(|| {
                let mut foreign = Foreign::returning("lifecycle_fight", OK).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    let hook = TcAttachType::Egress;
                    // It stands there for a moment longer where somebody else looks at its link.
                    let attached = foreign.attach(host, &interface, hook, place);
                    thread::sleep(Duration::from_millis(20));
                    drop(attached);
                }
            });
            // Whatever fails, the other thread ends.
            let seen = catch_unwind(AssertUnwindSafe(|| {
                // Nobody takes a moment in front for enforcement: the longest rest between two moves
                // passes in which it is never shown as one.
                let began = Instant::now();
                let mut since = began;
                while since.elapsed() < LONGEST_REST {
                    assert!(began.elapsed() < PATIENCE, "moments in front are believed");
                    thread::sleep(Duration::from_millis(50));
                    if shown(scene).is_none() {
                        since = Instant::now();
                    }
                }
            }));
            is_over.store(true, Ordering::Relaxed);
            fighter.join().unwrap();
            seen.unwrap_or_else(|payload| resume_unwind(payload));
        });
        let (spent, lasted) = (used(scene) - began.0, began.1.elapsed());
        assert!(spent < lasted / 5, "{spent:?} of {lasted:?}");
        let log = scene.cluster.agent.log();
        let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        assert!(lines("stood behind") <= 2, "{log}");
        assert!(
            (1..=2).contains(&lines(&format!("interface {interface} is not enforced"))),
            "{log}"
        );
        eventually("it is in force again", || shown(scene).is_none());
        scene.becomes("outside", "shop/web", Outcome::Denied);
        scene.passes("host", "shop/web");
    });
}
