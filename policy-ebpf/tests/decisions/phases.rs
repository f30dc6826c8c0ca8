//! TCP's and SCTP's phases: what establishes a connection, and what ends it.

use policy_common::{
    Flow, FlowState,
    Reason::{self, Allowed, Flow as Rides, Policy},
};

use crate::{
    frames::{ACK, FIN, RST, SCTP, SYN, TCP, ip, sctp_at, tcp_at},
    node::{FRIEND, Node, OWN},
};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Opener,
    Answering,
}
use Who::{Answering, Opener};

/// Initial sequence numbers of both sides.
const ASKS: u32 = 0xffff_fff0;
const ANSWERS: u32 = 0x1234_5678;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// One connection between the pod and a friend, over either family, opened by either.
struct Talk {
    node: Node,
    family: usize,
    is_pods: bool,
}

impl Talk {
    fn tcp(&self, who: Who, flags: u8, sequence: u32, acknowledged: u32, length: usize) -> Reason {
        let (source, destination) = match who {
            Opener => (4000, 80),
            Answering => (80, 4000),
        };
        let segment = tcp_at(source, destination, flags, sequence, acknowledged, length);
        self.carries(who, TCP, &segment)
    }

    fn carries(&self, who: Who, protocol: u8, segment: &[u8]) -> Reason {
        let (own, friend) = (OWN[self.family], FRIEND[self.family]);
        if (who == Opener) == self.is_pods {
            self.node.sends(&ip(own, friend, protocol, segment))
        } else {
            self.node.receives(&ip(friend, own, protocol, segment))
        }
    }

    fn flow(&self) -> Flow {
        let (v4, v6) = (
            self.node.world.flows_v4.borrow(),
            self.node.world.flows_v6.borrow(),
        );
        assert_eq!(v4.len() + v6.len(), 1);
        *v4.values().chain(v6.values()).next().expect("a flow")
    }

    fn phase(&self) -> u8 {
        self.flow().state.phase
    }

    fn syn(&self) {
        assert_eq!(self.tcp(Opener, SYN, ASKS, 0, 0), Allowed);
    }

    fn syn_ack(&self) {
        let rides = self.tcp(Answering, SYN | ACK, ANSWERS, ASKS.wrapping_add(1), 0);
        assert_eq!(rides, Rides);
    }

    /// An ordinary segment: so far behind the handshake.
    fn says(&self, who: Who, flags: u8, own: u32, others: u32, length: usize) {
        let (sequence, acknowledged) = match who {
            Opener => (ASKS, ANSWERS),
            Answering => (ANSWERS, ASKS),
        };
        let sequence = sequence.wrapping_add(1 + own);
        let acknowledged = acknowledged.wrapping_add(1 + others);
        let rides = self.tcp(who, flags | ACK, sequence, acknowledged, length);
        assert_eq!(rides, Rides);
    }

    fn established(&self) {
        self.syn();
        self.syn_ack();
        self.says(Opener, 0, 0, 0, 0);
        assert_eq!(self.phase(), FlowState::PHASE_ESTABLISHED);
    }

    /// Whether the entry still lives after so many seconds without a packet.
    fn lives_after(&self, seconds: u32) -> bool {
        self.node.world.pass(seconds);
        // No rule of the answering direction allows the segment: only the flow does.
        let flow = self.flow();
        !policy_ebpf::flows::life::is_expired(
            &flow,
            TCP,
            self.node.world.now.get(),
            self.node.world.config.hz,
        )
    }
}

/// Every family and opener.
fn talks() -> impl Iterator<Item = Talk> {
    [(0, true), (0, false), (1, true), (1, false)]
        .map(|(family, is_pods)| Talk {
            node: Node::new(),
            family,
            is_pods,
        })
        .into_iter()
}

#[test]
fn a_connection_is_established_when_its_opener_acknowledges_the_answers_number() {
    for talk in talks() {
        talk.syn();
        assert_eq!(talk.phase(), FlowState::PHASE_NEW);
        talk.syn_ack();
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        talk.says(Opener, 0, 0, 0, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
        assert!(talk.lives_after(24 * 3600));
    }
}

#[test]
fn what_was_answered_and_not_acknowledged_lives_for_a_minute() {
    for talk in talks() {
        talk.syn();
        talk.syn_ack();
        assert!(talk.lives_after(60));
        assert!(!talk.lives_after(1));
    }
}

#[test]
fn an_acknowledgement_of_another_number_confirms_nothing() {
    for talk in talks() {
        talk.syn();
        talk.syn_ack();
        for wrong in [0, 1, ANSWERS, ANSWERS + 2, ANSWERS + 1000, !ANSWERS, ASKS] {
            let rides = talk.tcp(Opener, ACK, ASKS.wrapping_add(1), wrong, 0);
            assert_eq!(rides, Rides);
            assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED, "{wrong:#x}");
        }
        // The right number without the flag means nothing.
        let _ = talk.tcp(Opener, 0x08, ASKS.wrapping_add(1), ANSWERS + 1, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        talk.says(Opener, 0, 0, 0, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn an_acknowledgement_before_the_answer_confirms_nothing() {
    for talk in talks() {
        talk.syn();
        for number in [0, 1, ANSWERS + 1] {
            let _ = talk.tcp(Opener, ACK, ASKS.wrapping_add(1), number, 0);
        }
        assert_eq!(talk.phase(), FlowState::PHASE_NEW);
    }
}

#[test]
fn data_with_the_first_acknowledgement_confirms_too() {
    for talk in talks() {
        talk.syn();
        talk.syn_ack();
        talk.says(Opener, 0x08, 0, 0, 500);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn a_syn_and_an_answer_with_ecn_are_a_syn_and_an_answer() {
    for talk in talks() {
        assert_eq!(talk.tcp(Opener, SYN | ECE | CWR, ASKS, 0, 0), Allowed);
        let number = ASKS.wrapping_add(1);
        assert_eq!(
            talk.tcp(Answering, SYN | ACK | ECE, ANSWERS, number, 0),
            Rides
        );
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        talk.says(Opener, CWR, 0, 0, 1);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn of_two_answers_either_may_be_acknowledged() {
    for confirmed in [ANSWERS, 0x9999_0000] {
        for talk in talks() {
            talk.syn();
            talk.syn_ack();
            talk.syn();
            let rides = talk.tcp(Answering, SYN | ACK, 0x9999_0000, ASKS.wrapping_add(1), 0);
            assert_eq!(rides, Rides);
            // A third time the first one.
            talk.syn_ack();
            assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
            let _ = talk.tcp(Opener, ACK, ASKS.wrapping_add(1), confirmed + 2, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
            let _ = talk.tcp(Opener, ACK, ASKS.wrapping_add(1), confirmed + 1, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
        }
    }
}

#[test]
fn an_answer_that_is_repeated_changes_nothing() {
    for talk in talks() {
        talk.syn();
        talk.syn_ack();
        let before = talk.flow();
        talk.syn_ack();
        talk.syn();
        assert_eq!(talk.flow(), before);
    }
}

#[test]
fn with_fast_open_data_flows_before_the_first_acknowledgement() {
    for talk in talks() {
        assert_eq!(talk.tcp(Opener, SYN, ASKS, 0, 600), Allowed);
        let number = ASKS.wrapping_add(601);
        assert_eq!(talk.tcp(Answering, SYN | ACK, ANSWERS, number, 0), Rides);
        talk.says(Answering, 0, 0, 600, 1400);
        talk.says(Answering, 0, 1400, 600, 1400);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        let beyond = ANSWERS + 1 + 2801;
        let _ = talk.tcp(Opener, ACK, number, beyond, 0);
        assert_eq!(
            talk.phase(),
            FlowState::PHASE_ANSWERED,
            "more than was sent"
        );
        talk.says(Opener, 0, 600, 2800, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn both_sides_may_open_at_once() {
    for talk in talks() {
        talk.syn();
        assert_eq!(talk.tcp(Answering, SYN, ANSWERS, 0, 0), Allowed);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        let _ = talk.tcp(Opener, SYN | ACK, ASKS, ANSWERS + 1, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
        talk.syn_ack();
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn a_connection_of_which_only_the_syn_was_seen_is_found_again_by_its_numbers() {
    for talk in talks() {
        talk.syn();
        talk.says(Answering, 0, 7_000, 300, 20);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        talk.says(Opener, 0, 300, 6_999, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        talk.says(Opener, 0, 300, 7_020, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}

#[test]
fn a_refusal_leaves_the_tuple_to_the_next_attempt() {
    for talk in talks() {
        talk.syn();
        assert_eq!(
            talk.tcp(Answering, RST | ACK, 0, ASKS.wrapping_add(1), 0),
            Rides
        );
        assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
        talk.established();
    }
}

#[test]
fn a_reset_within_the_handshake_never_leads_past_it() {
    for talk in talks() {
        for answered in [false, true] {
            talk.syn();
            if answered {
                talk.syn_ack();
            }
            let _ = talk.tcp(Opener, RST, ASKS.wrapping_add(1), 0, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
            let _ = talk.tcp(Opener, ACK, ASKS.wrapping_add(1), 0x5555, 0);
            let expected = if answered {
                FlowState::PHASE_ANSWERED
            } else {
                FlowState::PHASE_NEW
            };
            assert_eq!(talk.phase(), expected);
            talk.syn_ack();
            talk.says(Opener, 0, 0, 0, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED, "it was forged");
            // The connection ends, and the tuple is used again.
            let _ = talk.tcp(Opener, RST, ASKS.wrapping_add(1), 0, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
        }
    }
}

#[test]
fn a_reset_with_the_number_that_its_receiver_expects_ends_the_connection() {
    for who in [Opener, Answering] {
        for talk in talks() {
            talk.established();
            let number = if who == Opener { ASKS } else { ANSWERS };
            let _ = talk.tcp(who, RST, number.wrapping_add(1), 0, 0);
            assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
            assert!(!talk.lives_after(61));
        }
    }
}

#[test]
fn a_reset_that_may_be_forged_leaves_the_connection_ten_minutes() {
    for who in [Opener, Answering] {
        for talk in talks() {
            talk.established();
            for number in [0, 1, ASKS, ANSWERS, 77] {
                let _ = talk.tcp(who, RST | ACK, number, 0, 0);
                assert_eq!(talk.phase(), FlowState::PHASE_DOUBTFUL);
            }
            assert!(talk.lives_after(600));
            talk.says(Answering, 0, 0, 0, 10);
            assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED, "it was forged");
            let _ = talk.tcp(who, RST, 9, 0, 0);
            assert!(!talk.lives_after(601));
        }
    }
}

#[test]
fn a_syn_after_a_doubtful_reset_proves_neither_end_nor_life() {
    for talk in talks() {
        talk.established();
        let _ = talk.tcp(Opener, RST, 9, 0, 0);
        let before = talk.flow();
        assert_eq!(talk.tcp(Opener, SYN, 500, 0, 0), Allowed);
        assert_eq!(talk.tcp(Answering, SYN, 500, 0, 0), Allowed);
        assert_eq!(talk.flow().state, before.state);
        // The opener's number of the SYN is no number that a reset may have.
        let _ = talk.tcp(Opener, RST, 501, 0, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_DOUBTFUL);
    }
}

#[test]
fn a_connection_is_closed_when_both_fins_are_acknowledged() {
    for talk in talks() {
        talk.established();
        talk.says(Opener, FIN, 0, 0, 30);
        talk.says(Answering, 0, 0, 31, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED, "half closed");
        talk.says(Answering, 0, 0, 31, 1000);
        talk.says(Opener, 0, 31, 1000, 0);
        talk.says(Answering, FIN, 1000, 31, 0);
        assert_eq!(
            talk.phase(),
            FlowState::PHASE_DOUBTFUL,
            "the last one may be lost"
        );
        talk.says(Opener, 0, 31, 1001, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
        // Again the last FIN, and its acknowledgement.
        talk.says(Answering, FIN, 1000, 31, 0);
        talk.says(Opener, 0, 31, 1001, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
        // The tuple is used again.
        assert_eq!(talk.tcp(Opener, SYN, 77, 0, 0), Allowed);
        assert_eq!(talk.phase(), FlowState::PHASE_NEW);
    }
}

#[test]
fn both_sides_may_close_at_once() {
    for talk in talks() {
        talk.established();
        talk.says(Opener, FIN, 0, 0, 0);
        talk.says(Answering, FIN, 0, 0, 0);
        talk.says(Opener, 0, 1, 1, 0);
        talk.says(Answering, 0, 1, 1, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
    }
}

#[test]
fn fins_that_may_be_forged_end_nothing_within_ten_minutes() {
    for talk in talks() {
        talk.established();
        // The answering side closes its half, and means it.
        talk.says(Answering, FIN, 0, 0, 0);
        talk.says(Opener, 0, 0, 1, 0);
        // Somebody closes the other half.
        let _ = talk.tcp(Opener, FIN | ACK, 0x4444_0000, 0x1111, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_DOUBTFUL);
        assert!(talk.lives_after(600));
        talk.says(Opener, 0, 0, 1, 20);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED, "it goes on");
        talk.says(Answering, 0, 1, 20, 0);
        talk.says(Opener, FIN, 20, 1, 0);
        talk.says(Answering, 0, 1, 21, 0);
        assert_eq!(talk.phase(), FlowState::PHASE_CLOSING);
    }
}

#[test]
fn a_segment_in_the_middle_makes_no_flow() {
    for talk in talks() {
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, SYN | FIN] {
            let reason = talk.tcp(Opener, flags, 5, 5, 10);
            assert!(matches!(reason, Allowed | Policy), "{reason:?}");
            assert_eq!(talk.node.world.flows(), 0, "flags {flags:#x}");
        }
    }
}

#[test]
fn an_association_is_established_when_its_opener_shows_the_answers_tag() {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const COOKIE_ECHO: u8 = 10;
    for talk in talks() {
        let sends = |who, chunk, tag: u32, initiate: u32| {
            let (source, destination) = match who {
                Opener => (4000, 80),
                Answering => (80, 4000),
            };
            talk.carries(
                who,
                SCTP,
                &sctp_at(source, destination, chunk, tag, initiate),
            )
        };
        assert_eq!(sends(Opener, INIT, 0, 0x1111), Allowed);
        assert_eq!(sends(Answering, INIT_ACK, 0x1111, 0x2222), Rides);
        assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED);
        for wrong in [0, 1, 0x1111, 0x2223] {
            assert_eq!(sends(Opener, COOKIE_ECHO, wrong, 0), Rides);
            assert_eq!(talk.phase(), FlowState::PHASE_ANSWERED, "{wrong:#x}");
        }
        assert_eq!(sends(Opener, COOKIE_ECHO, 0x2222, 0), Rides);
        assert_eq!(talk.phase(), FlowState::PHASE_ESTABLISHED);
    }
}
