//! How far a connection is, and who may say so: read from the flow tables of both its ends.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use policy_common::FlowState;
use policy_harness::{
    tracked,
    wire::transport::{self, flag},
};

use crate::{
    Case,
    Ways::{RoutedClsact, RoutedTcx},
    flows::{handshake, numbered},
    scene::{CAGED, SENDER, Scene, WEB},
};

pub(crate) const CASES: &[Case] = &[
    (
        "a connection is established when its opener acknowledges the answer's number, not before",
        acknowledged,
        RoutedTcx,
    ),
    (
        "a SYN and an acknowledgement of its own sender are no connection",
        unanswered,
        RoutedClsact,
    ),
    (
        "a reset with another number ends no idle connection, and the right one does",
        reset,
        RoutedTcx,
    ),
    (
        "a reset with another number opens no connection for the other side's SYN, and the right one does",
        reset_and_turned_round,
        RoutedClsact,
    ),
    (
        "a connection is over when both sides acknowledged the other's FIN, not before",
        finished,
        RoutedTcx,
    ),
    (
        "FINs that nobody acknowledges do not end a connection that goes on",
        forged_fins,
        RoutedClsact,
    ),
];

/// How long an entry may take to become what it must become.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The number of an answering side's SYN.
const ANSWER: u32 = 77_000;

/// A connection from a pod to the web server, of which both ends are crafted.
struct Crafted {
    from: &'static str,
    source: SocketAddr,
    to: SocketAddr,
}

impl Crafted {
    fn new(scene: &mut Scene, from: &'static str, v6: bool) -> Self {
        let (source, to) = scene.ends(from, WEB, v6, 80);
        Self { from, source, to }
    }

    /// With a whole handshake.
    fn established(scene: &mut Scene, from: &'static str, v6: bool) -> Self {
        let crafted = Self::new(scene, from, v6);
        handshake(scene, (from, WEB), (crafted.source, crafted.to));
        crafted.opener(scene, flag::ACK, (1001, 1001));
        crafted.becomes(scene, FlowState::PHASE_ESTABLISHED, "a whole handshake");
        crafted
    }

    /// A segment of the opener, which must arrive.
    fn opener(&self, scene: &mut Scene, flags: u8, numbers: (u32, u32)) -> u32 {
        let token = scene.token();
        let segment = numbered(flags, numbers, &token, self.source, self.to);
        scene.passes("of the opener", self.from, WEB, &segment, &token);
        u32::try_from(token.len()).unwrap()
    }

    /// A segment of the web server, which must arrive: how many bytes of data it has.
    fn answerer(&self, scene: &mut Scene, flags: u8, numbers: (u32, u32)) -> u32 {
        let token = scene.token();
        let segment = numbered(flags, numbers, &token, self.to, self.source);
        scene.passes("of the answerer", WEB, self.from, &segment, &token);
        u32::try_from(token.len()).unwrap()
    }

    /// The entries of the opener's pod and of the server's.
    fn states(&self, scene: &Scene) -> Vec<FlowState> {
        let all = tracked(scene.cluster.agent.pin_path()).unwrap();
        [(self.source, self.to), (self.to, self.source)]
            .iter()
            .filter_map(|(pod, peer)| {
                let mut own = all.iter().filter(|entry| {
                    (entry.protocol, entry.pod, entry.peer) == (transport::TCP, *pod, *peer)
                });
                own.next().map(|entry| entry.state)
            })
            .collect()
    }

    /// Whether both entries are in this phase, and say rightly who opened the connection.
    fn is(&self, scene: &Scene, phase: u8) -> bool {
        let states = self.states(scene);
        let openers = [FlowState::OPENED_BY_POD, FlowState::OPENED_BY_PEER];
        let are_right =
            |(state, opener): (&FlowState, _)| (state.phase, state.opener) == (phase, opener);
        states.len() == 2 && states.iter().zip(openers).all(are_right)
    }

    /// Both entries come to this phase.
    #[track_caller]
    fn becomes(&self, scene: &Scene, phase: u8, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is(scene, phase) {
            let states = self.states(scene);
            assert!(
                Instant::now() < deadline,
                "{what}: phase {phase} was to be, not {states:?}"
            );
            thread::sleep(LOOK);
        }
    }

    /// The same by segments without SYN, FIN and RST, which are sent until it is so: for up to a second they
    /// may ride on what a processor remembers of the established connection.
    #[track_caller]
    fn comes_by(&self, scene: &mut Scene, phase: u8, what: &str, send: impl Fn(&mut Scene)) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            send(scene);
            if self.is(scene, phase) {
                return;
            }
            let states = self.states(scene);
            assert!(
                Instant::now() < deadline,
                "{what}: phase {phase} was to be, not {states:?}"
            );
            thread::sleep(LOOK);
        }
    }

    /// An ordinary segment of each side.
    fn go_on(&self, scene: &mut Scene) {
        self.comes_by(scene, FlowState::PHASE_ESTABLISHED, "it goes on", |scene| {
            self.answerer(scene, flag::ACK, (1001, 1001));
            self.opener(scene, flag::ACK, (1001, 1001));
        });
    }
}

fn acknowledged(scene: &mut Scene) {
    for v6 in [false, true] {
        let open = Crafted::new(scene, CAGED, v6);
        open.opener(scene, flag::SYN, (1000, 0));
        open.becomes(scene, FlowState::PHASE_NEW, "a SYN");
        let data = open.answerer(scene, flag::SYN | flag::ACK, (ANSWER, 1001));
        open.becomes(scene, FlowState::PHASE_ANSWERED, "its answer");
        // What a sender writes who did not see the answer.
        let behind = ANSWER + 1 + data + 1;
        for wrong in [0, 1, 1001, ANSWER, behind, ANSWER + (1 << 31)] {
            open.opener(scene, flag::ACK, (1001, wrong));
            let what = format!("{wrong} acknowledged");
            open.becomes(scene, FlowState::PHASE_ANSWERED, &what);
        }
        open.opener(scene, flag::ACK, (1001, ANSWER + 1));
        open.becomes(scene, FlowState::PHASE_ESTABLISHED, "acknowledged");
    }
}

fn unanswered(scene: &mut Scene) {
    for v6 in [false, true] {
        let open = Crafted::new(scene, CAGED, v6);
        open.opener(scene, flag::SYN, (1000, 0));
        for number in [0, 1, 1000, 1001] {
            open.opener(scene, flag::ACK, (1001, number));
            open.becomes(scene, FlowState::PHASE_NEW, "no answer");
        }
    }
}

/// Resets of either side that its receiver does not expect: from what else may be guessed.
const FORGED: [u32; 4] = [0, 1000, 1002, 1001 + (1 << 31)];

fn reset(scene: &mut Scene) {
    for v6 in [false, true] {
        for by_opener in [true, false] {
            let open = Crafted::established(scene, CAGED, v6);
            let send = |scene: &mut Scene, flags, numbers| {
                if by_opener {
                    open.opener(scene, flags, numbers)
                } else {
                    open.answerer(scene, flags, numbers)
                }
            };
            for (number, flags) in FORGED
                .into_iter()
                .zip([flag::RST, flag::RST | flag::ACK].repeat(2))
            {
                send(scene, flags, (number, 1001));
                let what = format!("a reset with number {number}, of the opener: {by_opener}");
                open.becomes(scene, FlowState::PHASE_DOUBTFUL, &what);
                // Without the entry nothing would come back to a pod that is isolated both ways.
                open.go_on(scene);
            }
            send(scene, flag::RST, (1001, 0));
            open.becomes(scene, FlowState::PHASE_CLOSING, "the right number");
        }
    }
}

fn reset_and_turned_round(scene: &mut Scene) {
    for v6 in [false, true] {
        let open = Crafted::established(scene, SENDER, v6);
        for number in FORGED {
            open.answerer(scene, flag::RST, (number, 0));
            // Ingress of `sender` is free, so that the SYN passes by itself.
            open.answerer(scene, flag::SYN, (5000, 0));
            let what = format!("a SYN after a reset with number {number}");
            open.becomes(scene, FlowState::PHASE_DOUBTFUL, &what);
        }
        open.answerer(scene, flag::RST, (1001, 0));
        open.becomes(scene, FlowState::PHASE_CLOSING, "the right number");
        open.answerer(scene, flag::SYN, (5000, 0));
        let turned = Crafted {
            from: WEB,
            source: open.to,
            to: open.source,
        };
        turned.becomes(scene, FlowState::PHASE_NEW, "opened the other way");
    }
}

fn finished(scene: &mut Scene) {
    for v6 in [false, true] {
        let open = Crafted::established(scene, CAGED, v6);
        let own = 1001 + open.opener(scene, flag::FIN | flag::ACK, (1001, 1001)) + 1;
        open.becomes(scene, FlowState::PHASE_ESTABLISHED, "one FIN");
        let peer = 1001 + open.answerer(scene, flag::ACK, (1001, own));
        open.becomes(scene, FlowState::PHASE_ESTABLISHED, "half closed");
        let peer = peer + open.answerer(scene, flag::FIN | flag::ACK, (peer, own)) + 1;
        open.becomes(
            scene,
            FlowState::PHASE_DOUBTFUL,
            "both FINs, one acknowledged",
        );
        open.comes_by(
            scene,
            FlowState::PHASE_CLOSING,
            "both acknowledged",
            |scene| {
                open.opener(scene, flag::ACK, (own, peer));
            },
        );
    }
}

fn forged_fins(scene: &mut Scene) {
    for v6 in [false, true] {
        let open = Crafted::established(scene, CAGED, v6);
        open.opener(scene, flag::FIN | flag::ACK, (900_000, 1001));
        open.answerer(scene, flag::FIN | flag::ACK, (900_000, 1001));
        open.becomes(
            scene,
            FlowState::PHASE_DOUBTFUL,
            "FINs that nobody acknowledged",
        );
        // Data behind what they say is the end: they were forged.
        open.comes_by(scene, FlowState::PHASE_ESTABLISHED, "it goes on", |scene| {
            open.answerer(scene, flag::ACK, (3_000_000, 1001));
            open.opener(scene, flag::ACK, (3_000_000, 1001));
        });
    }
}
