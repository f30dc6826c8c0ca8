//! TCP's phases: what ends a connection, and what only seems to.

use policy_common::{
    FlowState,
    Reason::{Allowed, Flow as Rides},
};

use crate::{
    frames::{ACK, FIN, RST, SYN},
    talk::{ANSWERS, ASKS, Answering, Opener, talks},
};

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
