//! The connections that the kernel tracks in this network namespace (nf_conntrack), read over ctnetlink.
//!
//! Knows neither pods nor flows. What a newer kernel writes otherwise counts as absent: a connection that
//! cannot be read is not in the answer. Numbers are those of linux/netfilter/nfnetlink_conntrack.h,
//! nf_conntrack_common.h, nf_conntrack_tcp.h and nf_conntrack_sctp.h.

use std::net::{IpAddr, SocketAddr};

use super::{
    error::NetlinkError,
    message::{Message, attributes, port},
    socket::Requests,
};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET`.
const GET: libc::c_int = libc::NFNL_SUBSYS_CTNETLINK << 8 | 1;
/// `struct nfgenmsg` of a request for all families.
const ALL_FAMILIES: [u8; 4] = [0; 4];

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_SCTP: u16 = 3;
const CTA_PROTOINFO_STATE: u16 = 1;
const CTA_PROTOINFO_SCTP_VTAG_ORIGINAL: u16 = 2;
const CTA_PROTOINFO_SCTP_VTAG_REPLY: u16 = 3;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
const IPS_DYING: u32 = 1 << 9;

const TCP_CONNTRACK_SYN_SENT: u8 = 1;
const TCP_CONNTRACK_SYN_RECV: u8 = 2;
const TCP_CONNTRACK_ESTABLISHED: u8 = 3;
const TCP_CONNTRACK_FIN_WAIT: u8 = 4;
const TCP_CONNTRACK_CLOSE_WAIT: u8 = 5;
const TCP_CONNTRACK_LAST_ACK: u8 = 6;
const TCP_CONNTRACK_SYN_SENT2: u8 = 9;

const SCTP_CONNTRACK_COOKIE_WAIT: u8 = 2;
const SCTP_CONNTRACK_COOKIE_ECHOED: u8 = 3;
const SCTP_CONNTRACK_ESTABLISHED: u8 = 4;

const IP_CT_TCP_FLAG_WINDOW_SCALE: u8 = 1;
const IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 8;

const TCP: u8 = 6;
const SCTP: u8 = 132;

/// The addresses and ports of one direction, as packets of that direction carry them where they arrive;
/// protocols without ports have 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    /// Whoever sends.
    pub(crate) source: SocketAddr,
    /// Whom it is sent to.
    pub(crate) destination: SocketAddr,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its opener sent something.
    Opened,
    /// Packets of both sides were seen; of a connection with a handshake, all of that.
    Established,
    /// One side or both said that they are done.
    Ending,
}

/// One connection that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// As its opener sends.
    pub(crate) original: Tuple,
    /// As the other side answers: not the reverse, where addresses are translated.
    pub(crate) reply: Tuple,
    /// How far it has come.
    pub(crate) progress: Progress,
    /// Packets of both sides were seen for longer than a question and its answer take.
    pub(crate) assured: bool,
    /// Its beginning was not seen: whose packet came first says nothing about who opened it.
    pub(crate) picked_up: bool,
    /// SCTP: the verification tags of packets of the opener and of answers.
    pub(crate) tags: (u32, u32),
}

/// Those connections that are tracked in this thread's network namespace, in the default zone, not over
/// and `wanted`.
///
/// # Errors
/// The kernel's reason: it has no connection tracking, or refuses. Needs `CAP_NET_ADMIN`.
pub(crate) fn tracked(wanted: impl Fn(&Tracked) -> bool) -> Result<Vec<Tracked>, NetlinkError> {
    let mut requests = Requests::open(rtnetlink::sys::protocols::NETLINK_NETFILTER)?;
    requests
        .dump(GET, &ALL_FAMILIES, |message| {
            decode(message).filter(&wanted)
        })
        .map_err(|source| NetlinkError::Request {
            what: "tracked connections",
            source,
        })
}

fn decode(message: &Message<'_>) -> Option<Tracked> {
    let (mut original, mut reply, mut status) = (None, None, None);
    let mut protocol_info: &[u8] = &[];
    for (kind, value) in attributes(message.payload, ALL_FAMILIES.len()) {
        match kind {
            CTA_TUPLE_ORIG => original = tuple(value),
            CTA_TUPLE_REPLY => reply = tuple(value),
            CTA_STATUS => status = number(value),
            CTA_PROTOINFO => protocol_info = value,
            CTA_ZONE => return None,
            _ => {}
        }
    }
    let ((protocol, original), (_, reply), status) = (original?, reply?, status?);
    if status & IPS_DYING != 0 {
        return None;
    }
    let mut tracked = Tracked {
        protocol,
        original,
        reply,
        progress: if status & IPS_SEEN_REPLY == 0 {
            Progress::Opened
        } else {
            Progress::Established
        },
        assured: status & IPS_ASSURED != 0,
        picked_up: false,
        tags: (0, 0),
    };
    match protocol {
        TCP => of_tcp(&mut tracked, nested(protocol_info, CTA_PROTOINFO_TCP)?)?,
        SCTP => of_sctp(&mut tracked, nested(protocol_info, CTA_PROTOINFO_SCTP)?)?,
        _ => {}
    }
    Some(tracked)
}

fn of_tcp(tracked: &mut Tracked, info: &[u8]) -> Option<()> {
    const ASKED: u8 = IP_CT_TCP_FLAG_BE_LIBERAL | IP_CT_TCP_FLAG_WINDOW_SCALE;
    let (mut state, mut original, mut reply) = (None, 0, 0);
    for (kind, value) in attributes(info, 0) {
        // The flags are followed by a mask, which counts in requests only.
        let first = value.first().copied();
        match kind {
            CTA_PROTOINFO_STATE => state = first,
            CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => original = first?,
            CTA_PROTOINFO_TCP_FLAGS_REPLY => reply = first?,
            _ => {}
        }
    }
    tracked.progress = match state? {
        TCP_CONNTRACK_SYN_SENT | TCP_CONNTRACK_SYN_RECV | TCP_CONNTRACK_SYN_SENT2 => {
            Progress::Opened
        }
        TCP_CONNTRACK_ESTABLISHED => Progress::Established,
        TCP_CONNTRACK_FIN_WAIT | TCP_CONNTRACK_CLOSE_WAIT | TCP_CONNTRACK_LAST_ACK => {
            Progress::Ending
        }
        _ => return None,
    };
    // A connection that is handed to a flow table is liberal too, but its SYNs were seen.
    tracked.picked_up = [original, reply]
        .iter()
        .all(|flags| flags & ASKED == IP_CT_TCP_FLAG_BE_LIBERAL);
    Some(())
}

fn of_sctp(tracked: &mut Tracked, info: &[u8]) -> Option<()> {
    let mut state = None;
    for (kind, value) in attributes(info, 0) {
        match kind {
            CTA_PROTOINFO_STATE => state = value.first().copied(),
            CTA_PROTOINFO_SCTP_VTAG_ORIGINAL => tracked.tags.0 = number(value)?,
            CTA_PROTOINFO_SCTP_VTAG_REPLY => tracked.tags.1 = number(value)?,
            _ => {}
        }
    }
    tracked.progress = match state? {
        SCTP_CONNTRACK_COOKIE_WAIT | SCTP_CONNTRACK_COOKIE_ECHOED => Progress::Opened,
        SCTP_CONNTRACK_ESTABLISHED => Progress::Established,
        _ => return None,
    };
    Some(())
}

/// Protocol and ends of one direction; `None` also in another zone than the default one.
fn tuple(value: &[u8]) -> Option<(u8, Tuple)> {
    let (mut source, mut destination, mut protocol) = (None, None, None);
    let (mut source_port, mut destination_port) = (0, 0);
    for (kind, value) in attributes(value, 0) {
        match kind {
            CTA_TUPLE_IP => {
                for (kind, value) in attributes(value, 0) {
                    match kind {
                        CTA_IP_V4_SRC | CTA_IP_V6_SRC => source = address(value),
                        CTA_IP_V4_DST | CTA_IP_V6_DST => destination = address(value),
                        _ => {}
                    }
                }
            }
            CTA_TUPLE_PROTO => {
                for (kind, value) in attributes(value, 0) {
                    match kind {
                        CTA_PROTO_NUM => protocol = value.first().copied(),
                        CTA_PROTO_SRC_PORT => source_port = port(value)?,
                        CTA_PROTO_DST_PORT => destination_port = port(value)?,
                        _ => {}
                    }
                }
            }
            CTA_TUPLE_ZONE => return None,
            _ => {}
        }
    }
    let tuple = Tuple {
        source: SocketAddr::new(source?, source_port),
        destination: SocketAddr::new(destination?, destination_port),
    };
    Some((protocol?, tuple))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A number in network byte order.
fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn nested(value: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(value, 0).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

#[cfg(test)]
mod tests;
