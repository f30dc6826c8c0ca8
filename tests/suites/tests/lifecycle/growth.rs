//! Tables that are full and may grow.

use std::{fmt::Write as _, thread, time::Duration};

use policy_agent::datapath::{PinDir, fill};
use policy_common::names;
use policy_harness::{
    Wiring,
    topology::{OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Outcome, Protocol},
};

use crate::{
    scene::{DENY_ALL, FROM_CLIENT, SOON, Scene, TO_WEB, eventually, in_every_setting, policy},
    steady::{Steady, go_on},
};

pub(crate) const SIZES: [&str; 4] = ["--max-rules", "30", "--memory-limit", "1000"];
/// The same tables, which cannot grow.
pub(crate) const CRAMPED: [&str; 4] = ["--max-rules", "30", "--memory-limit", "1"];
/// Files that an agent may still open which is to load no programs.
pub(crate) const FEW_FILES: usize = 6;

/// Ingress of `app: late` from the outside and so many blocks, to a port of its own from each.
pub(crate) fn blocks(number: usize) -> String {
    let mut spec = format!(
        "{{podSelector: {{matchLabels: {{app: late}}}}, policyTypes: [Ingress], ingress: [{{from: [\
         {{ipBlock: {{cidr: {OUTSIDE_V4}/32}}}}, {{ipBlock: {{cidr: '{OUTSIDE_V6}/128'}}}}]}}"
    );
    for block in 0..number {
        let (third, fourth) = (block / 256, block % 256);
        let from = format!("[{{ipBlock: {{cidr: 20.0.{third}.{fourth}/32}}}}]");
        let port = 1_000 + block;
        write!(spec, ", {{from: {from}, ports: [{{port: {port}}}]}}").unwrap();
    }
    spec + "]}"
}

fn room_for_rules(scene: &Scene) -> u64 {
    let tables = fill(&PinDir::new(scene.cluster.agent.pin_path())).unwrap();
    let rules = tables.iter().find(|table| table.name == names::RULES);
    rules.unwrap().most
}

#[test]
fn a_full_table_grows_and_no_packet_notices_also_where_the_agent_ends_meanwhile() {
    in_every_setting(&SIZES, |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.pod("other/stranger", "app: client", 30);
        scene.pod("shop/late", "app: late", 40);
        scene.policy("deny", DENY_ALL);
        scene.policy("from-client", FROM_CLIENT);
        scene.policy("to-web", TO_WEB);
        let web = [false, true].map(|v6| scene.server("shop/web", v6));
        let late = scene.server("shop/late", false);
        let allowed = web.map(|to| Steady::allowed(scene.netns("shop/client"), to));
        let forbidden = [
            ("other/stranger", web[0]),
            ("outside", web[1]),
            ("other/stranger", late),
        ]
        .map(|(from, to)| Steady::forbidden(scene.netns(from), to));

        let small = room_for_rules(scene);
        scene.is_silent("outside", "shop/late");
        scene.policy("blocks", &blocks(40));
        scene.passes("outside", "shop/late");
        assert!(
            small < 40 && room_for_rules(scene) > 40,
            "the table has grown"
        );
        let mut open = scene.connect("outside", "shop/late", false);
        scene.policy("blocks", &blocks(200));
        eventually("there is room to spare", || room_for_rules(scene) > 200);

        // A run that starts small grows before it takes over.
        scene.cluster.agent.stop().unwrap();
        scene.cluster.agent.start(&SIZES).unwrap();
        assert!(room_for_rules(scene) > 200);

        // Whatever a run was doing when it ended, the next one puts it right.
        for (round, number) in [600, 1_500].into_iter().enumerate() {
            let loading = |scene: &Scene| {
                let log = scene.cluster.agent.log();
                log.matches("loading larger tables").count()
            };
            let before = loading(scene);
            let text = policy("shop", "blocks", &blocks(number));
            scene.cluster.write("policy-blocks.yaml", &text).unwrap();
            eventually("larger tables are loaded", || loading(scene) > before);
            thread::sleep(Duration::from_millis(900) * u32::try_from(round).unwrap());
            scene.cluster.agent.kill().unwrap();
            scene.cluster.agent.start(&SIZES).unwrap();
            scene.cluster.await_revision().unwrap();
        }
        let said = open.exchange(SOON).unwrap();
        assert_eq!(said, Outcome::Allowed);
        scene.passes("outside", "shop/late");
        let status = scene.cluster.agent.status().unwrap();
        assert!(status.failures.is_empty() && status.unenforced.is_empty());
        for traffic in allowed.into_iter().chain(forbidden) {
            assert!(traffic.end() > 100, "traffic went on all the time");
        }
    });
}

#[test]
fn rules_wait_for_larger_tables_until_those_cannot_be_made_and_then_nothing_opens_for_want_of_room()
{
    in_every_setting(&SIZES, |scene| {
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
        let web = [false, true].map(|v6| scene.server("shop/web", v6));
        let late = scene.server("shop/late", false);
        let forbidden = [("other/stranger", web[0]), ("other/stranger", late)]
            .map(|(from, to)| Steady::forbidden(scene.netns(from), to));
        let allowed = web.map(|to| Steady::allowed(scene.netns("shop/client"), to));
        // As long as its rules only allow more.
        let kept = Steady::allowed(scene.netns("outside"), late);

        let failed = |scene: &Scene| {
            let log = scene.cluster.agent.log();
            log.matches("the tables cannot grow").count()
        };
        scene.cluster.agent.spare_files(Some(FEW_FILES)).unwrap();
        let write = |scene: &Scene, spec: &str| {
            let text = policy("shop", "blocks", spec);
            scene.cluster.write("policy-blocks.yaml", &text).unwrap();
        };
        write(scene, &blocks(40));
        eventually("larger tables cannot be made", || failed(scene) > 0);
        let names_late = |scene: &Scene| {
            let failures = scene.cluster.agent.status().unwrap().failures;
            failures.iter().any(|failure| failure.contains("shop/late"))
        };
        eventually("it is shown whose rules have no room", || names_late(scene));
        scene.passes("outside", "shop/late");
        go_on(std::iter::once(&kept));
        assert!(kept.end() > 20, "traffic went on all the time");

        // What takes something away waits for no room.
        write(scene, &without_outside_v4(&blocks(40)));
        scene.becomes("outside", "shop/late", Outcome::Denied);
        scene.is_silent("outside", "shop/late");
        assert!(names_late(scene));

        scene.cluster.agent.spare_files(None).unwrap();
        if scene.cluster.node.wiring() == Wiring::Bridged {
            scene.cluster.agent.stop().unwrap();
            scene.cluster.agent.start(&SIZES).unwrap();
        }
        // A running agent tries again after half a minute.
        scene.cluster.await_revision().unwrap();
        assert!(room_for_rules(scene) > 40);
        for (v6, wanted) in [(true, Outcome::Allowed), (false, Outcome::Denied)] {
            let said = scene.ask(Protocol::Tcp, "outside", "shop/late", v6);
            assert_eq!(said, wanted, "IPv6: {v6}");
        }
        let status = scene.cluster.agent.status().unwrap();
        assert!(status.failures.is_empty() && status.unenforced.is_empty());
        for traffic in allowed.into_iter().chain(forbidden) {
            assert!(traffic.end() > 50, "traffic went on all the time");
        }
    });
}

fn without_outside_v4(spec: &str) -> String {
    let other = spec.replace(&format!("{OUTSIDE_V4}/32"), "20.1.0.1/32");
    assert_ne!(other, spec);
    other
}
