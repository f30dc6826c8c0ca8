//! Tables of single steps, and a kernel that misbehaves at random for a while.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::hook_state::{CALM, Cause, FIRST_PAUSE, LONGEST_PAUSE, LONGEST_REST, Seen},
    *,
};

const POD: Wanted = Wanted {
    endpoint: true,
    clear_stamp: false,
    stamp_host: false,
    exit: false,
    bridge: false,
};

const HOOKS: usize = Hook::ALL.len();

/// Of an interface that is a pod's.
fn of_pod(from: HookRecord, to: HookRecord) -> Hooks {
    let other = HookRecord::default();
    [from, to, other.clone(), other.clone(), other]
}

fn record(state: HookState) -> HookRecord {
    HookRecord {
        state,
        ..HookRecord::default()
    }
}

fn attached() -> HookRecord {
    record(HookState::Attached { prog_id: 7 })
}

fn behind(fixed: bool) -> Seen {
    Seen::Behind {
        names: vec!["other".into()],
        fixed,
    }
}

fn front(bridged: bool) -> Seen {
    Seen::Front {
        prog_id: 7,
        bridged,
    }
}

#[test]
fn a_new_pod_gets_what_answers_for_it_first() {
    let actions = reconcile(POD, &Hooks::default(), Instant::now());
    assert_eq!(
        actions,
        [(Hook::FromPod, Verb::Attach), (Hook::ToPod, Verb::Attach)]
    );
}

#[test]
fn programs_of_an_earlier_generation_change_from_the_pods_side_last() {
    let hooks = of_pod(HookRecord::left_behind(), HookRecord::left_behind());
    let outdated = || HookRecord {
        outdated: true,
        ..attached()
    };
    for hooks in [hooks, of_pod(outdated(), outdated())] {
        assert_eq!(
            reconcile(POD, &hooks, Instant::now()),
            [(Hook::ToPod, Verb::Attach), (Hook::FromPod, Verb::Attach)]
        );
    }
}

#[test]
fn filters_bridge_the_wait_only_where_they_may() {
    let bridged = Wanted {
        bridge: true,
        ..POD
    };
    let refused = HookRecord {
        no_bridge: true,
        ..HookRecord::default()
    };
    let hooks = of_pod(refused, HookRecord::default());
    assert_eq!(
        reconcile(bridged, &hooks, Instant::now()),
        [(Hook::ToPod, Verb::Bridge), (Hook::FromPod, Verb::Attach)]
    );
    let stands = record(HookState::Bridged {
        prog_id: 7,
        next_try: None,
    });
    let hooks = of_pod(attached(), stands);
    assert_eq!(
        reconcile(bridged, &hooks, Instant::now()),
        [(Hook::ToPod, Verb::Attach)]
    );
}

#[test]
fn what_is_not_wanted_comes_off_before_anything_goes_on() {
    for hook in [Hook::ClearStamp, Hook::StampHost] {
        let mut hooks = Hooks::default();
        hooks[hook as usize] = HookRecord::left_behind();
        let actions = reconcile(POD, &hooks, Instant::now());
        assert_eq!(actions.first(), Some(&(hook, Verb::Detach)));
    }
}

#[test]
fn what_is_in_front_is_looked_at_only_when_its_chain_may_have_changed() {
    let now = Instant::now();
    let mut hooks = of_pod(attached(), attached());
    assert!(reconcile(POD, &hooks, now).is_empty());
    hooks[1].stale = true;
    assert_eq!(reconcile(POD, &hooks, now), [(Hook::ToPod, Verb::Look)]);
    hooks[1].in_flight = true;
    assert!(reconcile(POD, &hooks, now).is_empty());
}

#[test]
fn nothing_is_moved_before_what_cannot_be_passed() {
    let now = Instant::now();
    let mut hooks = of_pod(attached(), attached());
    hooks[0].observe(behind(true), now);
    assert!(reconcile(POD, &hooks, now + CALM).is_empty());
    hooks[0].stale = true;
    assert_eq!(reconcile(POD, &hooks, now), [(Hook::FromPod, Verb::Look)]);
}

#[test]
fn a_failed_attach_is_tried_again_by_itself() {
    let now = Instant::now();
    let mut hooks = of_pod(attached(), attached());
    hooks[0].observe(Seen::Failed(Cause::default()), now);
    assert!(reconcile(POD, &hooks, now).is_empty());
    assert_eq!(next_due(POD, &hooks, now), Some(now + FIRST_PAUSE));
    assert_eq!(
        reconcile(POD, &hooks, now + FIRST_PAUSE),
        [(Hook::FromPod, Verb::Attach)]
    );
}

#[test]
fn a_refused_link_leaves_the_filter_and_is_tried_again() {
    let now = Instant::now();
    let mut hooks = of_pod(attached(), HookRecord::default());
    hooks[1].observe(front(true), now);
    hooks[1].observe(Seen::Failed(Cause::default()), now);
    assert!(hooks[1].is_in_front());
    assert!(reconcile(POD, &hooks, now).is_empty());
    assert_eq!(next_due(POD, &hooks, now), Some(now + FIRST_PAUSE));
    assert_eq!(
        reconcile(POD, &hooks, now + FIRST_PAUSE),
        [(Hook::ToPod, Verb::Attach)]
    );
}

/// What the kernel does next at one hook.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Obeys,
    Refuses,
    RefusesBridges,
    SomebodyGoesAhead,
    SomebodyRemovesOurs,
    SomebodyStandsFast,
}

/// One hook of the kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Kernel {
    ours: bool,
    bridged: bool,
    ahead: bool,
    fixed: bool,
}

impl Kernel {
    fn looks(self) -> Seen {
        match (self.ours, self.ahead) {
            (false, _) => Seen::Missing,
            (true, true) => behind(self.fixed),
            (true, false) => front(self.bridged),
        }
    }

    fn does(&mut self, verb: Verb, weather: Weather) -> Seen {
        match (verb, weather) {
            (Verb::Look, _) => {}
            (_, Weather::Refuses) => return Seen::Failed(Cause::default()),
            (Verb::Bridge, Weather::RefusesBridges) => return Seen::NoBridge,
            (Verb::Detach, _) => (self.ours, self.bridged) = (false, false),
            (Verb::Bridge, _) => (self.ours, self.bridged) = (true, true),
            (Verb::Attach, _) => (self.ours, self.bridged) = (true, false),
            (Verb::Move, _) => self.ahead = false,
        }
        self.looks()
    }
}

fn weather() -> impl Strategy<Value = Weather> {
    prop_oneof![
        3 => Just(Weather::Obeys),
        1 => Just(Weather::Refuses),
        1 => Just(Weather::RefusesBridges),
        1 => Just(Weather::SomebodyGoesAhead),
        1 => Just(Weather::SomebodyRemovesOurs),
        1 => Just(Weather::SomebodyStandsFast),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    any::<[bool; 5]>().prop_map(|[endpoint, clear_stamp, stamp_host, exit, bridge]| Wanted {
        endpoint,
        clear_stamp: clear_stamp && !endpoint,
        stamp_host: stamp_host && !endpoint,
        exit: exit && !endpoint && !stamp_host,
        bridge,
    })
}

proptest! {
    /// However long the kernel refuses and others meddle: when they stop, everything wanted is in
    /// front within the longest pause, nothing else of ours is left, and after some calm there is nothing to do.
    #[test]
    fn it_heals_by_itself(
        storm in proptest::collection::vec((wanted(), 0_usize..HOOKS, weather(), 0_u64..4_000), 0..60),
        last in wanted(),
    ) {
        let mut now = Instant::now();
        let mut kernel = [Kernel::default(); HOOKS];
        let mut hooks = Hooks::default();
        let mut moves: [Option<Instant>; HOOKS] = [None; HOOKS];
        let mut step = |wanted, kernel: &mut [Kernel; HOOKS], hooks: &mut Hooks, weather, now| {
            let actions = reconcile(wanted, hooks, now);
            for (hook, verb) in &actions {
                let n = *hook as usize;
                if *verb == Verb::Move {
                    let rested = moves[n].is_none_or(|last| now - last >= Duration::from_secs(1));
                    prop_assert!(rested, "moved again without a pause");
                    moves[n] = Some(now);
                    hooks[n].moving(now);
                }
                hooks[n].in_flight = true;
                hooks[n].observe(kernel[n].does(*verb, weather), now);
            }
            Ok(actions.len())
        };
        for (wanted, n, weather, wait) in storm {
            match weather {
                Weather::SomebodyGoesAhead => kernel[n].ahead = true,
                Weather::SomebodyRemovesOurs => kernel[n].ours = false,
                Weather::SomebodyStandsFast => (kernel[n].ahead, kernel[n].fixed) = (true, true),
                _ => {}
            }
            hooks[n].stale = true;
            step(wanted, &mut kernel, &mut hooks, weather, now)?;
            now += Duration::from_millis(wait);
        }
        for hook in &mut kernel {
            (hook.ahead, hook.fixed) = (hook.ahead && !hook.fixed, false);
        }
        for hook in &mut hooks {
            hook.stale = true;
        }
        let end = now + 2 * LONGEST_PAUSE + 2 * LONGEST_REST;
        while now <= end {
            step(last, &mut kernel, &mut hooks, Weather::Obeys, now)?;
            now += FIRST_PAUSE;
        }
        for hook in Hook::ALL {
            let n = hook as usize;
            let is_in_place = kernel[n].ours && !kernel[n].ahead && !kernel[n].bridged;
            prop_assert_eq!(is_in_place, last.wants(hook), "{:?}", hook);
            prop_assert_eq!(hooks[n].is_in_front(), last.wants(hook));
        }
        let calm = now + CALM;
        prop_assert!(reconcile(last, &hooks, calm).is_empty());
        prop_assert_eq!(next_due(last, &hooks, calm), None);
    }
}

#[test]
fn whether_a_place_lasts_that_was_lost_is_looked_for_though_nobody_says_so() {
    let now = Instant::now();
    let later = |ms| now + Duration::from_millis(ms);
    let mut kept = HookRecord::default();
    kept.observe(front(false), now);
    let hooks = of_pod(kept.clone(), kept.clone());
    assert_eq!(next_due(POD, &hooks, now), None, "nobody ever took it");

    let mut lost = kept.clone();
    lost.observe(behind(false), now);
    lost.moving(now);
    lost.observe(front(false), now);
    let hooks = of_pod(kept.clone(), lost.clone());
    assert_eq!(next_due(POD, &hooks, now), Some(later(1_000)));
    assert_eq!(reconcile(POD, &hooks, later(999)), []);
    assert_eq!(
        reconcile(POD, &hooks, later(1_000)),
        [(Hook::ToPod, Verb::Look)]
    );
    assert!(!lost.is_contested(now), "once is no fight");

    lost.observe(behind(false), later(1_000));
    lost.moving(later(1_000));
    lost.observe(front(false), later(1_000));
    assert!(lost.is_contested(later(1_000)));
    assert!(!lost.is_contested(later(1_000) + 2 * LONGEST_REST));
    let hooks = of_pod(kept, lost);
    assert_eq!(reconcile(POD, &hooks, later(1_000) + CALM), []);
}
