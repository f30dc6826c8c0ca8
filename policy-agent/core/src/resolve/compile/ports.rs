//! What some rules allow together on ports, in one canonical form.
//!
//! Knows nothing of peers or rulesets. Invariant: two unions that allow the same packets have the
//! same canonical form; its entries are a disjoint and minimal cover, so their order does not matter.

use std::sync::Arc;

use policy_common::Verdict;
use smallvec::SmallVec;

use crate::{
    model::Protocol,
    plan::{PortRange, PortSetEntry},
};

/// The ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ProtocolPorts {
    /// Every port, and packets whose ports are unknown.
    every: bool,
    /// First and last ports.
    ranges: SmallVec<[(u16, u16); 2]>,
}

/// A union of allowed ports. Canonical after [`PortUnion::normalised`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PortUnion {
    every: bool,
    protocols: [ProtocolPorts; 3],
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

const fn slot(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Sctp => 2,
    }
}

impl PortUnion {
    /// Adds every protocol, with or without ports.
    pub(crate) fn add_everything(&mut self) {
        self.every = true;
    }

    /// Adds every port of a protocol.
    pub(crate) fn add_protocol(&mut self, protocol: Protocol) {
        self.protocols[slot(protocol)].every = true;
    }

    /// Adds the ports from `first` to `last`.
    pub(crate) fn add_range(&mut self, protocol: Protocol, first: u16, last: u16) {
        if first <= last {
            self.protocols[slot(protocol)].ranges.push((first, last));
        }
    }

    /// The canonical form: ranges sorted, apart, and only where no wider entry covers them.
    pub(crate) fn normalised(mut self) -> Self {
        if self.every {
            return Self {
                every: true,
                ..Self::default()
            };
        }
        for ports in &mut self.protocols {
            if ports.every {
                ports.ranges.clear();
            }
            ports.ranges.sort_unstable();
            ports.ranges.dedup_by(|next, merged| {
                let touches = u32::from(next.0) <= u32::from(merged.1) + 1;
                if touches {
                    merged.1 = merged.1.max(next.1);
                }
                touches
            });
        }
        self
    }

    /// Whether every port and protocol is in it.
    pub(crate) fn is_everything(&self) -> bool {
        self.every
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.every
            && self
                .protocols
                .iter()
                .all(|ports| !ports.every && ports.ranges.is_empty())
    }

    pub(crate) fn entries(&self) -> Arc<[PortSetEntry]> {
        let mut ranges = Vec::new();
        if self.every {
            ranges.push(PortRange::AnyProtocol);
        }
        for (protocol, ports) in PROTOCOLS.iter().zip(&self.protocols) {
            let protocol = protocol.number();
            if ports.every {
                ranges.push(PortRange::Protocol(protocol));
            }
            for &(first, last) in &ports.ranges {
                prefixes(first, last, |port, bits| {
                    ranges.push(PortRange::Prefix {
                        protocol,
                        port,
                        bits,
                    });
                });
            }
        }
        ranges
            .into_iter()
            .map(|range| PortSetEntry {
                range,
                verdict: Verdict::ALLOW,
            })
            .collect()
    }
}

/// The fewest prefixes (of at least one bit) that cover the ports from `first` to `last`.
fn prefixes(first: u16, last: u16, mut each: impl FnMut(u16, u8)) {
    let (mut port, last) = (u32::from(first), u32::from(last));
    while port <= last {
        let aligned = if port == 0 { 15 } else { port.trailing_zeros() };
        let fits = (last - port + 1).ilog2();
        let free = aligned.min(fits).min(15);
        // Both casts are exact: `port` is at most `last`, and `free` at most 15.
        each(port as u16, 16 - free as u8);
        port += 1 << free;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(first: u16, last: u16) -> Vec<(u16, u8)> {
        let mut cover = Vec::new();
        prefixes(first, last, |port, bits| cover.push((port, bits)));
        cover
    }

    #[test]
    fn a_range_with_odd_ends_is_covered_by_the_fewest_prefixes() {
        assert_eq!(
            cover(1, 6),
            [(1, 16), (2, 15), (4, 15), (6, 16)],
            "1, 2-3, 4-5, 6"
        );
        assert_eq!(cover(80, 80), [(80, 16)]);
        assert_eq!(cover(0, 65535), [(0, 1), (32768, 1)]);
        assert_eq!(cover(65535, 65535), [(65535, 16)]);
        assert_eq!(cover(1, 65535).len(), 16);
    }
}
