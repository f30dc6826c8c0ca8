//! A server from which nothing comes any more, not even that a connection is over.

use std::{
    fs::File,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use nix::sched::{CloneFlags, setns};
use policy_agent::source::kubernetes::Access;
use policy_cluster::ControlPlane;
use serde_json::{Value, json};

use crate::{
    POLICIES,
    follower::{Follower, known_to},
    policy, start,
};

/// Another machine: a network namespace with a wire to this one.
struct Machine {
    name: String,
    /// This side of the wire.
    wire: String,
    subnet: u32,
}

fn ip(arguments: &str) {
    let words = arguments.split(' ');
    let status = Command::new("ip").args(words).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

impl Machine {
    fn new() -> Self {
        let number = process::id() % 60_000;
        let machine = Self {
            name: format!("kube-away-{number}"),
            wire: format!("kaway{number}"),
            // 198.18.0.0/15 is for tests between networks. RFC 2544.
            subnet: number % 64 * 4,
        };
        let Self { name, wire, .. } = &machine;
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add {wire} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("address add {}/30 dev {wire}", machine.address(1)));
        ip(&format!("link set {wire} up"));
        ip(&format!(
            "-n {name} address add {}/30 dev eth0",
            machine.address(2)
        ));
        ip(&format!("-n {name} link set eth0 up"));
        machine
    }

    fn address(&self, host: u32) -> String {
        format!("198.19.255.{}", self.subnet + host)
    }

    /// Passes on what comes to a port there to a server here.
    fn forward(&self, server: SocketAddr) -> u16 {
        let place = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let address = self.address(2);
        let listen = move || {
            setns(&place, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind((address, 0)).unwrap()
        };
        let listener = thread::spawn(listen).join().unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        port
    }

    /// Its wire is pulled out, at its end.
    fn cut(&self) {
        ip(&format!("-n {} link set eth0 down", self.name));
    }

    fn mend(&self) {
        ip(&format!("-n {} link set eth0 up", self.name));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.name));
    }
}

/// The server, by another address for which it has no certificate.
fn kubeconfig(plane: &ControlPlane, server: &str) -> Value {
    let own = std::fs::read(plane.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_slice(&own).unwrap();
    config["clusters"][0]["cluster"] = json!({"server": server, "insecure-skip-tls-verify": true});
    config
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_peer_that_is_dead_is_noticed_within_half_a_minute_and_nothing_is_taken_back() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    api.must(Method::POST, POLICIES, Some(&policy("first", 80)))
        .unwrap();
    let machine = Machine::new();
    let server = plane.url().trim_start_matches("https://").parse().unwrap();
    let port = machine.forward(server);
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("https://{}:{port}", machine.address(2));
    std::fs::write(file.path(), kubeconfig(&plane, &url).to_string()).unwrap();
    let follower = Follower::of(&Access::Kubeconfig(file.path().to_owned()));
    let before = known_to(&api);
    follower.wait_for(&before);
    follower.wait_until("it watches", |follower| {
        let kinds = ["Namespace", "Pod", "NetworkPolicy"];
        kinds.iter().all(|kind| follower.contact(kind).watching)
    });

    machine.cut();
    let cut = Instant::now();
    follower.wait_until("the loss is noticed", |follower| follower.problems() == 3);
    let noticed = cut.elapsed();
    println!("a dead peer was noticed by all kinds after {noticed:?}");
    // Some seconds for a busy machine.
    assert!(noticed < Duration::from_secs(35), "{noticed:?}");
    assert_eq!(follower.known(), before);

    api.must(Method::POST, POLICIES, Some(&policy("second", 80)))
        .unwrap();
    machine.mend();
    follower.wait_for(&known_to(&api));
}
