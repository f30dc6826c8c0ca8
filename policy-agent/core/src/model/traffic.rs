//! Sets of what a connection may be: protocols and destination ports.
//!
//! Invariant: ranges are in order, apart from each other, and of the protocols that ports name; equal
//! sets compare equal.

use std::{collections::BTreeMap, fmt};

use super::Protocol;

/// What rules allow between two ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// Every protocol and port, and packets without ports.
    Everything,
    /// The destination ports of each protocol, first and last, both included. Protocols without any
    /// are left out.
    Ports(BTreeMap<Protocol, Vec<(u16, u16)>>),
}

impl Traffic {
    /// Nothing at all.
    pub const fn nothing() -> Self {
        Self::Ports(BTreeMap::new())
    }

    /// The ports of one protocol from the first to the last, both included.
    pub fn range(protocol: Protocol, first: u16, last: u16) -> Self {
        Self::Ports(BTreeMap::from([(protocol, vec![(first, last)])]))
    }

    /// Whether there is nothing in it.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Ports(ports) if ports.is_empty())
    }

    /// Whether a packet is in it: IANA number, and the destination port if it has one.
    pub fn contains(&self, protocol: u8, port: Option<u16>) -> bool {
        let Self::Ports(ports) = self else {
            return true;
        };
        let of = ports.iter().find(|(own, _)| own.number() == protocol);
        let Some((_, ranges)) = of else { return false };
        match port {
            Some(port) => ranges
                .iter()
                .any(|&(first, last)| (first..=last).contains(&port)),
            // A packet whose ports are not known is of the protocol when every port is.
            None => *ranges == [ALL_PORTS],
        }
    }

    /// What is in one of the two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (Self::Ports(mut ports), Self::Ports(others)) = (self, other) else {
            return Self::Everything;
        };
        for (protocol, ranges) in others {
            let all = ports.entry(protocol).or_default();
            all.extend(ranges);
            *all = joined(std::mem::take(all));
        }
        Self::Ports(ports)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let (ports, others) = match (self, other) {
            (Self::Everything, other) => return other.clone(),
            (own, Self::Everything) => return own,
            (Self::Ports(ports), Self::Ports(others)) => (ports, others),
        };
        let both = ports.into_iter().filter_map(|(protocol, ranges)| {
            let others = others.get(&protocol)?;
            let both = ranges.iter().flat_map(|&(first, last)| {
                others
                    .iter()
                    .map(move |&(from, to)| (first.max(from), last.min(to)))
            });
            let both = joined(both.filter(|(first, last)| first <= last).collect());
            (!both.is_empty()).then_some((protocol, both))
        });
        Self::Ports(both.collect())
    }

    /// What is in this one and not in the other. What is left of everything when ports are taken away
    /// has no name but "everything": it is everything.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let (ports, others) = match (self, other) {
            (_, Self::Everything) => return Self::nothing(),
            (Self::Everything, _) => return Self::Everything,
            (Self::Ports(ports), Self::Ports(others)) => (ports, others),
        };
        let left = ports.iter().filter_map(|(protocol, ranges)| {
            let taken = others.get(protocol).map_or(&[][..], Vec::as_slice);
            let left: Vec<_> = ranges
                .iter()
                .flat_map(|range| gaps(*range, taken))
                .collect();
            (!left.is_empty()).then_some((*protocol, left))
        });
        Self::Ports(left.collect())
    }
}

/// Port 0 is one that packets can carry.
pub(crate) const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// In order, and ranges that touch made one.
fn joined(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// What of a range is in none of these ranges, which are in order.
fn gaps((first, last): (u16, u16), taken: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut gaps = Vec::new();
    // Beyond the last port there is none: wider than a port.
    let (mut from, last) = (u32::from(first), u32::from(last));
    for &(begin, end) in taken {
        let (begin, end) = (u32::from(begin), u32::from(end));
        if begin > last {
            break;
        }
        if begin > from {
            gaps.push((from, begin - 1));
        }
        from = from.max(end + 1);
    }
    if from <= last {
        gaps.push((from, last));
    }
    let narrow = |port: u32| port as u16;
    gaps.into_iter()
        .map(|(first, last)| (narrow(first), narrow(last)))
        .collect()
}

/// `everything`, `nothing`, or such as `TCP 80,8000-8999; UDP`: a protocol alone means all its ports.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = match self {
            Self::Everything => return f.write_str("everything"),
            Self::Ports(ports) if ports.is_empty() => return f.write_str("nothing"),
            Self::Ports(ports) => ports,
        };
        for (index, (protocol, ranges)) in ports.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{protocol}")?;
            if *ranges == [ALL_PORTS] {
                continue;
            }
            for (index, (first, last)) in ranges.iter().enumerate() {
                f.write_str(if index > 0 { "," } else { " " })?;
                match first == last {
                    true => write!(f, "{first}")?,
                    false => write!(f, "{first}-{last}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ranges: &[(u16, u16)]) -> Traffic {
        let ranges = ranges.iter();
        ranges.fold(Traffic::nothing(), |all, &(first, last)| {
            all.or(Traffic::range(Protocol::Tcp, first, last))
        })
    }

    #[test]
    fn ranges_that_touch_are_one_and_the_ends_are_ports_too() {
        let all = tcp(&[(80, 90), (0, 79), (91, u16::MAX)]);
        assert_eq!(all, Traffic::range(Protocol::Tcp, 0, u16::MAX));
        assert_eq!(all.to_string(), "TCP");
        assert_eq!(tcp(&[(80, 80), (443, 445)]).to_string(), "TCP 80,443-445");
        assert!(all.contains(6, None) && !tcp(&[(1, u16::MAX)]).contains(6, None));
    }

    #[test]
    fn what_two_sets_share_and_what_one_has_more() {
        let (a, b) = (tcp(&[(0, 100), (200, 300)]), tcp(&[(50, 250)]));
        assert_eq!(a.clone().and(&b), tcp(&[(50, 100), (200, 250)]));
        assert_eq!(a.without(&b), tcp(&[(0, 49), (251, 300)]));
        assert_eq!(b.without(&a), tcp(&[(101, 199)]));
        let all = tcp(&[(0, u16::MAX)]);
        assert_eq!(
            all.without(&tcp(&[(u16::MAX, u16::MAX)])),
            tcp(&[(0, u16::MAX - 1)])
        );
        assert_eq!(a.without(&Traffic::Everything), Traffic::nothing());
        assert_eq!(Traffic::Everything.and(&a), a);
        assert!(a.and(&Traffic::range(Protocol::Udp, 0, 100)).is_nothing());
    }
}
