//! Two agents in one network namespace.

use policy_harness::Attach;

use crate::scene::{DENY_ALL, eventually, in_every_setting};

#[test]
fn a_second_agent_is_refused_unless_it_is_allowed_and_each_is_shown_the_other() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let manifests = scene.cluster.manifests();
        let directory = manifests.parent().unwrap();
        let mut second = scene.cluster.agent.beside(directory);
        let first_path = scene.cluster.agent.pin_path().display().to_string();
        let second_path = second.pin_path().display().to_string();
        let arguments = ["--manifests", manifests.to_str().unwrap()];
        let refused = second.subcommand("run", &arguments).unwrap_err();
        let refused = refused.to_string();
        let process = scene.cluster.agent.status().unwrap().agent.pid;
        assert!(refused.contains(&first_path), "{refused}");
        assert!(refused.contains(&format!("process {process}")), "{refused}");
        assert!(!second.pin_path().exists(), "nothing was made");

        if second.attach() == Attach::Clsact {
            let arguments = [
                &arguments[..],
                &["--attach", "clsact", "--allow-second-agent"],
            ];
            assert!(second.subcommand("run", &arguments.concat()).is_err());
            scene.is_silent("outside", "shop/web");
            return;
        }
        second.start(&["--allow-second-agent"]).unwrap();
        let shown = |of: &policy_harness::agent::Agent| of.subcommand("status", &[]).unwrap();
        let theirs = format!("of {second_path}");
        assert!(shown(&scene.cluster.agent).contains(&theirs));
        assert!(shown(&second).contains(&format!("of {first_path}")));
        second.kill().unwrap();
        eventually("what is left is named", || {
            shown(&scene.cluster.agent).contains(&format!("{second_path}: left behind"))
        });
        scene.is_silent("outside", "shop/web");
        let removed = second.subcommand("cleanup", &[]).unwrap();
        for what in ["took to_pod off", "NODE_STATE", &second_path] {
            assert!(removed.contains(what), "{removed}");
        }
        assert!(!shown(&scene.cluster.agent).contains(&second_path));
        scene.is_silent("outside", "shop/web");
        scene.passes("host", "shop/web");
    });
}
