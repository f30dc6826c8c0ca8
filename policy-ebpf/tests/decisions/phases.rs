//! TCP's and SCTP's phases: what establishes a connection.

use policy_common::{
    FlowState,
    Reason::{Allowed, Flow as Rides, Policy},
};

use crate::{
    frames::{ACK, FIN, RST, SCTP, SYN, sctp_at},
    talk::{ANSWERS, ASKS, Answering, Opener, talks},
};

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

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
