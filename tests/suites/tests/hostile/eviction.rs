//! More first fragments than are remembered: what is forgotten is dropped, and nobody else suffers.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use policy_common::{Reason, limits::MAX_FRAGMENTS};
use policy_harness::{
    traffic::{Protocol, Server},
    wire::{Port, transport, udp},
};

use crate::{
    Case,
    Ways::RoutedTcx,
    fragments::{frames, judged, long, pieces},
    scene::{CAGED, FRIEND, PINGER, SOON, Scene, WEB},
};

pub(crate) const CASES: &[Case] = &[(
    "a fragment whose first one was forgotten under load is dropped",
    forgotten,
    RoutedTcx,
)];

/// A datagram in two frames, and the token in the second one.
struct Divided {
    from: &'static str,
    frames: Vec<Vec<u8>>,
    token: Vec<u8>,
}

/// One that `web` allows.
fn divided(scene: &mut Scene, from: &'static str, v6: bool) -> Divided {
    let ends = scene.ends(from, WEB, v6, 53);
    let (token, id) = (scene.token(), scene.number());
    let datagram = udp(ends.0, ends.1, &long(&token));
    let packets = pieces(ends, transport::UDP, &datagram, 64, id);
    Divided {
        from,
        frames: frames(scene, from, &packets),
        token,
    }
}

/// First fragments of one flow that `web` allows, each of a datagram of its own.
fn flood(scene: &mut Scene) -> Vec<Vec<u8>> {
    let ends = scene.ends(PINGER, WEB, false, 9);
    let datagram = udp(ends.0, ends.1, &[0; 100]);
    let first = |id| pieces(ends, transport::UDP, &datagram, 64, id).swap_remove(0);
    // Half as many again: the kernel forgets before the table is full, and some CPUs keep a few.
    let packets: Vec<_> = (0..MAX_FRAGMENTS + MAX_FRAGMENTS / 2)
        .map(|id| first(u16::try_from(id).unwrap()))
        .collect();
    frames(scene, PINGER, &packets)
}

/// Sends everything from one CPU, on which the programs run then too: what another CPU put into the
/// table last may outlive what is newer.
fn send_from_one_cpu(frames: &[(Port, Vec<Vec<u8>>)]) {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap());
    let mut one = CpuSet::new();
    one.set(first.unwrap()).unwrap();
    sched_setaffinity(this_thread, &one).unwrap();
    for (port, frames) in frames {
        for frame in frames {
            port.send(frame).unwrap();
        }
    }
}

/// Somebody who asks a server that answers with as much; more than an Ethernet frame holds goes
/// both ways in fragments.
struct Client {
    from: &'static str,
    length: usize,
    socket: UdpSocket,
    _server: Server,
}

impl Client {
    fn new(scene: &mut Scene, from: &'static str, to: &str, v6: bool, length: usize) -> Self {
        let (source, at) = scene.ends(from, to, v6, 53);
        let connect = |source: SocketAddr| {
            let socket = UdpSocket::bind(source)?;
            socket.connect(at)?;
            socket.set_read_timeout(Some(SOON))?;
            std::io::Result::Ok(socket)
        };
        Self {
            from,
            length,
            _server: Server::start(scene.netns(to), Protocol::Udp, at).unwrap(),
            socket: scene.netns(from).run(|| connect(source)).unwrap().unwrap(),
        }
    }

    fn is_answered(&self) {
        let mut buffer = [0; 2048];
        self.socket.send(&buffer[..self.length]).unwrap();
        let heard = self.socket.recv(&mut buffer);
        let Self { from, length, .. } = self;
        assert_eq!(heard.ok(), Some(*length), "{length} bytes of {from}");
    }
}

fn forgotten(scene: &mut Scene) {
    let (mut early, mut clients) = (Vec::new(), Vec::new());
    for v6 in [false, true] {
        for from in [FRIEND, CAGED] {
            early.push(divided(scene, from, v6));
        }
        clients.push(Client::new(scene, FRIEND, WEB, v6, 100));
        // The flood's receiver has no room for parts of datagrams.
        clients.push(Client::new(scene, CAGED, PINGER, v6, 2000));
    }
    let mut sent: Vec<_> = early
        .iter()
        .map(|one| (scene.port(one.from), vec![one.frames[0].clone()]))
        .collect();
    sent.push((scene.port(PINGER), flood(scene)));
    thread::scope(|threads| {
        let flood = threads.spawn(|| send_from_one_cpu(&sent));
        while !flood.is_finished() {
            clients.iter().for_each(Client::is_answered);
        }
    });
    drop(clients);
    for one in &early {
        let denied = judged(one.from, Reason::UnseenFragment);
        let late = &one.frames[1..];
        let what = "the rest of a forgotten one";
        scene.frames_are_dropped(what, (one.from, WEB), late, &one.token, denied);
        scene.frames_pass("all of it again", one.from, WEB, &one.frames, &one.token);
    }
}
