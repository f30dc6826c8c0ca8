//! Drops that have no line of their own.

use std::net::UdpSocket;

use crate::scene::{DENY_ALL, eventually, in_every_setting};

const SENT: u64 = 500;

#[test]
fn every_drop_has_a_line_or_is_counted_in_one_though_nothing_more_is_dropped() {
    in_every_setting(&["--drop-rate", "1"], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let before = dropped(&scene.cluster.agent.log());
        let to = scene.server("shop/web", false);
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..SENT {
                socket.send_to(b"nobody asked", to).unwrap();
            }
        };
        scene.netns("outside").run(send).unwrap();
        eventually("all are accounted for", || {
            dropped(&scene.cluster.agent.log()) == before + SENT
        });
        let log = scene.cluster.agent.log();
        let more = log.lines().find(|line| line.contains("more were dropped"));
        assert!(more.unwrap().contains("shop/web"), "{more:?}");
    });
}

#[test]
fn what_was_dropped_last_is_told_before_the_agent_ends() {
    in_every_setting(&["--drop-rate", "1"], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        let before = dropped(&scene.cluster.agent.log());
        let to = scene.server("shop/web", false);
        let counted = || {
            crate::resolver::dropped(scene)
                .iter()
                .map(|(_, packets)| packets)
                .sum::<u64>()
        };
        let (told, counted_before) = (before, counted());
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..SENT {
                socket.send_to(b"nobody asked", to).unwrap();
            }
        };
        scene.netns("outside").run(send).unwrap();
        eventually("they were dropped", || counted() >= counted_before + SENT);
        scene.cluster.agent.stop().unwrap();
        assert_eq!(dropped(&scene.cluster.agent.log()), told + SENT);
    });
}

/// Lines about single packets of UDP, and what lines say of packets without one.
fn dropped(log: &str) -> u64 {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .map(|line: serde_json::Value| {
            let suppressed = line["suppressed"].as_u64().unwrap_or_default();
            let is_packet = line["message"] == "dropped" && line["protocol"] == "udp";
            suppressed + u64::from(is_packet)
        })
        .sum()
}
