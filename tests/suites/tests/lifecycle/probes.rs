//! What probes and operators meet, whatever the agent is doing: the exit codes of `status --check`,
//! answers, and an end at once.

use std::{
    fs,
    io::{self, Write as _},
    time::Instant,
};

use policy_harness::{Attach, Wiring, traffic::Outcome};

use crate::{
    growth::blocks,
    scene::{DENY_ALL, SOON, Scene, eventually, policy},
};

/// Exit codes.
const ENFORCED: Option<i32> = Some(0);
const NOT_ALL: Option<i32> = Some(1);
const NO_AGENT: Option<i32> = Some(2);

/// What a pipe has room for.
const PIPE: usize = 64 << 10;

impl Scene {
    fn probe(&self) -> Option<i32> {
        let output = self.cluster.agent.output("status", &["--check"]);
        output.unwrap().status.code()
    }

    /// What it says is in the log.
    fn logs(&self, what: &str) -> bool {
        self.cluster.agent.log().contains(what)
    }

    /// Nothing keeps it from saying so; a busy machine may.
    #[track_caller]
    fn enforces(&self) {
        eventually("all is enforced", || self.probe() == ENFORCED);
    }

    /// It ends when it is told to.
    #[track_caller]
    fn ends_at_once(&mut self) {
        let began = Instant::now();
        self.cluster.agent.stop().unwrap();
        let took = began.elapsed();
        assert!(took < SOON, "{took:?}");
        assert_eq!(self.probe(), NO_AGENT);
    }
}

fn full(limit: &'static str) -> [&'static str; 4] {
    ["--max-rules", "30", "--memory-limit", limit]
}

#[test]
fn a_probe_tells_whether_all_is_enforced_or_not_all_or_nobody_answers() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/late", "app: late", 20);
    scene.policy("deny", DENY_ALL);
    assert_eq!(scene.probe(), NO_AGENT);
    scene.cluster.agent.begin(&full("0")).unwrap();
    scene.enforces();

    // No room, and room again.
    scene
        .cluster
        .write("blocks.yaml", &policy("shop", "blocks", &blocks(60)))
        .unwrap();
    eventually("something has no room", || scene.probe() == NOT_ALL);
    fs::remove_file(scene.cluster.manifests().join("blocks.yaml")).unwrap();
    eventually("there is room again", || scene.probe() == ENFORCED);

    // The source is away, which is said: what was accepted is enforced.
    let manifests = scene.cluster.manifests();
    let aside = manifests.with_file_name("away");
    fs::rename(&manifests, &aside).unwrap();
    eventually("the source is away", || {
        !scene.cluster.agent.status().unwrap().refused.is_empty()
    });
    scene.enforces();
    scene.is_silent("outside", "shop/web");
    fs::rename(&aside, &manifests).unwrap();
    eventually("it is read again", || {
        scene.cluster.agent.status().unwrap().refused.is_empty()
    });
    scene.enforces();
    scene.cluster.agent.kill().unwrap();
    assert_eq!(scene.probe(), NO_AGENT);
    scene.is_silent("outside", "shop/web");
}

#[test]
fn a_probe_is_content_again_when_tables_have_grown() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.pod("shop/late", "app: late", 20);
    scene.cluster.agent.start(&full("1000")).unwrap();
    scene.enforces();
    scene.policy("blocks", &blocks(60));
    assert!(scene.logs("loading larger tables"));
    eventually("all is enforced in larger tables", || {
        scene.probe() == ENFORCED
    });
}

#[test]
fn an_agent_answers_and_ends_whatever_it_is_doing() {
    type Begin = fn(&mut Scene);
    let states: [(&str, Begin); 4] = [
        ("loading", |_| {}),
        ("attaching", |scene| {
            eventually("the tables are filled", || scene.logs("attaching programs"));
        }),
        ("growing", |scene| {
            eventually("it enforces", || scene.probe() == ENFORCED);
            let text = policy("shop", "blocks", &blocks(60));
            scene.cluster.write("blocks.yaml", &text).unwrap();
            eventually("larger tables are loaded", || {
                scene.logs("loading larger tables")
            });
        }),
        ("away", |scene| {
            eventually("it enforces", || scene.probe() == ENFORCED);
            let manifests = scene.cluster.manifests();
            fs::rename(&manifests, manifests.with_file_name("away")).unwrap();
            eventually("the source is away", || {
                !scene.cluster.agent.status().unwrap().refused.is_empty()
            });
        }),
    ];
    for (state, begin) in states {
        eprintln!("{state}");
        let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
        for number in 10..20 {
            scene.pod(&format!("shop/web-{number}"), "app: late", number);
        }
        scene.policy("deny", DENY_ALL);
        scene.cluster.agent.begin(&full("1000")).unwrap();
        begin(&mut scene);
        // The socket is there before anything takes long.
        eventually("it answers", || scene.cluster.agent.status().is_ok());
        scene.ends_at_once();
    }
}

#[test]
fn an_agent_whose_log_nobody_reads_enforces_answers_and_ends() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.pod("shop/web", "app: web", 10);
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(&[b' '; PIPE]).unwrap();
    scene.cluster.agent.begin_with(&[], writer).unwrap();
    eventually("it enforces", || scene.probe() == ENFORCED);
    scene.policy("deny", DENY_ALL);
    scene.is_silent("outside", "shop/web");
    scene.enforces();
    scene.ends_at_once();
    drop(reader);
}

#[test]
fn a_policy_that_is_edited_while_programs_are_attached_takes_effect_before_long() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    for number in 10..40 {
        scene.pod(&format!("shop/web-{number}"), "app: web", number);
    }
    scene.policy("deny", DENY_ALL);
    scene.cluster.agent.begin(&[]).unwrap();
    eventually("the tables are filled", || scene.logs("attaching programs"));
    let opened = policy("shop", "deny", "{podSelector: {matchLabels: {app: other}}}");
    scene.cluster.write("policy-deny.yaml", &opened).unwrap();
    scene.becomes("outside", "shop/web-39", Outcome::Allowed);
}
