//! What the probes of a kubelet meet in every state of the agent: `/healthz` and `/readyz`;
//! and what can be scraped.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use policy_harness::{Attach, Wiring};

use crate::{
    growth::blocks,
    scene::{DENY_ALL, SOON, Scene, eventually, policy},
};

const ADDRESS: &str = "127.0.0.1:9471";
/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Status and text.
type Answer = Option<(u16, String)>;

impl Scene {
    /// What a probe gets; nothing where nobody answers.
    fn probed(&self, path: &str) -> Answer {
        let asked = self.netns("host").run(|| -> Answer {
            let mut stream = TcpStream::connect(ADDRESS).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            let (head, body) = text.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        });
        asked.unwrap()
    }

    /// Waits until `/readyz` has this status and says this; the agent is alive meanwhile.
    #[track_caller]
    fn readiness_becomes(&self, status: u16, what: &str) {
        let is_so = |answer: Answer| {
            answer.is_some_and(|(code, text)| code == status && text.contains(what))
        };
        eventually(&format!("{status} {what}"), || {
            is_so(self.probed("/readyz"))
        });
        assert_eq!(self.probed("/healthz"), Some((200, "ok\n".to_owned())));
    }

    fn status_check(&self) -> Option<i32> {
        let output = self.cluster.agent.output("status", &["--check"]);
        output.unwrap().status.code()
    }
}

fn health<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--listen", ADDRESS], arguments].concat()
}

#[test]
fn a_node_is_ready_from_when_the_agent_enforces_until_it_ends() {
    for (wiring, attach) in [
        (Wiring::Routed, Attach::Tcx),
        (Wiring::Bridged, Attach::Clsact),
    ] {
        let mut scene = Scene::stopped(wiring, attach);
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        assert_eq!(scene.probed("/readyz"), None);
        scene.cluster.agent.begin(&health(&[])).unwrap();
        eventually("it is ready", || match scene.probed("/readyz") {
            Some((200, _)) => {
                assert!(scene.cluster.agent.status().unwrap().agent.enforcing);
                true
            }
            Some((status, text)) => {
                let is_said = text.starts_with("not ready\n");
                assert!(status == 503 && is_said, "{status}: {text}");
                false
            }
            None => false,
        });

        // The source is away: said, and no reason.
        let manifests = scene.cluster.manifests();
        let aside = manifests.with_file_name("away");
        fs::rename(&manifests, &aside).unwrap();
        scene.readiness_becomes(200, "refused: ");
        fs::rename(&aside, &manifests).unwrap();
        eventually("nothing is refused", || {
            scene.probed("/readyz") == Some((200, "ready\n".to_owned()))
        });

        // It ends when it is told to, whoever is connected, and nobody answers any more.
        let silent = scene.netns("host").run(|| TcpStream::connect(ADDRESS));
        let began = Instant::now();
        scene.cluster.agent.stop().unwrap();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(scene.probed("/readyz"), None);
        drop(silent);
    }
}

#[test]
fn what_has_no_room_is_said_and_an_interface_without_programs_is_a_reason() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/late", "app: late", 20);
    scene.pod("shop/third", "app: third", 30);
    scene.policy("deny", DENY_ALL);
    let full = [
        "--max-rules",
        "30",
        "--memory-limit",
        "0",
        "--max-endpoints",
        "2",
    ];
    scene.cluster.agent.begin(&health(&full)).unwrap();
    // No number for one of three pods: its packets meet no program.
    scene.readiness_becomes(503, "every endpoint number is in use");
    scene.remove_pod("shop/third");
    scene.readiness_becomes(200, "ready\n");

    // No room for a policy: `status --check` is not content, a restart would change nothing.
    let text = policy("shop", "blocks", &blocks(60));
    scene.cluster.write("blocks.yaml", &text).unwrap();
    scene.readiness_becomes(200, "no room: ");
    assert_eq!(scene.status_check(), Some(1));
    fs::remove_file(scene.cluster.manifests().join("blocks.yaml")).unwrap();
    eventually("there is room again", || scene.status_check() == Some(0));
}

/// The value of a sample; nothing where there is none.
fn sample(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn what_is_dropped_and_what_is_enforced_can_be_scraped() {
    const DENIED: &str =
        "policy_agent_packets_total{direction=\"ingress\",verdict=\"denied\",reason=\"policy\"}";
    const SENT: usize = 20;
    for (wiring, attach) in [
        (Wiring::Routed, Attach::Tcx),
        (Wiring::Bridged, Attach::Clsact),
    ] {
        let mut scene = Scene::stopped(wiring, attach);
        scene.pod("shop/web", "app: web", 10);
        scene.policy("deny", DENY_ALL);
        scene.cluster.agent.begin(&health(&[])).unwrap();
        scene.readiness_becomes(200, "ready\n");
        let to = scene.server("shop/web", false);
        let scraped = |scene: &Scene| scene.probed("/metrics").unwrap().1;
        let before = sample(&scraped(&scene), DENIED).unwrap_or(0.0);
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..SENT {
                socket.send_to(b"nobody asked", to).unwrap();
            }
        };
        scene.netns("outside").run(send).unwrap();
        eventually("the drops are counted", || {
            sample(&scraped(&scene), DENIED) >= Some(before + SENT as f64)
        });
        let text = scraped(&scene);
        for (series, value) in [
            ("policy_agent_ready", 1.0),
            ("policy_agent_endpoints{isolated=\"both\"}", 1.0),
            ("policy_agent_unenforced_interfaces", 0.0),
            ("policy_agent_table_entries{table=\"ENDPOINTS\"}", 1.0),
        ] {
            assert_eq!(sample(&text, series), Some(value), "{series}\n{text}");
        }
        let told = "policy_agent_told_drops_total{namespace=\"shop\",policy=\"deny\"}";
        eventually("the policy is named", || {
            sample(&scraped(&scene), told) > Some(0.0)
        });
        let took = sample(&text, "policy_agent_change_to_kernel_seconds_count");
        assert!(took >= Some(1.0), "{text}");
    }
}

#[test]
fn nobody_answers_for_an_agent_that_was_not_told_to_or_not_on_the_loopback() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.cluster.agent.start(&[]).unwrap();
    assert_eq!(scene.probed("/readyz"), None);
    let outside = scene
        .cluster
        .agent
        .output("run", &["--listen", "0.0.0.0:9471"]);
    let outside = outside.unwrap();
    assert_eq!(outside.status.code(), Some(2));
    let said = String::from_utf8_lossy(&outside.stderr);
    assert!(said.contains("not an address of the loopback"), "{said}");
}
