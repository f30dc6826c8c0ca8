//! Manifests as people and programs edit them.

use std::{fs::File, io::Write, os::unix::fs::symlink};

use policy_harness::traffic::Outcome;

use crate::{
    scene::{DENY_ALL, FROM_CLIENT, eventually, in_every_setting, policy},
    steady::Steady,
};

#[test]
fn a_directory_that_loses_its_last_manifest_is_said_when_it_happens() {
    in_every_setting(&[], |scene| {
        scene.policy("deny", DENY_ALL);
        scene.remove_policy("deny");
        eventually("it is said", || {
            let log = scene.cluster.agent.log();
            log.contains("any more: everything that they said is gone")
        });
    });
}

#[test]
fn a_file_that_is_truncated_and_written_again_never_opens_what_it_closes() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.passes("outside", "shop/web");
        scene.policy("from-client", FROM_CLIENT);
        scene.is_silent("outside", "shop/web");
        let to = scene.server("shop/web", false);
        let forbidden = Steady::forbidden(scene.netns("outside"), to);
        let allowed = Steady::allowed(scene.netns("shop/client"), to);
        let path = scene.cluster.manifests().join("policy-from-client.yaml");
        for extra in ["first", "second"] {
            let text = policy("shop", "from-client", FROM_CLIENT);
            let more = policy(
                "shop",
                extra,
                "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}",
            );
            let mut file = File::create(&path).unwrap();
            // Longer than the agent waits for a file to rest: what is open is not read.
            let pause = std::time::Duration::from_millis(250);
            std::thread::sleep(pause);
            let (begin, end) = text.split_at(text.len() / 2);
            file.write_all(begin.as_bytes()).unwrap();
            file.flush().unwrap();
            std::thread::sleep(pause);
            write!(file, "{end}---\n{more}").unwrap();
            drop(file);
            eventually("the new content is in force", || {
                let endpoints = scene.cluster.agent.status().unwrap().endpoints;
                endpoints
                    .iter()
                    .any(|one| one.ingress.policies.contains(&format!("shop/{extra}")))
            });
        }
        assert!(forbidden.end() > 50);
        assert!(allowed.end() > 50);
    });
}

#[test]
fn a_document_that_breaks_leaves_the_last_good_one_in_force_and_others_untouched() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        let good = policy("shop", "from-client", FROM_CLIENT);
        scene.cluster.apply("mixed.yaml", &good).unwrap();
        let broken = good.replace(
            "podSelector: {matchLabels: {app: client}}",
            "podSelecter: {}",
        );
        assert_ne!(broken, good);
        let silent = policy(
            "shop",
            "deny",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress]}",
        );
        scene
            .cluster
            .apply("mixed.yaml", &format!("{broken}---\n{silent}"))
            .unwrap();
        scene.passes("shop/client", "shop/web");
        scene.is_silent("outside", "shop/web");
        scene.is_silent("outside", "shop/client");
        let refused = scene.cluster.agent.status().unwrap().refused;
        assert!(
            refused.iter().any(|line| line.contains("podSelecter")),
            "{refused:?}"
        );
        scene.cluster.remove("mixed.yaml").unwrap();
        scene.passes("outside", "shop/web");
        scene.passes("outside", "shop/client");
        assert!(scene.cluster.agent.status().unwrap().refused.is_empty());
    });
}

#[test]
fn a_swapped_link_and_a_renamed_file_take_effect() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        // As a kubelet mounts a ConfigMap: ..data is swapped, the files are links through it.
        let directory = scene.cluster.manifests();
        let version = |name: &str, text: &str| {
            std::fs::create_dir(directory.join(name)).unwrap();
            std::fs::write(directory.join(name).join("policy.yaml"), text).unwrap();
            symlink(name, directory.join("..data_tmp")).unwrap();
            std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        };
        version("..one", &policy("shop", "swapped", FROM_CLIENT));
        symlink("..data/policy.yaml", directory.join("policy.yaml")).unwrap();
        scene.becomes("outside", "shop/web", Outcome::Denied);
        let open = "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}";
        version("..two", &policy("shop", "swapped", open));
        scene.becomes("outside", "shop/web", Outcome::Allowed);
        std::fs::remove_file(directory.join("policy.yaml")).unwrap();

        let [aside, file] = ["later.txt", "later.yaml"].map(|name| directory.join(name));
        std::fs::write(&aside, policy("shop", "later", FROM_CLIENT)).unwrap();
        std::fs::rename(&aside, &file).unwrap();
        scene.becomes("outside", "shop/web", Outcome::Denied);
        std::fs::rename(&file, &aside).unwrap();
        scene.becomes("outside", "shop/web", Outcome::Allowed);
    });
}
