//! A resolver whose pod is isolated both ways, and questions from ever other ports: none is lost.
//!
//! `POLICY_UDP_SECONDS` says for how long in each family (`cargo xtask soak --udp`), with tables of the usual
//! size; without it the run is a short one, with tables that are full after a moment.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, PerCpuArray};
use policy_common::{Reason, names};
use policy_harness::{
    Attach, Wiring,
    topology::INSIDE,
    wire::{Ethernet, Port, transport::udp_packet},
};

use crate::scene::{SETTINGS, SOON, Scene};

const PORT: u16 = 53;
const RESOLVER: &str = "shop/resolver";
const CLIENT: &str = "shop/client";
const POLICIES: [(&str, &str); 2] = [
    (
        "resolver",
        "{podSelector: {matchLabels: {app: resolver}}, policyTypes: [Ingress, Egress], \
         ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 53, protocol: UDP}]}]}",
    ),
    (
        "client",
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Ingress, Egress], \
         egress: [{to: [{podSelector: {matchLabels: {app: resolver}}}], ports: [{port: 53, protocol: UDP}]}]}",
    ),
];
/// Questions that are under way at a time.
const BATCH: u16 = 32;
/// Source ports, in turn.
const PORTS: std::ops::Range<u16> = 1_024..65_024;
/// The source port of questions that do not count.
const FIRST: u16 = 1_000;
/// Questions a second, at most.
const RATE: u64 = 50_000;
/// Room for 512 flows of each pod: a question is two flows.
const SMALL: [&str; 4] = ["--max-flows", "2048", "--max-endpoints", "4"];

/// What came of questions.
struct Talk {
    asked: u64,
    heard: u64,
    answered: u64,
    took: Duration,
}

impl Talk {
    fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// Answers whatever comes, and counts it.
fn resolve(socket: &UdpSocket, heard: &AtomicU64, stop: &AtomicBool) {
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut question = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut question) {
            if from.port() != FIRST {
                heard.fetch_add(1, Ordering::Relaxed);
            }
            socket.send_to(&question[..length], from).unwrap();
        }
    }
}

/// Asks for so long, [`BATCH`] questions at a time, each from a port of its own.
fn talk(scene: &Scene, v6: bool, length: Duration) -> Talk {
    let [client, resolver] = [CLIENT, RESOLVER].map(|pod| scene.cluster.pod(pod).unwrap());
    let to = SocketAddr::new(resolver.address(v6).unwrap(), PORT);
    let next = match scene.cluster.node.wiring() {
        Wiring::Routed => client.gateway,
        Wiring::Bridged => resolver.mac,
    };
    let ethernet = Ethernet::new(client.mac, next);
    let own = client.address(v6).unwrap();
    let port = Port::open(&client.netns, INSIDE).unwrap();
    let socket = resolver.netns.run(|| UdpSocket::bind(to)).unwrap().unwrap();
    let (heard, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let at = if v6 { 54 } else { 34 };
    let (mut asked, mut answered) = (0, 0);
    let mut began = Instant::now();
    thread::scope(|threads| {
        threads.spawn(|| resolve(&socket, &heard, &stop));
        let mut sources = PORTS.cycle();
        warm_up(&port, &ethernet, own, to, at);
        began = Instant::now();
        while began.elapsed() < length {
            let mut first = None;
            for _ in 0..BATCH {
                let source = sources.next().unwrap();
                first.get_or_insert(source);
                let question = udp_packet(SocketAddr::new(own, source), to, b"who is it?");
                port.send(&ethernet.ip(&question)).unwrap();
            }
            asked += u64::from(BATCH);
            let got = Cell::new(0_u64);
            let is_last = |frame: &[u8]| {
                let counts = frame.get(at + 2..at + 4) != Some(&FIRST.to_be_bytes());
                if counts && frame.get(at..at + 2) == Some(&PORT.to_be_bytes()) {
                    got.set(got.get() + 1);
                }
                got.get() == u64::from(BATCH)
            };
            port.capture(SOON, is_last).unwrap();
            answered += got.get();
            if answered < asked {
                break;
            }
            let due = Duration::from_micros(asked * 1_000_000 / RATE);
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    Talk {
        asked,
        heard: heard.into_inner(),
        answered,
        took: began.elapsed(),
    }
}

/// Until neighbours know each other a question may be lost.
fn warm_up(port: &Port, ethernet: &Ethernet, own: IpAddr, to: SocketAddr, at: usize) {
    let question = udp_packet(SocketAddr::new(own, FIRST), to, b"are you there?");
    let is_answer = |frame: &[u8]| frame.get(at..at + 2) == Some(&PORT.to_be_bytes());
    let deadline = Instant::now() + 3 * SOON;
    loop {
        port.send(&ethernet.ip(&question)).unwrap();
        if port.capture(SOON / 20, is_answer).unwrap().is_some() {
            return;
        }
        assert!(Instant::now() < deadline, "{to} answers nothing");
    }
}

/// Packets that METRICS says were dropped.
pub(crate) fn dropped(scene: &Scene) -> Vec<(u32, u64)> {
    let pin = scene.cluster.agent.pin_path().join(names::METRICS);
    let metrics = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let metrics: PerCpuArray<_, [u64; 2]> = metrics.try_into().unwrap();
    let slots = 0..2 * Reason::COUNT;
    let dropping = slots.filter(|slot| {
        let reason = u8::try_from(slot % Reason::COUNT).unwrap();
        Reason::from_u8(reason).is_some_and(Reason::is_drop)
    });
    let counted = dropping.map(|slot| {
        let all = metrics.get(&slot, 0).unwrap();
        (slot, all.iter().map(|[packets, _]| packets).sum())
    });
    counted.filter(|(_, packets)| *packets > 0).collect()
}

fn prepare(wiring: Wiring, attach: Attach) -> Scene {
    let mut scene = Scene::stopped(wiring, attach);
    let pods = [(RESOLVER, "app: resolver", 10), (CLIENT, "app: client", 20)];
    for (name, labels, number) in pods {
        let [v4, v6] = crate::scene::addresses(number);
        scene.cluster.add_pod(name, labels, &[&v4, &v6]).unwrap();
    }
    for (name, spec) in POLICIES {
        let text = crate::scene::policy("shop", name, spec);
        let file = format!("policy-{name}.yaml");
        scene.cluster.write(&file, &text).unwrap();
    }
    scene
}

#[test]
fn questions_from_ever_other_ports_are_answered_by_a_pod_that_is_isolated_both_ways() {
    let seconds = std::env::var("POLICY_UDP_SECONDS").ok();
    let length = seconds.map(|text| Duration::from_secs(text.parse().unwrap()));
    for (wiring, attach) in SETTINGS {
        let mut scene = prepare(wiring, attach);
        let mut bare = Vec::new();
        for v6 in [false, true] {
            let short = length.map_or(Duration::from_millis(200), |length| length / 4);
            bare.push(talk(&scene, v6, short));
        }
        let flags: &[&str] = if length.is_some() { &[] } else { &SMALL };
        scene.cluster.agent.start(flags).unwrap();
        for (v6, bare) in [false, true].into_iter().zip(bare) {
            let mark = scene.cluster.mark();
            let before = dropped(&scene);
            let talk = talk(&scene, v6, length.unwrap_or(Duration::from_secs(1)));
            let what = format!("{wiring:?}, {attach:?}, IPv6: {v6}");
            eprintln!(
                "{what}: {} questions in {:.1} s, {:.0} a second; without the agent {:.0}",
                talk.answered,
                talk.took.as_secs_f64(),
                talk.rate(),
                bare.rate()
            );
            assert_eq!(dropped(&scene), before, "{what}");
            assert_eq!(
                (talk.heard, talk.answered),
                (talk.asked, talk.asked),
                "{what}"
            );
            let drops = scene.cluster.agent.drops_since(mark);
            assert!(drops.is_empty(), "{what}: {drops:#?}");
        }
    }
}
