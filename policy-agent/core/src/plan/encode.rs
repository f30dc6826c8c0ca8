//! Turns operations into map keys and values.
//!
//! Owns the byte layout of what user space writes; must not know maps or the kernel. The only place
//! of this crate that knows layouts. Invariant: a port set means the same to the programs whether it
//! stands inline or in the trie.

use std::net::IpAddr;

use super::op::{DirectionEntry, EndpointEntry, PortRange, PortSetEntry};
use policy_common::{
    AddressEntry, Endpoint, EndpointId, IdentityId, PortEntry, PortKey, PortSet, PortSetId, V4, V6,
    limits::INLINE_PORTS,
};

/// A port set as the maps hold it.
#[derive(Debug, PartialEq, Eq)]
pub struct EncodedPortSet {
    /// Value of PORT_SETS.
    pub header: PortSet,
    /// Entries of PORTS, empty for an inline set.
    pub trie: Vec<TrieEntry>,
}

/// One entry of PORTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieEntry {
    /// Bits of `key` that count.
    pub bits: u32,
    /// The key.
    pub key: PortKey,
    /// What the entry says.
    pub verdict: policy_common::Verdict,
}

/// Encodes a set: up to [`INLINE_PORTS`] entries inline, longest prefix first; more in the trie.
pub fn port_set(id: PortSetId, entries: &[PortSetEntry]) -> EncodedPortSet {
    let mut header = PortSet::default();
    if entries.len() > INLINE_PORTS {
        header.in_trie = 1;
        let trie = entries.iter().map(|entry| trie_entry(id, entry)).collect();
        return EncodedPortSet { header, trie };
    }
    let mut sorted: Vec<&PortSetEntry> = entries.iter().collect();
    sorted.sort_by_key(|entry| std::cmp::Reverse(specificity(entry.range)));
    for (slot, entry) in header.inline.iter_mut().zip(&sorted) {
        *slot = inline_entry(entry);
        header.count += 1;
    }
    EncodedPortSet {
        header,
        trie: Vec::new(),
    }
}

/// Bits of a range's prefix: the order in which entries count.
fn specificity(range: PortRange) -> u32 {
    match range {
        PortRange::AnyProtocol => PortKey::ANY_PROTOCOL_BITS,
        PortRange::Protocol(_) => PortKey::PROTOCOL_BITS,
        PortRange::Prefix { bits, .. } => PortKey::PROTOCOL_BITS + u32::from(bits),
    }
}

fn trie_entry(id: PortSetId, entry: &PortSetEntry) -> TrieEntry {
    let key = match entry.range {
        PortRange::AnyProtocol => PortKey::new(id, 0, 0),
        PortRange::Protocol(protocol) => PortKey::new(id, protocol, 0),
        PortRange::Prefix { protocol, port, .. } => PortKey::new(id, protocol, port),
    };
    TrieEntry {
        bits: specificity(entry.range),
        key,
        verdict: entry.verdict,
    }
}

fn inline_entry(entry: &PortSetEntry) -> PortEntry {
    let mut inline = PortEntry {
        verdict: entry.verdict,
        ..PortEntry::default()
    };
    match entry.range {
        PortRange::AnyProtocol => inline.any_protocol = 1,
        PortRange::Protocol(protocol) => inline.protocol = protocol,
        PortRange::Prefix {
            protocol,
            port,
            bits,
        } => {
            inline.protocol = protocol;
            inline.mask = port_mask(bits);
            inline.port = port & inline.mask;
        }
    }
    inline
}

/// The mask of a prefix of 1 to 16 bits.
fn port_mask(bits: u8) -> u16 {
    let host_bits = 16 - u32::from(bits.min(16));
    u16::MAX.checked_shl(host_bits).unwrap_or(0)
}

/// Encodes what is said of an address.
pub fn address(identity: IdentityId, owner: Option<EndpointId>, host: bool) -> AddressEntry {
    AddressEntry {
        identity,
        owner: owner.unwrap_or_default(),
        flags: if host { AddressEntry::HOST } else { 0 },
    }
}

/// Encodes an endpoint with the epoch that it gets. The first address of each family counts;
/// IPv4-mapped addresses are IPv6.
pub fn endpoint(entry: &EndpointEntry, epoch: u32) -> Endpoint {
    let mut value = Endpoint {
        epoch,
        ifindex: entry.ifindex,
        id: entry.id,
        bridge: entry.bridge.unwrap_or(0),
        pod_tag: entry.pod_tag,
        mac: entry.mac.unwrap_or_default(),
        ..Endpoint::default()
    };
    let mut flag = |set: bool, bit: u16| {
        if set {
            value.flags |= bit;
        }
    };
    flag(entry.ingress.is_some(), Endpoint::INGRESS_ISOLATED);
    flag(entry.egress.is_some(), Endpoint::EGRESS_ISOLATED);
    flag(entry.unknown, Endpoint::UNKNOWN);
    flag(entry.mac.is_some(), Endpoint::MAC);
    flag(entry.mac.is_some() && entry.eui_64, Endpoint::EUI_64);
    flag(has_blocks(entry.ingress), Endpoint::INGRESS_BLOCKS);
    flag(has_blocks(entry.egress), Endpoint::EGRESS_BLOCKS);
    flag(
        entry.egress.is_some() && entry.services_later,
        Endpoint::SERVICES,
    );
    if let Some(rules) = entry.ingress {
        value.ingress.ruleset = rules.ruleset;
        value.ingress.default_ports = rules.default_ports;
    }
    if let Some(rules) = entry.egress {
        value.egress.ruleset = rules.ruleset;
        value.egress.default_ports = rules.default_ports;
    }
    for address in entry.addresses.iter().rev() {
        match address {
            IpAddr::V4(address) => value.v4 = V4(address.octets()),
            IpAddr::V6(address) => value.v6 = V6(address.octets()),
        }
    }
    value.sealed()
}

fn has_blocks(rules: Option<DirectionEntry>) -> bool {
    rules.is_some_and(|rules| rules.has_blocks)
}

#[cfg(test)]
mod tests {
    use policy_common::{RulesetId, Verdict};

    use super::*;

    const TCP: u8 = 6;

    fn prefix(port: u16, bits: u8) -> PortSetEntry {
        PortSetEntry {
            range: PortRange::Prefix {
                protocol: TCP,
                port,
                bits,
            },
            verdict: Verdict::ALLOW,
        }
    }

    #[test]
    fn a_set_moves_to_the_trie_when_it_no_longer_fits_inline() {
        let entries: Vec<_> = (0..=INLINE_PORTS as u16).map(|n| prefix(n, 16)).collect();
        let fits = port_set(PortSetId(9), &entries[..INLINE_PORTS]);
        assert_eq!((fits.header.count, fits.header.in_trie), (7, 0));
        assert!(fits.trie.is_empty());
        let large = port_set(PortSetId(9), &entries);
        assert_eq!((large.header.count, large.header.in_trie), (0, 1));
        assert_eq!(large.trie.len(), INLINE_PORTS + 1);
    }

    #[test]
    fn the_first_address_of_each_family_is_the_endpoints() {
        let entry = EndpointEntry {
            ifindex: 7,
            id: policy_common::EndpointId(3),
            bridge: None,
            ingress: Some(DirectionEntry {
                ruleset: RulesetId(5),
                default_ports: PortSetId::DENY_ALL,
                has_blocks: true,
            }),
            egress: None,
            addresses: ["10.0.0.1", "::ffff:10.0.0.9", "10.0.0.2", "fd00::2"]
                .map(|text| text.parse().expect("an address"))
                .to_vec(),
            unknown: false,
            pod_tag: 1,
            mac: None,
            eui_64: false,
            services_later: false,
            new_epoch: true,
        };
        let value = endpoint(&entry, 42);
        assert_eq!(value.v4, V4([10, 0, 0, 1]));
        assert_eq!(value.v6.0[10..], [0xff, 0xff, 10, 0, 0, 9]);
        assert_eq!(
            value.flags,
            Endpoint::INGRESS_ISOLATED | Endpoint::INGRESS_BLOCKS
        );
        assert_eq!((value.epoch, value.ifindex), (42, 7));
        assert!(value.is_whole(), "programs take no other");
        assert_ne!(value.ingress.ruleset, RulesetId::NONE);
    }
}
