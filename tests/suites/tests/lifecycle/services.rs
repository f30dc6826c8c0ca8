//! Services in front of pods and of machines elsewhere, with rules as kube-proxy writes them: a pod with closed
//! egress reaches by them whom its policies allow, and nobody else.

use std::net::{SocketAddr, UdpSocket};

use policy_harness::{
    Wiring,
    topology::{OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Connection, Outcome, Protocol, Server, probe},
};

use crate::scene::{
    DENY_ALL, SILENCE, SOON, Scene, TO_WEB, addresses, eventually, in_every_setting,
};

const CLIENT: &str = "shop/client";
/// The ranges of the Services of these tests.
const RANGES: [&str; 4] = [
    "--service-cidr",
    "10.96.0.0/12",
    "--service-cidr",
    "fd96::/108",
];
/// The last part of each Service's addresses.
const WEB: u8 = 1;
const OTHER: u8 = 2;
const ITSELF: u8 = 3;
const OUTSIDE: u8 = 4;
/// Behind it are the first and the last one of these.
const BOTH: u8 = 5;
/// Behind it is what the first pod, and what the machine outside, sends by itself.
const STREAMS: [u8; 2] = [6, 7];
const STREAM_PORT: u16 = 8053;
/// Nobody translates it.
const NOTHING: u8 = 9;

/// Egress of `app: client` to the machine outside, every port.
const TO_OUTSIDE: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], \
     egress: [{to: [{ipBlock: {cidr: 192.0.2.2/32}}, {ipBlock: {cidr: '2001:db8:ff::2/128'}}]}]}";

/// Egress of `app: client` to both.
const TO_BOTH: &str = "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], \
     egress: [{to: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 192.0.2.2/32}}, \
     {ipBlock: {cidr: '2001:db8:ff::2/128'}}]}]}";

fn service(number: u8) -> [String; 2] {
    [format!("10.96.0.{number}"), format!("fd96::{number}")]
}

/// The addresses of who stands behind a Service.
fn backends(number: u8) -> Vec<[String; 2]> {
    let outside = || [OUTSIDE_V4.to_owned(), OUTSIDE_V6.to_owned()];
    match number {
        WEB | 6 => vec![addresses(10)],
        OTHER => vec![addresses(11)],
        ITSELF => vec![addresses(12)],
        OUTSIDE | 7 => vec![outside()],
        BOTH => vec![addresses(10), outside()],
        _ => Vec::new(),
    }
}

/// One family of the table that kube-proxy 1.37 makes of these Services.
fn table(v6: bool) -> String {
    let family = if v6 { "ip6" } else { "ip" };
    let index = usize::from(v6);
    let mut chains = String::new();
    let mut elements = Vec::new();
    for number in 1..=7 {
        let port = if STREAMS.contains(&number) {
            STREAM_PORT
        } else {
            80
        };
        let own = &service(number)[index];
        let behind = backends(number);
        for protocol in ["tcp", "udp"] {
            let name = format!("service-{number}-{protocol}");
            elements.push(format!("{own} . {protocol} . 80 : goto {name}"));
            let count = behind.len();
            let choices: Vec<_> = (0..count)
                .map(|one| format!("{one} : goto endpoint-{number}-{protocol}-{one}"))
                .collect();
            for (one, backend) in behind.iter().enumerate() {
                let at = &backend[index];
                let to = if v6 {
                    format!("[{at}]:{port}")
                } else {
                    format!("{at}:{port}")
                };
                chains += &format!(
                    "chain endpoint-{number}-{protocol}-{one} {{
                        {family} saddr {at} jump mark-for-masquerade
                        meta l4proto {protocol} dnat to {to}
                    }}\n"
                );
            }
            chains += &format!(
                "chain {name} {{ numgen random mod {count} vmap {{ {} }}; }}\n",
                choices.join(", ")
            );
        }
    }
    format!(
        "table {family} kube-proxy {{
            chain mark-for-masquerade {{ meta mark set meta mark | 0x4000; }}
            chain masquerading {{
                meta mark & 0x4000 == 0 return
                meta mark set meta mark ^ 0x4000
                masquerade fully-random
            }}
            {chains}
            map service-ips {{
                type {}_addr . inet_proto . inet_service : verdict
                elements = {{ {} }}
            }}
            chain services {{ {family} daddr . meta l4proto . th dport vmap @service-ips; }}
            chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
            chain nat-output {{ type nat hook output priority -100; jump services; }}
            chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
        }}\n",
        if v6 { "ipv6" } else { "ipv4" },
        elements.join(", ")
    )
}

/// Pods, and Services in front of them.
fn begin(scene: &mut Scene) {
    scene.pod("shop/web", "app: web", 10);
    scene.pod("shop/other", "app: other", 11);
    scene.pod(CLIENT, "app: client", 12);
    let node = &scene.cluster.node;
    if node.wiring() == Wiring::Bridged {
        let port = &node.pod(CLIENT).unwrap().interface;
        let hairpin = format!("link set {port} type bridge_slave hairpin on");
        node.host.ip(&[hairpin]).unwrap();
        // As nodes with a bridge have it: else answers on it are not translated back.
        for family in ["iptables", "ip6tables"] {
            let key = format!("net/bridge/bridge-nf-call-{family}");
            node.host.sysctl(&key, "1").unwrap();
        }
    }
    // A machine outside has an address of a range that nobody translates.
    let [v4, v6] = service(NOTHING);
    let there = [
        format!("addr add {v4}/32 dev lo"),
        format!("addr add {v6}/128 dev lo nodad"),
    ];
    node.outside.ip(&there).unwrap();
    let ways = [
        format!("route add {v4}/32 via {OUTSIDE_V4}"),
        format!("route add {v6}/128 via {OUTSIDE_V6}"),
    ];
    node.host.ip(&ways).unwrap();
    for (protocol, v6) in WAYS {
        let server = Server::start(&node.outside, protocol, at(NOTHING, v6)).unwrap();
        scene.servers.push(("outside".to_owned(), server));
    }
    for v6 in [false, true] {
        scene.netns("host").exec("nft", &[&table(v6)]).unwrap();
    }
}

fn at(number: u8, v6: bool) -> SocketAddr {
    let address = service(number)[usize::from(v6)].parse().unwrap();
    SocketAddr::new(address, 80)
}

fn asks(scene: &Scene, number: u8, (protocol, v6): (Protocol, bool), wanted: Outcome) -> Outcome {
    let within = match wanted {
        Outcome::Allowed => SOON,
        Outcome::Denied => SILENCE,
    };
    probe(scene.netns(CLIENT), protocol, None, at(number, v6), within).unwrap()
}

const WAYS: [(Protocol, bool); 4] = [
    (Protocol::Tcp, false),
    (Protocol::Udp, false),
    (Protocol::Tcp, true),
    (Protocol::Udp, true),
];

/// Whether both protocols pass in both families to a Service.
#[track_caller]
fn reaches(scene: &Scene, number: u8, wanted: Outcome) {
    for way in WAYS {
        let outcome = asks(scene, number, way, wanted);
        assert_eq!(outcome, wanted, "{way:?} to Service {number}");
    }
}

fn connect(scene: &Scene, number: u8) -> [Connection; 2] {
    [false, true].map(|v6| {
        let to = at(number, v6);
        let mut open = Connection::open(scene.netns(CLIENT), None, to, SOON)
            .unwrap()
            .unwrap();
        assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        open
    })
}

#[test]
fn egress_to_a_service_is_judged_by_who_is_really_reached() {
    in_every_setting(&RANGES, |scene| {
        begin(scene);
        let all = [WEB, OTHER, ITSELF, OUTSIDE, BOTH, NOTHING];
        for number in all {
            reaches(scene, number, Outcome::Allowed);
        }
        let [mut web, mut other, mut outside] =
            [WEB, OTHER, OUTSIDE].map(|number| connect(scene, number));

        scene.policy("to-web", TO_WEB);
        for number in [WEB, ITSELF] {
            eventually("it is judged behind the Service", || {
                WAYS.iter()
                    .all(|way| asks(scene, number, *way, Outcome::Allowed) == Outcome::Allowed)
            });
        }
        for number in [OTHER, OUTSIDE, NOTHING] {
            reaches(scene, number, Outcome::Denied);
        }
        for open in &mut web {
            assert_eq!(open.exchange(SOON).unwrap(), Outcome::Allowed);
        }
        for open in other.iter_mut().chain(&mut outside) {
            assert_eq!(open.exchange(SILENCE).unwrap(), Outcome::Denied);
        }
        let mark = scene.cluster.mark();
        reaches(scene, OUTSIDE, Outcome::Denied);
        let dropped = scene.cluster.dropped(mark, SOON, |drop| {
            drop.direction == "egress" && drop.pod.as_deref() == Some(CLIENT)
        });
        assert!(dropped.is_some(), "whose egress it was is said");

        scene.policy("to-web", TO_OUTSIDE);
        reaches(scene, OUTSIDE, Outcome::Allowed);
        for number in [WEB, OTHER] {
            reaches(scene, number, Outcome::Denied);
        }
        scene.policy("to-web", DENY_ALL);
        for number in [WEB, OTHER, OUTSIDE] {
            reaches(scene, number, Outcome::Denied);
        }
        scene.remove_policy("to-web");
        for number in all {
            reaches(scene, number, Outcome::Allowed);
        }
    });
}

/// What a backend sends by itself finds the flow of the Service's address, and says nothing of who sends it.
#[test]
fn a_stream_from_behind_a_service_ends_when_its_caller_may_not_ask_for_it_any_more() {
    in_every_setting(&RANGES, |scene| {
        begin(scene);
        scene.policy("to-web", TO_BOTH);
        eventually("it is judged behind the Service", || {
            asks(scene, BOTH, WAYS[0], Outcome::Allowed) == Outcome::Allowed
        });
        let mut streams: Vec<_> = STREAMS
            .into_iter()
            .flat_map(|number| [(number, false), (number, true)])
            .map(|(number, v6)| Stream::open(scene, number, v6))
            .collect();
        scene.policy("to-web", TO_WEB);
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.becomes(index < 2);
        }
        scene.policy("to-web", TO_OUTSIDE);
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.becomes(index >= 2);
        }
        scene.remove_policy("to-web");
        for stream in &mut streams {
            stream.becomes(true);
        }
    });
}

/// Datagrams from behind a Service to the client, who asked for them once.
struct Stream {
    client: UdpSocket,
    backend: UdpSocket,
    sent: u64,
}

impl Stream {
    fn open(scene: &Scene, number: u8, v6: bool) -> Self {
        let bind = |name: &str, at: SocketAddr| {
            let socket = scene
                .netns(name)
                .run(|| UdpSocket::bind(at))
                .unwrap()
                .unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        };
        let behind = if number == STREAMS[0] {
            "shop/web"
        } else {
            "outside"
        };
        let backend = bind(
            behind,
            SocketAddr::new(scene.address(behind, v6), STREAM_PORT),
        );
        let client = bind(CLIENT, SocketAddr::new(scene.address(CLIENT, v6), 0));
        client.connect(at(number, v6)).unwrap();
        client.send(b"go on").unwrap();
        let (_, asker) = backend.recv_from(&mut [0; 8]).unwrap();
        backend.connect(asker).unwrap();
        client.set_read_timeout(Some(SILENCE)).unwrap();
        Self {
            client,
            backend,
            sent: 0,
        }
    }

    /// Whether the next datagram arrives.
    fn arrives(&mut self) -> bool {
        self.sent += 1;
        self.backend.send(&self.sent.to_ne_bytes()).unwrap();
        let mut got = [0; 8];
        while self.client.recv(&mut got).is_ok() {
            if u64::from_ne_bytes(got) == self.sent {
                return true;
            }
        }
        false
    }

    #[track_caller]
    fn becomes(&mut self, open: bool) {
        eventually("the stream is as the rules say", || self.arrives() == open);
    }
}
