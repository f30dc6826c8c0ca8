//! Solicitations and advertisements of neighbours (RFC 4861, 4.1, 4.3, 4.4) that say what they must
//! and have no room for more.

use super::{
    Bytes,
    icmp::{V6_NEIGHBOUR_ADVERTISEMENT, V6_NEIGHBOUR_SOLICITATION, V6_ROUTER_SOLICITATION},
};

/// What a message has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// More than it must say, or something else.
    Loose,
    /// What it must say.
    Exact,
    /// The same, but about another link-layer address than the frame's own.
    OfAnother,
}

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// RFC 7527: detection of a duplicate that is an echo of one's own.
const NONCE: u8 = 14;
const OPTION: usize = 8;

/// The form of the message that fills the bytes from `at` to `end`. `asks_first` says that it has no
/// source: its sender does not know yet whether it may use its address.
#[inline(always)]
pub fn form<B: Bytes + ?Sized>(
    frame: &B,
    at: usize,
    end: usize,
    kind: u8,
    asks_first: bool,
) -> Form {
    let (fixed, option) = match kind {
        V6_ROUTER_SOLICITATION => (8, SOURCE_LINK_ADDRESS),
        V6_NEIGHBOUR_SOLICITATION if asks_first => (24, NONCE),
        V6_NEIGHBOUR_SOLICITATION => (24, SOURCE_LINK_ADDRESS),
        V6_NEIGHBOUR_ADVERTISEMENT => (24, TARGET_LINK_ADDRESS),
        _ => return Form::Loose,
    };
    // Router, solicited, override; everything else is reserved.
    let flags = if kind == V6_NEIGHBOUR_ADVERTISEMENT {
        0xe0
    } else {
        0
    };
    let Some([_, code, _, _, first, b, c, d]) = frame.bytes(at) else {
        return Form::Loose;
    };
    if code | first & !flags | b | c | d != 0 || end != frame.length() {
        return Form::Loose;
    }
    if at + fixed == end {
        return Form::Exact;
    }
    if at + fixed + OPTION != end {
        return Form::Loose;
    }
    let (Some([this, units]), Some(address), Some(own)) = (
        frame.bytes(at + fixed),
        frame.bytes::<6>(at + fixed + 2),
        frame.bytes::<6>(6),
    ) else {
        return Form::Loose;
    };
    if this != option || units != 1 {
        Form::Loose
    } else if this == NONCE || address == own {
        Form::Exact
    } else {
        Form::OfAnother
    }
}
