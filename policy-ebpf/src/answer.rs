//! What the rules say of a packet: from what this processor remembers, else from the tables.
//!
//! Invariant: an answer is remembered only if it depends on nothing but its question.

use policy_common::{Direction, IdentityId};

use crate::{
    case::Case,
    family::Family,
    lookup::Tables,
    packet::Bytes,
    question::{Answer, Question},
    rules::{ask_as_opened, identify, is_isolated},
};

/// What the rules say of a connection opened in `direction`. `is_first`: the packet opens it, so
/// where the packet came from counts.
#[inline(always)]
pub(crate) fn answer<F: Family, W: Tables<F>, B: ?Sized + Bytes>(
    world: &W,
    case: &Case<'_, F, B>,
    direction: Direction,
    is_first: bool,
) -> Answer {
    let peer = case.peer();
    let port = case.judged_port(direction);
    let question = Question {
        endpoint: case.endpoint.id,
        direction,
        protocol: case.segment.protocol(),
        port,
        peer,
    };
    let version = world.version();
    // What the endpoint says to itself, and what a neighbour says, depends on more than the question.
    let is_plain = peer != F::of(case.endpoint) && !peer.is_link_local() && version != 0;
    if is_plain && let Some(answer) = world.known_answer(&question, version) {
        return answer;
    }
    let answer = consult(world, case, direction, is_first);
    if is_plain {
        world.know_answer(&question, version, answer);
    }
    answer
}

/// As [`answer`], from the tables.
#[inline(always)]
fn consult<F: Family, W: Tables<F>, B: ?Sized + Bytes>(
    world: &W,
    case: &Case<'_, F, B>,
    direction: Direction,
    is_first: bool,
) -> Answer {
    let came_by = if is_first { case.ingress_ifindex } else { 0 };
    let identity = identify(
        world,
        case.endpoint,
        direction,
        came_by,
        case.neighbour,
        case.peer(),
        true,
    );
    let answer = ask_as_opened(
        world,
        case.endpoint,
        direction,
        identity,
        case.segment.protocol(),
        case.judged_port(direction),
    );
    // What goes to this host or to a Service may be translated to somebody whom the rules do not allow.
    const { assert!(IdentityId::HOST.0 | 2 == IdentityId::SERVICE.0 && IdentityId::SELF.0 | 2 == 2) };
    let may_be_translated = matches!(direction, Direction::Egress)
        && answer.identity().0 | 2 == IdentityId::SERVICE.0
        && is_isolated(case.endpoint, direction);
    if may_be_translated {
        answer.owed()
    } else {
        answer
    }
}
