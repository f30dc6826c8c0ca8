//! Other TC programs: in a pod that forges stamps, and on the host before and after ours.

use std::time::{Duration, Instant};

use aya::programs::TcAttachType::{Egress, Ingress};
use policy_common::Reason;
use policy_harness::{Attach, Foreign, foreign::Place, topology::INSIDE};

use crate::{
    Case,
    Ways::All,
    scene::{CAGED, Denied, FRIEND, SILENCE, SOON, STRANGER, Scene, WEB, leaving, reaching},
};

pub(crate) const CASES: &[Case] = &[
    (
        "a stamp that a pod forges in its own namespace changes nothing",
        stamp,
        All,
    ),
    (
        "a program before ours that ends the chain is moved behind ours",
        before,
        All,
    ),
    ("a program behind ours still runs", behind, All),
];

const TC_ACT_OK: i32 = 0;
const TC_ACT_SHOT: i32 = 2;

fn stamp(scene: &mut Scene) {
    let status = scene.cluster.agent.status().unwrap();
    let ids = status.endpoints.iter().map(|endpoint| endpoint.id);
    let stamps: Vec<u16> = ids
        .flat_map(|id| [id, 0x8000 | id])
        .chain([0, 0x8000, 0xffff])
        .collect();
    for stamp in stamps {
        let mut program = Foreign::stamping("forge_stamp", stamp, TC_ACT_OK).unwrap();
        for (from, passes) in [(FRIEND, true), (STRANGER, false)] {
            let inside = scene.netns(from);
            let place = Place::Clsact(1);
            let _forging = program.attach(inside, INSIDE, Egress, place).unwrap();
            for v6 in [false, true] {
                let (packet, token) = scene.datagram(from, WEB, v6, 53);
                let what = format!("stamp {stamp:#x}");
                if passes {
                    scene.passes(&what, from, WEB, &packet, &token);
                } else {
                    let denied = reaching(WEB, Reason::Policy);
                    scene.is_dropped(&what, (from, WEB), &packet, &token, denied);
                }
            }
        }
    }
}

/// How long it may take until our programs are first again: nobody announces TCX links, the agent
/// looks every fifteen seconds.
const PUT_RIGHT: Duration = Duration::from_secs(25);

fn before(scene: &mut Scene) {
    let mut program = Foreign::returning("foreign_ok", TC_ACT_OK).unwrap();
    // The kernel puts a filter of the same preference before the ones that are there.
    let place = match scene.attach {
        Attach::Tcx => Place::TcxFirst,
        Attach::Clsact => Place::Clsact(1),
    };
    let host = &scene.cluster.node.host;
    let (web, caged) = (&scene.pod(WEB).interface, &scene.pod(CAGED).interface);
    let _foreign = [(web, Egress), (caged, Ingress)]
        .map(|(interface, hook)| program.attach(host, interface, hook, place).unwrap());
    for (from, denied) in [
        (STRANGER, reaching(WEB, Reason::Policy)),
        (CAGED, leaving(CAGED, Reason::Policy)),
    ] {
        let deadline = Instant::now() + PUT_RIGHT;
        while !drops(scene, from, denied) {
            assert!(Instant::now() < deadline, "{denied:?}: not put right");
        }
        let (packet, token) = scene.datagram(FRIEND, WEB, false, 53);
        scene.passes("what is allowed", FRIEND, WEB, &packet, &token);
    }
}

/// Whether a packet that no rule allows is dropped where it should.
fn drops(scene: &mut Scene, from: &str, denied: Denied) -> bool {
    let mark = scene.cluster.mark();
    let (packet, token) = scene.datagram(from, WEB, false, 54);
    let there = scene.port(WEB);
    scene.send(from, WEB, &packet);
    let within = Duration::from_millis(300);
    !there.sees(SILENCE, &token).unwrap()
        && scene
            .cluster
            .dropped(mark, within, |drop| denied.is(drop))
            .is_some()
}

fn behind(scene: &mut Scene) {
    let mut program = Foreign::returning("foreign_shot", TC_ACT_SHOT).unwrap();
    let place = match scene.attach {
        Attach::Tcx => Place::TcxLast,
        Attach::Clsact => Place::Clsact(50),
    };
    let web = scene.pod(WEB).interface.clone();
    let caged = scene.pod(CAGED).interface.clone();
    for (hook, interface) in [(Egress, web), (Ingress, caged)] {
        let attached = program
            .attach(&scene.cluster.node.host, &interface, hook, place)
            .unwrap();
        let (packet, token) = scene.datagram(CAGED, WEB, false, 53);
        let mark = scene.cluster.mark();
        let there = scene.port(WEB);
        scene.send(CAGED, WEB, &packet);
        let seen = there.sees(Duration::from_millis(300), &token).unwrap();
        assert!(!seen, "{hook:?}: the program behind ours did not run");
        let mut ours = scene.cluster.agent.drops_since(mark);
        ours.retain(|drop| drop.protocol == "udp");
        assert!(
            ours.is_empty(),
            "{hook:?}: our program dropped it: {ours:#?}"
        );
        drop(attached);
        // A TCX link stays as long as anybody on the machine, who lists all links, holds it open.
        let deadline = Instant::now() + SOON;
        let mut passes = false;
        while !passes {
            assert!(Instant::now() < deadline, "{hook:?}: dropped without it");
            let (packet, token) = scene.datagram(CAGED, WEB, false, 53);
            let there = scene.port(WEB);
            scene.send(CAGED, WEB, &packet);
            passes = there.sees(Duration::from_millis(300), &token).unwrap();
        }
    }
}
