//! Why: what the running agent says of a packet, three ways, beside what packets do.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Output,
};

use aya::maps::{HashMap, Map, MapData};
use policy_agent::{
    ask::Verdict,
    control::{self, Observe, Request, Sight},
    datapath::PinDir,
};
use policy_common::{Endpoint, names};
use policy_harness::{
    tracked::tracked,
    traffic::{Outcome, Protocol},
};
use serde_json::Value;

use crate::scene::{
    DENY_ALL, FROM_CLIENT, SILENCE, SOON, Scene, TO_WEB, eventually, in_every_setting,
};

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const UNANSWERED: i32 = 2;
const DISAGREE: i32 = 3;

fn asked(scene: &Scene, words: &[&str]) -> Output {
    scene.cluster.agent.output("explain", words).unwrap()
}

/// The exit code, and the answer.
#[track_caller]
fn explained(scene: &Scene, words: &[&str]) -> (i32, Value) {
    let words = [words, &["--output", "json"]].concat();
    let output = asked(scene, &words);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{words:?}: {error}: {errors}"));
    (output.status.code().unwrap(), answer)
}

/// What the maps and the program say at each end of every family: the two must be the same.
#[track_caller]
fn reasons(answer: &Value) -> Vec<String> {
    let families = answer["families"].as_array().unwrap().iter();
    let ends = families.flat_map(|family| family["ends"].as_array().unwrap());
    ends.filter(|end| !end["program"].is_null())
        .map(|end| {
            assert_eq!(end["maps"], end["program"], "{answer:#}");
            end["program"]["reason"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn explain_says_what_packets_do_and_leaves_no_trace() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.pod("other/stranger", "app: client", 30);
        scene.policy("from-client", FROM_CLIENT);
        scene.policy("to-web", TO_WEB);
        let address = |name, v6| scene.address(name, v6).to_string();
        let outside = address("outside", false);
        let before = tracked(scene.cluster.agent.pin_path()).unwrap();
        let counted = || -> u64 {
            let dropped = crate::resolver::dropped(scene);
            dropped.iter().map(|(_, packets)| packets).sum()
        };
        let counted_before = counted();
        let pairs = [
            ("shop/client", "shop/web"),
            ("other/stranger", "shop/web"),
            ("shop/client", "other/stranger"),
            ("shop/web", "other/stranger"),
            ("host", "shop/web"),
            ("shop/client", "host"),
            ("outside", "shop/web"),
            ("shop/client", "outside"),
            ("shop/web", "outside"),
        ];
        let named = |name| {
            if name == "outside" {
                outside.as_str()
            } else {
                name
            }
        };
        let mut said = Vec::new();
        for (from, to) in pairs {
            for packet in ["80", "80/UDP", "9/SCTP", "ICMP"] {
                let (code, answer) = explained(scene, &[named(from), named(to), packet]);
                assert_eq!(answer["agree"], true, "{answer:#}");
                assert!(!reasons(&answer).is_empty(), "{answer:#}");
                said.push((from, to, packet, code));
            }
        }
        // Nothing was sent: what is there now, explain made.
        let after = tracked(scene.cluster.agent.pin_path()).unwrap();
        let made: Vec<_> = after.iter().filter(|flow| !before.contains(flow)).collect();
        assert!(made.is_empty(), "{made:?}");
        // A pod may say something of its own accord, but not as much as was asked.
        let denied = said.iter().filter(|(.., code)| *code == DENIED).count() as u64;
        assert!(denied > 10 && counted() < counted_before + denied);
        for (from, to, packet, code) in said {
            let protocol = match packet {
                "80" => Protocol::Tcp,
                "80/UDP" => Protocol::Udp,
                _ => continue,
            };
            let outcome = scene.ask(protocol, from, to, false);
            let passes = outcome == Outcome::Allowed;
            assert_eq!(code == ALLOWED, passes, "{from} → {to} {packet}: {code}");
        }
    });
}

#[test]
fn what_flows_limits_and_addresses_decide_is_named_by_maps_and_programs() {
    in_every_setting(&["--max-peer-opened-flows", "4"], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("deny", DENY_ALL);
        scene.policy("from-client", FROM_CLIENT);
        scene.policy("to-web", TO_WEB);
        let mut open: Vec<_> = (0..4)
            .map(|_| scene.connect("shop/client", "shop/web", false))
            .collect();
        // Established ones do not give way: the fifth finds no room, though every rule allows it.
        let (code, answer) = explained(scene, &["shop/client", "shop/web", "80"]);
        assert_eq!(code, DENIED, "{answer:#}");
        assert_eq!(answer["agree"], true, "{answer:#}");
        assert!(
            reasons(&answer).contains(&"flow-limit".to_owned()),
            "{answer:#}"
        );
        let limited = scene.ask(Protocol::Tcp, "shop/client", "shop/web", false);
        assert_eq!(limited, Outcome::Denied);

        // A tombstone: the log's line has the ports.
        let mark = scene.cluster.mark();
        scene.remove_policy("from-client");
        assert_eq!(open[0].exchange(SILENCE).unwrap(), Outcome::Denied);
        let log = || scene.cluster.agent.log();
        let line = || {
            let log = log();
            let at = usize::try_from(mark).unwrap().min(log.len());
            let mut lines = log[at..].lines().map(str::to_owned);
            lines.find(|line| line.contains("\"flow-denied\""))
        };
        eventually("the drop is logged", || line().is_some());
        let line = line().unwrap();
        let (code, answer) = explained(scene, &["--drop", &line]);
        assert_eq!((code, &answer["agree"]), (DENIED, &Value::Bool(true)));
        assert!(
            reasons(&answer).contains(&"flow-denied".to_owned()),
            "{answer:#}"
        );

        // A source that is not the pod's.
        let forged = "dropped at=1970-01-01T00:00:00Z direction=\"egress\" pod=shop/client interface=\"x\" \
                      peer=shop/web (10.1.0.10) protocol=tcp source=10.1.0.99 source_port=4000 port=80 \
                      reason=\"source-address\"";
        let (code, answer) = explained(scene, &["--drop", forged]);
        assert_eq!(
            (code, &answer["agree"]),
            (DENIED, &Value::Bool(true)),
            "{answer:#}"
        );
        assert_eq!(reasons(&answer), ["source-address"]);

        // Nothing of it is here.
        let elsewhere = asked(scene, &["198.51.100.1", "198.51.100.2", "80"]);
        assert_eq!(elsewhere.status.code(), Some(UNANSWERED));
        drop(open);
    });
}

#[test]
fn an_entry_that_somebody_else_wrote_is_an_error_in_capitals() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("deny", DENY_ALL);
        let (code, _) = explained(scene, &["shop/client", "shop/web", "80"]);
        assert_eq!(code, DENIED);
        open_by_hand(scene, scene.address("shop/web", false));
        open_by_hand(scene, scene.address("shop/client", false));
        let (code, answer) = explained(scene, &["shop/client", "shop/web", "80"]);
        assert_eq!((code, &answer["agree"]), (DISAGREE, &Value::Bool(false)));
        let text = asked(scene, &["shop/client", "shop/web", "80"]);
        assert_eq!(text.status.code(), Some(DISAGREE));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("DISAGREE"), "{text}");
        // What packets do is what the program says.
        assert_eq!(answer["verdict"], "allowed", "{answer:#}");
    });
}

#[test]
fn drops_are_told_as_they_come_and_a_flood_hides_none() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("deny", DENY_ALL);
        let socket = PinDir::new(scene.cluster.agent.pin_path()).socket();
        // What is dropped before the agent has got round to them is told as what came last.
        let all = Request::Observe(Observe {
            follow: true,
            last: 4_096,
            ..Observe::default()
        });
        let follow = || control::follow::<Sight>(&socket, &all).unwrap().unwrap();
        // One who reads, and one who does not.
        let (mut reads, _sleeps) = (follow(), follow());
        let outside = scene.address("outside", false);
        let to = [false, true].map(|v6| scene.server("shop/web", v6));
        let send = |name: &str, to: SocketAddr, packets: u32| {
            let packet = || {
                let any: IpAddr = if to.is_ipv4() {
                    [0; 4].into()
                } else {
                    [0; 16].into()
                };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                for _ in 0..packets {
                    // What a policy forbids may be an error of the socket.
                    drop(socket.send_to(b"nobody asked", to));
                }
            };
            scene.netns(name).run(packet).unwrap();
        };
        send("shop/client", to[1], 1);
        send("outside", to[0], 20_000);
        let is_quiet = |sight: Result<Sight, _>| match sight.unwrap() {
            Sight::Packet(packet) => packet.pod.as_deref() == Some("shop/client"),
            Sight::Lost(_) => false,
        };
        assert!(reads.any(is_quiet));
        let egress = scene.cluster.agent.output(
            "observe",
            &["--from", "shop/client", "--reason", "policy", "-o", "json"],
        );
        let egress = egress.unwrap();
        let line = String::from_utf8_lossy(&egress.stdout).into_owned();
        let packet: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(packet["direction"], "egress");
        assert_eq!(packet["peer_pod"], "shop/web");
        assert_eq!(packet["port"], 80);
        assert!(packet["source_port"].is_u64(), "{packet}");
        assert_eq!(packet["policies"], serde_json::json!(["shop/deny"]));
        let ingress = || {
            let words = ["--from", &outside.to_string(), "--to", "shop/web"];
            let output = scene.cluster.agent.output("observe", &words).unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        eventually("the flood is told too", || {
            ingress().contains("80/udp: policy")
        });
    });
}

#[test]
fn new_flows_that_are_allowed_are_told_while_somebody_follows() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        let before = scene.connect("shop/client", "shop/web", false);
        let socket = PinDir::new(scene.cluster.agent.pin_path()).socket();
        let allowed = Request::Observe(Observe {
            verdict: Some(Verdict::Allowed),
            to: Some("shop/web".into()),
            follow: true,
            ..Observe::default()
        });
        let mut sights = control::follow::<Sight>(&socket, &allowed)
            .unwrap()
            .unwrap();
        // The tables are read before the first comparison: until one is told of, more are opened.
        let mut open = Vec::new();
        let told = std::thread::scope(|threads| {
            let told = threads.spawn(|| sights.next().unwrap().unwrap());
            while !told.is_finished() {
                assert!(open.len() < 200, "in vain");
                open.push(scene.connect("shop/client", "shop/web", true));
                std::thread::sleep(SILENCE);
            }
            told.join().unwrap()
        });
        let Sight::Packet(packet) = told else {
            panic!("{told:?}");
        };
        assert_eq!(packet.peer_pod.as_deref(), Some("shop/client"));
        assert_eq!(packet.peer_ip, Some(scene.address("shop/client", true)));
        assert_eq!((packet.port, packet.reason.as_str()), (Some(80), "allowed"));
        assert_eq!(packet.policies, ["shop/from-client"]);
        drop(before);
    });
}

#[test]
fn flows_and_policies_are_shown_with_the_names_of_who_has_a_part_in_them() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        scene.pod("shop/client", "app: client", 20);
        scene.policy("from-client", FROM_CLIENT);
        let mut open = scene.connect("shop/client", "shop/web", true);
        let lines = |command: &str, words: &[&str]| -> Vec<Value> {
            let words = [words, &["--output", "json"]].concat();
            let text = scene.cluster.agent.subcommand(command, &words).unwrap();
            let lines = text.lines().map(serde_json::from_str);
            lines.collect::<Result<_, _>>().unwrap()
        };
        let flow = || {
            let mut flows = lines("flows", &["--pod", "shop/web"]).into_iter();
            flows.find(|flow| flow["protocol"] == "tcp" && flow["peer_pod"] == "shop/client")
        };
        let shown = flow().unwrap();
        assert_eq!(shown["opened_by"], "peer");
        assert_eq!(shown["pod_port"], 80);
        assert_eq!(shown["state"], "established");
        assert_eq!(shown["verdict"], "allowed");
        assert_eq!(shown["is_current"], true);
        assert!(shown["idle_ms"].as_u64().unwrap() < 60_000, "{shown}");
        assert_eq!(shown["policies"], serde_json::json!(["shop/from-client"]));
        assert_eq!(
            lines("policies", &[]),
            [
                serde_json::json!({"policy": "shop/from-client", "ingress": ["shop/web"], "egress": []})
            ]
        );
        let bundled = |name: &str, more: &[&str]| {
            let file = scene.cluster.manifests().with_file_name(name);
            let words = [&[file.to_str().unwrap()], more].concat();
            scene.cluster.agent.subcommand("bundle", &words).unwrap();
            String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()
        };
        let address = scene.address("shop/web", false).to_string();
        let masked = bundled("masked.tar", &[]);
        assert!(!masked.contains(&address) && masked.contains("shop/from-client"));
        assert!(masked.contains("enforcing"), "the log is in it");
        assert!(bundled("plain.tar", &["--addresses"]).contains(&address));
        assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
    });
}

/// Takes the isolation off an endpoint behind the agent's back.
fn open_by_hand(scene: &Scene, address: IpAddr) {
    type Words = [u64; Endpoint::WORDS];
    let pin = scene.cluster.agent.pin_path().join(names::ENDPOINTS);
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let mut map: HashMap<_, u32, Words> = map.try_into().unwrap();
    let IpAddr::V4(address) = address else {
        panic!("an address of IPv4")
    };
    let found = map.iter().map(Result::unwrap).find_map(|(key, words)| {
        let endpoint: Endpoint = bytemuck::cast(words);
        (endpoint.v4.0 == address.octets()).then_some((key, endpoint))
    });
    let (key, mut endpoint) = found.unwrap();
    endpoint.flags &= !(Endpoint::INGRESS_ISOLATED | Endpoint::EGRESS_ISOLATED);
    map.insert(key, bytemuck::cast::<_, Words>(endpoint.sealed()), 0)
        .unwrap();
}
