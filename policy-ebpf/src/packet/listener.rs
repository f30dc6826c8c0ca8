//! What hosts and routers say about multicast groups: IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710,
//! 3810). Every message that is read here is well formed and short, and names groups only: sources that a
//! host wants or not are sixteen bytes of its choice each, so that a report that has some is ordinary traffic.

use super::Bytes;

/// Records of a report, and sources of a query: a host on a pod's link has few.
const MOST: usize = 8;

/// IGMP types: query, and reports and leaves of versions 1 and 2, and of version 3.
const IGMP_QUERY: u8 = 0x11;
const IGMP_REPORTS: [u8; 3] = [0x12, 0x16, 0x17];
const IGMP_REPORT_3: u8 = 0x22;

/// MLD types.
const MLD_QUERY: u8 = 130;
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const MLD_REPORT_2: u8 = 143;

/// What a message about groups is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// None, or one that could carry something else.
    Other,
    /// A router's question.
    Query,
    /// A host's report.
    Report,
}

/// Reads IGMP from `at` to `end`.
#[inline(always)]
pub fn igmp<B: Bytes + ?Sized>(frame: &B, at: usize, end: usize) -> Message {
    let Some([kind]) = frame.bytes::<1>(at) else {
        return Message::Other;
    };
    if kind == IGMP_QUERY {
        query::<4, B>(frame, end, at + 4)
    } else if kind == IGMP_REPORT_3 {
        reports::<4, B>(frame, at, end)
    } else if kind == IGMP_REPORTS[0] || kind == IGMP_REPORTS[1] || kind == IGMP_REPORTS[2] {
        let Some([_, delay, ..]) = frame.bytes::<4>(at) else {
            return Message::Other;
        };
        one_group::<4, B>(frame, at + 4, end, delay == 0)
    } else {
        Message::Other
    }
}

/// Reads MLD of a type from `at` to `end`.
#[inline(always)]
pub fn mld<B: Bytes + ?Sized>(frame: &B, at: usize, end: usize, kind: u8) -> Message {
    match kind {
        MLD_QUERY => query::<16, B>(frame, end, at + 8),
        MLD_REPORT_2 => reports::<16, B>(frame, at, end),
        MLD_REPORT | MLD_DONE => {
            let Some([_, code, _, _, a, b, c, d]) = frame.bytes(at) else {
                return Message::Other;
            };
            one_group::<16, B>(frame, at + 8, end, code | a | b | c | d == 0)
        }
        _ => Message::Other,
    }
}

/// A report about the group at the end of a message, whose other fields mean nothing in a report.
#[inline(always)]
fn one_group<const A: usize, B: Bytes + ?Sized>(
    frame: &B,
    group: usize,
    end: usize,
    is_blank: bool,
) -> Message {
    if is_blank && group + A == end && is_group::<A, B>(frame, group) {
        Message::Report
    } else {
        Message::Other
    }
}

/// A query about all groups, one group, or sources of one.
#[inline(always)]
fn query<const A: usize, B: Bytes + ?Sized>(frame: &B, end: usize, group: usize) -> Message {
    let about_all = frame.bytes::<A>(group).is_some_and(|all| all == [0; A]);
    if !about_all && !is_group::<A, B>(frame, group) {
        return Message::Other;
    }
    if group + A == end {
        return Message::Query;
    }
    let Some(sources) = frame.bytes(group + A + 2).map(u16::from_be_bytes) else {
        return Message::Other;
    };
    let sources = usize::from(sources);
    if sources <= MOST && group + A + 4 + sources * A == end {
        Message::Query
    } else {
        Message::Other
    }
}

/// A report of many records: which groups a host is in, and which it left.
#[inline(always)]
fn reports<const A: usize, B: Bytes + ?Sized>(frame: &B, at: usize, end: usize) -> Message {
    let Some([_, reserved, _, _, more, reserved_too, many, count]) = frame.bytes(at) else {
        return Message::Other;
    };
    let count = usize::from(count);
    let is_whole = count <= MOST && at + 8 + count * (4 + A) == end;
    if !is_whole || reserved | more | reserved_too | many != 0 {
        return Message::Other;
    }
    for record in 0..MOST {
        if record >= count {
            break;
        }
        let next = at + 8 + record * (4 + A);
        let Some([kind, auxiliary, many, sources]) = frame.bytes(next) else {
            return Message::Other;
        };
        // Without sources the other kinds say nothing.
        let says_which = matches!(kind, 2..=4) && auxiliary | many | sources == 0;
        if !says_which || !is_group::<A, B>(frame, next + 4) {
            return Message::Other;
        }
    }
    Message::Report
}

/// Whether a multicast address stands here.
#[inline(always)]
fn is_group<const A: usize, B: Bytes + ?Sized>(frame: &B, at: usize) -> bool {
    let [first] = frame.bytes::<1>(at).unwrap_or([0]);
    if A == 4 {
        first & 0xf0 == 0xe0
    } else {
        first == 0xff
    }
}
