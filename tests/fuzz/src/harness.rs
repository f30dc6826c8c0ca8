//! What must hold for any packets: the body of the fuzz target.

use arbitrary::Unstructured;
use policy_common::{Reason, V4};
use policy_ebpf::{Decision, lookup::Policy as _, memory::MemoryWorld};

use super::{
    scene::{CLOSED, RULED, Scene},
    shot::{Hook, Shot, decide},
};

/// Most packets of one run.
const MOST: usize = 64;

/// Shoots the packets that the bytes make at a fresh scene.
///
/// # Panics
/// When something that must hold does not.
pub fn run(bytes: &[u8]) {
    let mut scene = Scene::new();
    let mut u = Unstructured::new(bytes);
    for _ in 0..MOST {
        if u.is_empty() {
            break;
        }
        let Ok(shot) = scene.pool.shot(&mut u) else {
            break;
        };
        let again = scene.world.clone();
        let judged = decide(&scene.world, &shot);
        assert_eq!(judged, decide(&again, &shot), "not deterministic: {shot:?}");
        check(&scene.world, &shot, judged.1);
        match u.arbitrary::<u8>() {
            Ok(0..8) => scene.world.pass(31),
            Ok(8..16) => renew(&mut scene.world),
            _ => {}
        }
    }
    assert!(
        scene.world.flows() <= 2 * scene.world.max_flows,
        "more flows than the tables take"
    );
}

/// A policy change: every flow is judged again.
fn renew(world: &mut MemoryWorld) {
    for endpoint in world.endpoints.values_mut() {
        endpoint.epoch += 1;
    }
}

fn check(world: &MemoryWorld, shot: &Shot, decision: Decision) {
    let reason = decision.reason();
    assert!(reason.is_some(), "no reason: {decision:?}");
    let ifindex = shot.origin.ifindex;
    let isolated = [RULED, CLOSED].contains(&ifindex);
    if isolated && is_cut(&shot.frame) {
        assert!(decision.drops(), "a cut packet passes: {shot:?}");
    }
    if ifindex == CLOSED {
        let policed = [Reason::Allowed, Reason::Flow, Reason::RelatedError];
        assert!(
            !reason.is_some_and(|reason| policed.contains(&reason)),
            "allowed without a rule: {shot:?}"
        );
    }
    if shot.hook == Hook::FromPod
        && let Some(source) = source_v4(&shot.frame)
        && let Some(endpoint) = world.endpoint_at(ifindex)
        && !endpoint.has(policy_common::Endpoint::UNKNOWN)
        && ![endpoint.v4, V4([0; 4])].contains(&source)
    {
        assert!(decision.drops(), "a forged source passes: {shot:?}");
    }
}

/// Whether a frame ends before the IP packet in it does.
fn is_cut(frame: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = [frame.get(at), frame.get(at + 1)];
        let [Some(high), Some(low)] = bytes else {
            return 0;
        };
        usize::from(u16::from_be_bytes([*high, *low]))
    };
    match word(12) {
        0x0800 => 14 + word(16) > frame.len(),
        0x86dd => 14 + 40 + word(18) > frame.len(),
        _ => false,
    }
}

fn source_v4(frame: &[u8]) -> Option<V4> {
    let is_v4 = frame.get(12..14) == Some(&[8, 0]);
    let source = frame.get(26..30)?.try_into().ok()?;
    is_v4.then_some(V4(source))
}
