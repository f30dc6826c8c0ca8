//! ICMP and ICMPv6 message types (RFC 792, RFC 4443, RFC 4861, RFC 3810).

use super::protocol;

/// IPv4 redirect.
pub const REDIRECT: u8 = 5;
/// IPv4 router advertisement (RFC 1256).
pub const ROUTER_ADVERTISEMENT: u8 = 9;
/// IPv6 router solicitation.
pub const V6_ROUTER_SOLICITATION: u8 = 133;
/// IPv6 router advertisement.
pub const V6_ROUTER_ADVERTISEMENT: u8 = 134;
/// IPv6 neighbour solicitation.
pub const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
/// IPv6 neighbour advertisement.
pub const V6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// IPv6 redirect.
pub const V6_REDIRECT: u8 = 137;

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// An echo request.
#[inline(always)]
pub const fn is_echo_request(number: u8, kind: u8) -> bool {
    matches!(
        (number, kind),
        (protocol::ICMP, ECHO) | (protocol::ICMPV6, V6_ECHO)
    )
}

/// An echo request or reply.
#[inline(always)]
pub const fn is_echo(number: u8, kind: u8) -> bool {
    is_echo_request(number, kind)
        || matches!(
            (number, kind),
            (protocol::ICMP, ECHO_REPLY) | (protocol::ICMPV6, V6_ECHO_REPLY)
        )
}

/// A message that quotes the packet it is about: destination unreachable, time exceeded,
/// parameter problem, packet too big.
#[inline(always)]
pub const fn is_error(number: u8, kind: u8) -> bool {
    match number {
        protocol::ICMP => matches!(kind, 3 | 11 | 12),
        _ => matches!(kind, 1..=4),
    }
}

/// Neighbour discovery.
#[inline(always)]
pub const fn is_neighbour_discovery(kind: u8) -> bool {
    matches!(kind, V6_ROUTER_SOLICITATION..=V6_REDIRECT)
}

/// Multicast listener discovery, versions 1 and 2.
#[inline(always)]
pub const fn is_listener_discovery(kind: u8) -> bool {
    matches!(kind, 130..=132 | 143)
}

/// What only routers send.
#[inline(always)]
pub const fn is_router_message(number: u8, kind: u8) -> bool {
    match number {
        protocol::ICMP => matches!(kind, REDIRECT | ROUTER_ADVERTISEMENT),
        _ => matches!(kind, V6_ROUTER_ADVERTISEMENT | V6_REDIRECT),
    }
}
