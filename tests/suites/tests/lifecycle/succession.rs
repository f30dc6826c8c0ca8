//! An agent that is started to go on for another one, as a rolling update does.

use std::time::Instant;

use policy_harness::agent::Agent;

use crate::scene::{DENY_ALL, SOON, eventually, in_every_setting};

fn is_waiting(agent: &Agent) -> bool {
    agent.log().contains("going on for it when it ends")
}

#[test]
fn an_agent_that_waits_touches_nothing_and_goes_on_when_the_one_before_ends() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let directory = scene.cluster.manifests().with_file_name("next");
        std::fs::create_dir(&directory).unwrap();
        let before = scene.cluster.agent.status().unwrap().agent.pid;
        let mut next = scene.cluster.agent.after(&directory);
        next.begin(&["--wait"]).unwrap();
        eventually("it waits", || is_waiting(&next));
        assert_eq!(scene.cluster.agent.status().unwrap().agent.pid, before);
        scene.is_silent("outside", "shop/web");

        // It ends when it is told to, while it waits too.
        let began = Instant::now();
        next.stop().unwrap();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

        // However the one before ends, the next one enforces.
        next.begin(&["--wait"]).unwrap();
        eventually("it waits again", || {
            next.log().matches("going on for it when it ends").count() == 2
        });
        scene.cluster.agent.kill().unwrap();
        next.wait("it enforces", |agent| {
            let status = agent.status();
            Ok(status.is_ok_and(|status| status.agent.pid != before && status.agent.enforcing))
        })
        .unwrap();
        scene.is_silent("outside", "shop/web");
        scene.passes("host", "shop/web");
    });
}

#[test]
fn an_agent_that_could_not_load_ends_while_the_one_before_enforces() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let directory = scene.cluster.manifests().with_file_name("next");
        std::fs::create_dir(&directory).unwrap();
        let before = scene.cluster.agent.status().unwrap().agent.pid;
        let mut next = scene.cluster.agent.after(&directory);
        // More memory than any machine has.
        next.begin(&["--wait", "--max-rules", "4000000000"])
            .unwrap();
        let ended = next.wait("it ends", |_| Ok(false)).unwrap_err().to_string();
        assert!(ended.contains("the agent ended: exit status: 1"), "{ended}");
        assert!(ended.contains("loading"), "{ended}");
        assert_eq!(scene.cluster.agent.status().unwrap().agent.pid, before);
        scene.is_silent("outside", "shop/web");
        scene.passes("host", "shop/web");
    });
}
