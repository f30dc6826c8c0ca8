//! What a process of a pod that has CAP_NET_ADMIN on the node can do to the node's links is said and shown.

use std::{thread, time::Duration};

use policy_agent::agent::{Snapshot, UnenforcedInterface};
use policy_harness::{
    Netns, Wiring,
    topology::{BRIDGE, UPLINK},
};

use crate::scene::{DENY_ALL, Scene, addresses, eventually, in_every_setting};

/// Longer than what comes with a pod's sandbox may take.
const SET_UP: Duration = Duration::from_millis(2_500);

fn status(scene: &Scene) -> Snapshot {
    scene.cluster.agent.status().unwrap()
}

/// What `status` says is not enforced of an interface of this name.
fn shown(scene: &Scene, interface: &str) -> Option<UnenforcedInterface> {
    let all = status(scene).unenforced;
    all.into_iter().find(|one| one.interface == interface)
}

/// Lines of a level that have a text.
fn lines(scene: &Scene, level: &str, text: &str) -> usize {
    let log = scene.cluster.agent.log();
    let level = format!("\"level\":\"{level}\"");
    let lines = log.lines().filter(|line| line.contains(&level));
    lines.filter(|line| line.contains(text)).count()
}

/// Lines are written by a thread of their own: `status` may show first what they say.
fn is_said_once(scene: &Scene, level: &str, text: &str) {
    eventually("it is said", || lines(scene, level, text) > 0);
    assert_eq!(lines(scene, level, text), 1, "{text}");
}

/// The host's link on which a pod would put a child.
fn below(scene: &Scene) -> &'static str {
    match scene.cluster.node.wiring() {
        Wiring::Bridged => BRIDGE,
        Wiring::Routed => UPLINK,
    }
}

fn is_alarmed(log: &str) -> bool {
    ["inside a pod", "running pod", "while its pod runs on"]
        .iter()
        .any(|text| log.contains(text))
}

#[test]
fn a_child_of_a_link_of_the_node_inside_a_running_pod_is_an_error_once_and_shown_while_it_lasts() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 10);
        scene.policy("deny", DENY_ALL);
        thread::sleep(SET_UP);
        let below = below(scene);
        let index = scene.netns("host").ifindex(below).unwrap();
        let inside = |scene: &Scene, commands: &[&str]| {
            scene.netns("shop/a").ip(commands).unwrap();
        };
        // As soon as somebody looks, the node has a number in the pod.
        inside(scene, &["link show"]);
        for (name, kind) in [("way0", "macvlan"), ("way1", "macvtap mode bridge")] {
            let add = format!("link add {name} link if{index} link-netnsid 0 type {kind}");
            inside(scene, &[&add]);
            eventually("it is shown", || shown(scene, name).is_some());
            let found = shown(scene, name).unwrap();
            assert_eq!(found.pod.as_deref(), Some("shop/a"), "{found:?}");
            assert!(found.reason.contains(below), "{found:?}");
            assert!(found.remedy.unwrap().contains("hostUsers: false"));
            let text = scene.cluster.agent.subcommand("status", &[]).unwrap();
            assert!(text.contains(name), "{text}");
        }
        // Whatever else happens to the interfaces says it no second time.
        scene.pod("shop/b", "app: b", 11);
        inside(
            scene,
            &["link set way0 up", "addr add 10.1.0.99/24 dev way0"],
        );
        for name in ["way0", "way1"] {
            is_said_once(scene, "ERROR", &format!("\"{name}: "));
            inside(scene, &[&format!("link del {name}")]);
            eventually("it is shown no more", || shown(scene, name).is_none());
        }
    });
}

#[test]
fn an_interface_that_is_removed_while_its_pod_runs_on_is_an_error_once_until_the_pod_ends() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 10);
        scene.pod("shop/b", "app: b", 11);
        let interface = scene.cluster.pod("shop/b").unwrap().interface.clone();
        let host = scene.netns("host");
        host.ip(&[format!("link del {interface}")]).unwrap();
        eventually("it is shown", || shown(scene, &interface).is_some());
        let found = shown(scene, &interface).unwrap();
        assert_eq!(found.pod.as_deref(), Some("shop/b"), "{found:?}");
        assert!(found.remedy.unwrap().contains("hostUsers: false"));
        scene.pod("shop/c", "app: c", 12);
        is_said_once(scene, "ERROR", "while its pod runs on");
        scene.cluster.remove("pod-shop-b.yaml").unwrap();
        eventually("it is shown no more", || shown(scene, &interface).is_none());
    });
}

#[test]
fn a_link_that_a_running_pod_makes_into_the_node_is_an_error() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 10);
        thread::sleep(SET_UP);
        let pod = scene.netns("shop/a");
        let host = scene.netns("host").name().to_owned();
        pod.ip(&[format!(
            "link add in0 type veth peer name out0 netns {host}"
        )])
        .unwrap();
        eventually("it is shown", || shown(scene, "out0").is_some());
        assert_eq!(shown(scene, "out0").unwrap().pod.as_deref(), Some("shop/a"));
        is_said_once(scene, "ERROR", "added to a running pod");
        pod.ip(&["link del in0"]).unwrap();
        eventually("it is shown no more", || shown(scene, "out0").is_none());
    });
}

#[test]
fn an_interface_that_is_moved_away_while_its_pod_runs_on_is_said_at_once() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 10);
        let interface = scene.cluster.pod("shop/a").unwrap().interface.clone();
        let away = Netns::new("lifecycle-away").unwrap();
        let host = scene.netns("host");
        host.ip(&[format!("link set {interface} netns {}", away.name())])
            .unwrap();
        eventually("it is shown", || shown(scene, &interface).is_some());
        let found = shown(scene, &interface).unwrap();
        assert!(found.reason.contains("moved to another"), "{found:?}");
        is_said_once(scene, "ERROR", "moved to another network namespace while");
    });
}

#[test]
fn a_second_link_is_an_error_from_the_moment_on_in_which_its_pod_runs() {
    in_every_setting(&[], |scene| {
        let host = scene.netns("host").name().to_owned();
        scene.pod("shop/a", "app: a", 10);
        // Well within the time that setting up may take.
        let add = format!("link add in0 type veth peer name out0 netns {host}");
        scene.netns("shop/a").ip(&[add]).unwrap();
        eventually("it is shown", || shown(scene, "out0").is_some());
    });
}

#[test]
fn a_burst_of_links_is_counted_in_the_log_and_listed_by_status() {
    const LINKS: usize = 40;
    in_every_setting(&[], |scene| {
        scene.pod("shop/a", "app: a", 10);
        thread::sleep(SET_UP);
        let host = scene.netns("host").name().to_owned();
        let add = |n| format!("link add in{n} type veth peer name out{n} netns {host}");
        let add: Vec<_> = (0..LINKS).map(add).collect();
        scene.netns("shop/a").ip(&add).unwrap();
        eventually("all are shown", || {
            (0..LINKS).all(|n| shown(scene, &format!("out{n}")).is_some())
        });
        eventually("the rest is counted", || {
            lines(scene, "ERROR", "that are not enforced came") > 0
        });
        // However slowly they came, a window of ten seconds has twenty lines.
        let said = lines(scene, "ERROR", "added to a running pod");
        assert!(said < LINKS, "{said}");
    });
}

#[test]
fn what_the_node_makes_for_itself_and_what_comes_with_a_pod_is_no_alarm() {
    in_every_setting(&[], |scene| {
        let below = below(scene);
        scene
            .netns("host")
            .ip(&[
                format!("link add own0 link {below} type macvlan mode bridge"),
                format!("link add own1 link {below} type macvtap mode bridge"),
            ])
            .unwrap();
        // As a chain of plugins does it: the sandbox is whole before the pod is known.
        let sandbox = Netns::new("lifecycle-plugged").unwrap();
        scene
            .netns("host")
            .ip(&[
                format!(
                    "link add plug0 type veth peer name eth0 netns {}",
                    sandbox.name()
                ),
                format!(
                    "link add net1 link {below} netns {} type macvlan mode bridge",
                    sandbox.name()
                ),
                "link set plug0 up".to_owned(),
            ])
            .unwrap();
        let [v4, v6] = addresses(30);
        sandbox
            .ip(&[
                "link set eth0 up".to_owned(),
                format!("addr add {v4}/32 dev eth0"),
            ])
            .unwrap();
        scene
            .cluster
            .declare_pod("shop/plugged", "app: plugged", &[&v4, &v6])
            .unwrap();
        eventually("what no program sees is shown all the same", || {
            shown(scene, "net1").is_some()
        });
        // Pods that end: the interface first, then the object, and the reverse.
        scene.pod("shop/a", "app: a", 10);
        scene.pod("shop/b", "app: b", 11);
        scene.remove_pod("shop/a");
        scene.cluster.remove("pod-shop-b.yaml").unwrap();
        scene.servers.retain(|(of, _)| of != "shop/b");
        scene.cluster.node.remove_pod("shop/b").unwrap();
        thread::sleep(Duration::from_secs(12));
        let log = scene.cluster.agent.log();
        let errors = log
            .lines()
            .filter(|line| line.contains("\"level\":\"ERROR\""));
        let alarms: Vec<_> = errors.filter(|line| is_alarmed(line)).collect();
        assert!(alarms.is_empty(), "{alarms:#?}");
        let names: Vec<_> = status(scene).unenforced;
        assert!(
            names.iter().all(|one| one.interface == "net1"),
            "{names:#?}"
        );
    });
}

#[test]
fn an_interface_of_a_kind_that_cannot_be_enforced_is_said_once() {
    in_every_setting(&[], |scene| {
        let sandbox = Netns::new("lifecycle-kinds").unwrap();
        let host = scene.netns("host");
        let host_name = host.name();
        sandbox
            .ip(&[
                "link add in0 type veth peer name in1".to_owned(),
                format!("link add kind0 link in0 netns {host_name} type macvlan"),
            ])
            .unwrap();
        let mut kinds = vec![("kind0", "macvlan")];
        // The kernel names the other end. Not every kernel has the kind.
        if host.ip(&["link add kind1 type netkit"]).is_ok() {
            let away = format!("link set nk0 netns {}", sandbox.name());
            host.ip(&[away]).unwrap();
            kinds.push(("kind1", "netkit"));
        }
        for (name, kind) in &kinds {
            eventually("it is shown", || shown(scene, name).is_some());
            host.ip(&[
                format!("link set {name} up"),
                format!("link set {name} down"),
            ])
            .unwrap();
            let check = scene.cluster.agent.check().unwrap();
            assert!(check.contains(&format!("{name} ({kind})")), "{check}");
        }
        scene.pod("shop/a", "app: a", 10);
        for (name, kind) in kinds {
            let text = format!("interface {name} is not enforced: interfaces of kind {kind}");
            is_said_once(scene, "WARN", &text);
        }
    });
}
