//! Agents that are killed at any moment, under traffic of which every packet is accounted for.
//!
//! `POLICY_KILLS` says how often (`cargo xtask soak`); the tests' own run is a short one.

use std::{thread, time::Duration};

use policy_common::{Direction, Reason};
use policy_harness::{agent::Agent, traffic::Outcome};

use crate::{
    books::{Books, is_drop},
    growth::{CRAMPED, SIZES, blocks},
    random::Random,
    scene::{DENY_ALL, FROM_CLIENT, SETTINGS, SOON, Scene, TO_WEB},
    steady::{Steady, go_on},
    trouble::{MOST_ENDPOINTS, Troubles},
};

/// Kills of a short run, in both settings together.
const FEW: u32 = 6;
/// Kills after which an agent may finish what it does.
const CALM: u32 = 3;
/// More flows than the traffic has: at its limit a pod may lose a new one.
const LIMITS: [&str; 4] = [
    "--max-pod-opened-flows",
    "32768",
    "--max-peer-opened-flows",
    "32768",
];
/// Lines of the agent's log that are shown when something went wrong.
const SHOWN: usize = 80;

/// Traffic of a scene.
struct Traffic {
    allowed: Vec<Steady>,
    /// To the pod whose rules have no room.
    interrupted: Steady,
    forbidden: Vec<Steady>,
}

impl Traffic {
    fn begin(scene: &Scene) -> Self {
        let late = scene.server("shop/late", false);
        let web = [false, true].map(|v6| scene.server("shop/web", v6));
        let allowed = vec![
            Steady::allowed(scene.netns("shop/client"), web[0]),
            Steady::allowed(scene.netns("shop/client"), web[1]),
        ];
        let interrupted = Steady::interrupted(scene.netns("outside"), late);
        let forbidden = vec![
            Steady::forbidden(scene.netns("other/stranger"), web[0]),
            Steady::forbidden(scene.netns("outside"), web[1]),
            Steady::forbidden(scene.netns("other/stranger"), late),
        ];
        Self {
            allowed,
            interrupted,
            forbidden,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Steady> + Clone {
        let allowed = self.allowed.iter().chain([&self.interrupted]);
        allowed.chain(&self.forbidden)
    }

    /// So far nothing was answered that must not be, everything else was, and nothing was dropped but
    /// what is forbidden.
    fn is_right(&self, scene: &Scene, books: &Books) -> bool {
        let counted = books.counted_since(scene);
        let interrupted = self.interrupted.unanswered();
        let begun: u64 = self.forbidden.iter().map(Steady::begun).sum();
        let most = begun * Steady::FORBIDDEN_PACKETS + books.repeated_since(scene);
        let are_drops_right = counted.iter().all(|((direction, reason), packets)| {
            let most = match *reason {
                reason if !is_drop(reason) => return true,
                _ if *direction != Direction::Ingress.name() => return false,
                reason if reason == Reason::Policy.name() => most + interrupted,
                reason if reason == Reason::FlowDenied.name() => interrupted,
                _ => return false,
            };
            *packets <= most
        });
        let is_right = are_drops_right && !self.all().any(Steady::is_over);
        if !is_right {
            eprintln!(
                "counted: {counted:?}; forbidden rounds: {begun}, interrupted: {interrupted}"
            );
            let log = scene.cluster.agent.log();
            let own = scene.address("outside", false).to_string();
            let late = |line: &&str| !line.contains("\"dropped\"") || line.contains(&own);
            let lines: Vec<_> = log.lines().filter(late).collect();
            for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                eprintln!("{line}");
            }
        }
        is_right
    }

    /// How many packets were forbidden, and of how many allowed ones there was no answer.
    fn end(self) -> (u64, u64) {
        for one in self.allowed {
            assert!(one.end() > 50, "traffic went on all the time");
        }
        let (rounds, unanswered) = self.interrupted.end_interrupted();
        assert!(rounds > 50, "traffic went on all the time");
        let rounds = self.forbidden.into_iter().map(Steady::end);
        let forbidden = rounds.sum::<u64>() * Steady::FORBIDDEN_PACKETS;
        (forbidden, unanswered)
    }
}

fn is_well(agent: &mut Agent) -> anyhow::Result<bool> {
    let status = agent.status()?;
    Ok(status.unenforced.is_empty()
        && status.failures.is_empty()
        && status.endpoints.iter().all(|one| one.enforced))
}

#[test]
fn agents_that_are_killed_at_any_moment_interrupt_nothing_and_let_nothing_slip() {
    let kills = match std::env::var("POLICY_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => FEW,
    };
    let with = |sizes: &[&'static str]| -> Vec<&'static str> {
        [sizes, &["--max-endpoints", MOST_ENDPOINTS], &LIMITS].concat()
    };
    let (arguments, cramped) = (with(&SIZES), with(&CRAMPED));
    let mut random = Random::new();
    for (wiring, attach) in SETTINGS {
        eprintln!("{wiring:?}, {attach:?}");
        let mut scene = Scene::stopped(wiring, attach);
        scene.cluster.agent.start(&arguments).unwrap();
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.pod("other/stranger", "app: client", 30);
        scene.pod("shop/late", "app: late", 40);
        for (name, spec) in [
            ("deny", DENY_ALL),
            ("from-client", FROM_CLIENT),
            ("to-web", TO_WEB),
            ("blocks", &blocks(0)),
        ] {
            scene.policy(name, spec);
        }
        let books = Books::read(&scene);
        let traffic = Traffic::begin(&scene);
        let mut idle = scene.connect("shop/client", "shop/web", false);
        let mut troubles = Troubles::default();
        let last = kills.div_ceil(2);
        for kill in 1..=last {
            for _ in 0..2 {
                troubles.happen(&scene, &mut random);
                thread::sleep(Duration::from_millis(random.below(600)));
            }
            let agent = &mut scene.cluster.agent;
            agent.wait("it runs", |_| Ok(true)).unwrap();
            agent.kill().unwrap();
            troubles.happen(&scene, &mut random);
            if kill.is_multiple_of(CALM) || kill == last {
                scene.cluster.agent.start(&arguments).unwrap();
                scene.cluster.await_revision().unwrap();
                troubles.end(&scene);
                let agent = &mut scene.cluster.agent;
                agent.wait("all is enforced", is_well).unwrap();
                assert_eq!(idle.exchange(SOON).unwrap(), Outcome::Allowed);
                go_on(traffic.all());
                eprintln!("{kill} kills");
            } else {
                let is_cramped = random.below(4) == 0;
                let arguments = if is_cramped { &cramped } else { &arguments };
                scene.cluster.agent.begin(arguments).unwrap();
                *troubles
                    .tally
                    .entry("an agent is allowed no larger tables")
                    .or_default() += u32::from(is_cramped);
            }
            if !traffic.is_right(&scene, &books) {
                break;
            }
        }
        let (forbidden, interrupted) = traffic.end();
        drop(idle);
        let moved = troubles.have_moved();
        let (counted, again) = books.agree(&scene, (forbidden, interrupted), moved);
        let tally = &troubles.tally;
        eprintln!(
            "{last} kills: {tally:?}\ncounted: {counted:?}, {again} of it again, {interrupted} interrupted"
        );
    }
}
