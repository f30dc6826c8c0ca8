//! Sizes of the tables, and how large they may grow.
//!
//! Pure: knows which flag sets which table, and what an element takes in the kernel.

use std::collections::BTreeMap;

use policy_common::{
    PortSetId, RuleKey, V4, V6, limits, names,
    shares::{CHUNK_SLOTS, FIRST_SLOTS},
};
use policy_core::plan::{Room, Table};
use policy_ebpf::lines::lines_for;

/// Rules that every generation has ([`super::tables::BUILT_IN_RULES`]).
const BUILT_IN: u32 = super::tables::BUILT_IN_RULES.len() as u32;

/// Most entries of the tables. The defaults are what the object declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct TableSizes {
    /// Most pods on this node
    #[arg(long, value_name = "N", default_value_t = limits::MAX_ENDPOINTS, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::MAX_ENDPOINTS)))]
    pub max_endpoints: u32,
    /// Most addresses of each family with an identity
    #[arg(long, value_name = "N", default_value_t = limits::MAX_ADDRESSES, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_addresses: u32,
    /// Most prefixes of each family
    #[arg(long, value_name = "N", default_value_t = limits::MAX_CIDRS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_cidrs: u32,
    /// Most pairs of a ruleset and an identity
    #[arg(long, value_name = "N", default_value_t = limits::MAX_RULES, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rules: u32,
    /// Most port sets
    #[arg(long, value_name = "N", default_value_t = limits::MAX_PORT_SETS, value_parser = clap::value_parser!(u32).range(2..))]
    pub max_port_sets: u32,
    /// Most entries of port sets that are too large to stand inline
    #[arg(long, value_name = "N", default_value_t = limits::MAX_PORTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_ports: u32,
    /// Most tracked connections of each family
    #[arg(long, value_name = "N", default_value_t = limits::MAX_FLOWS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_flows: u32,
}

impl Default for TableSizes {
    fn default() -> Self {
        Self {
            max_endpoints: limits::MAX_ENDPOINTS,
            max_addresses: limits::MAX_ADDRESSES,
            max_cidrs: limits::MAX_CIDRS,
            max_rules: limits::MAX_RULES,
            max_port_sets: limits::MAX_PORT_SETS,
            max_ports: limits::MAX_PORTS,
            max_flows: limits::MAX_FLOWS,
        }
    }
}

impl TableSizes {
    /// How much fits besides what is built in.
    pub(crate) fn room(&self) -> Room {
        Room {
            rules: self.max_rules as usize,
            port_sets: self.max_port_sets.saturating_sub(PortSetId::FIRST.0) as usize,
            ports: self.max_ports as usize,
            addresses: self.max_addresses as usize,
            cidrs: self.max_cidrs as usize,
            inline_ports: limits::INLINE_PORTS,
        }
    }

    /// The name of a table, the flag that sets its size, and its size.
    pub fn flag(&self, table: Table) -> (&'static str, &'static str, u32) {
        match table {
            Table::Rules => (names::RULES, "--max-rules", self.max_rules),
            Table::PortSets => (names::PORT_SETS, "--max-port-sets", self.max_port_sets),
            Table::Ports => (names::PORTS, "--max-ports", self.max_ports),
            Table::AddressesV4 => (names::ADDRESSES_V4, "--max-addresses", self.max_addresses),
            Table::AddressesV6 => (names::ADDRESSES_V6, "--max-addresses", self.max_addresses),
            Table::CidrsV4 => (names::CIDRS_V4, "--max-cidrs", self.max_cidrs),
            Table::CidrsV6 => (names::CIDRS_V6, "--max-cidrs", self.max_cidrs),
        }
    }

    /// These sizes with more room in the full tables, so that `needed` fits and later changes have
    /// room too; as much as `limit` bytes allow for all tables of policy together. `None`: that is
    /// not worth it.
    pub(crate) fn grown(&self, full: &[Table], needed: &Room, limit: u64) -> Option<Self> {
        let amply = |have: u32, needed: u32| {
            have.saturating_mul(2)
                .max(needed.saturating_add(needed / 4))
        };
        let barely = |have: u32, needed: u32| have.max(needed.saturating_add(needed / 16));
        let fits = |sizes: &Self| sizes.bytes() <= limit && sizes != self;
        let ample = self.with(full, needed, amply);
        let bare = self.with(full, needed, barely);
        [ample, bare].into_iter().find(fits).or_else(|| {
            // What is over the limit has no room: the rest has.
            let share =
                |have: u32, percent: u32| have.saturating_add(have.saturating_mul(percent) / 100);
            let steps = [800u32, 400, 200, 100, 50, 25];
            let larger =
                steps.map(|percent| self.with(full, needed, |have, _| share(have, percent)));
            larger.into_iter().find(fits)
        })
    }

    fn with(&self, full: &[Table], needed: &Room, size: impl Fn(u32, u32) -> u32) -> Self {
        let size = |have: &mut u32, needed: usize| {
            *have = size(*have, u32::try_from(needed).unwrap_or(u32::MAX)).min(Self::LARGEST);
        };
        let mut sizes = *self;
        for table in full {
            match table {
                Table::Rules => size(&mut sizes.max_rules, needed.rules),
                Table::PortSets => size(&mut sizes.max_port_sets, needed.port_sets + 2),
                Table::Ports => size(&mut sizes.max_ports, needed.ports),
                Table::AddressesV4 | Table::AddressesV6 => {
                    size(&mut sizes.max_addresses, needed.addresses);
                }
                Table::CidrsV4 | Table::CidrsV6 => size(&mut sizes.max_cidrs, needed.cidrs),
            }
        }
        sizes
    }

    /// No table has more elements.
    const LARGEST: u32 = 1 << 28;

    /// What the tables of policy take when they are full, in bytes: lines and what spills from them
    /// (a seventh where eight stand in a line, a tenth where two do that has room for three), elements
    /// with what the kernel keeps beside each, and the inner nodes of tries.
    pub(crate) fn bytes(&self) -> u64 {
        [
            (self.max_rules, 8 + 128 / 7),
            (self.max_addresses, 8 + 128 / 7 + 32 + 160 / 10),
            (self.max_cidrs, 128 + 160),
            (self.max_ports, 128),
            (self.max_port_sets, 64),
        ]
        .into_iter()
        .map(|(elements, bytes)| u64::from(elements) * bytes)
        .sum()
    }

    /// The limits of both sides of an endpoint (what its pod opens, what peers open), made smaller in
    /// proportion where they are more than a quarter of the flow table together.
    #[must_use]
    pub fn flow_limits(&self, pod: u32, peers: u32) -> (u32, u32) {
        let quarter = u64::from(self.max_flows / 4);
        let wanted = u64::from(pod) + u64::from(peers);
        let share = |limit: u32| {
            let part = u64::from(limit) * quarter / wanted.max(1);
            u32::try_from(part).unwrap_or(limit)
        };
        if wanted <= quarter {
            (pod, peers)
        } else {
            (share(pod), share(peers))
        }
    }

    fn all_rules(&self) -> u32 {
        self.max_rules.saturating_add(BUILT_IN)
    }

    /// Lines of IPv4 addresses.
    pub(crate) fn lines_v4(&self) -> u32 {
        lines_for::<V4>(self.max_addresses)
    }

    /// Lines of IPv6 addresses.
    pub(crate) fn lines_v6(&self) -> u32 {
        lines_for::<V6>(self.max_addresses)
    }

    /// Lines of rules.
    pub(crate) fn rule_lines(&self) -> u32 {
        lines_for::<RuleKey>(self.all_rules())
    }

    /// Blocks of recent flows that rings share: with a quarter more places than there are flows, few
    /// chunks find none.
    pub(crate) fn blocks(&self) -> u32 {
        (self.max_flows / (4 * CHUNK_SLOTS))
            .saturating_mul(5)
            .max(1)
    }

    /// Entries per map, by name.
    pub(crate) fn entries(&self) -> BTreeMap<&'static str, u32> {
        // Arrays by number, of which 0 is nobody's.
        let numbers = self.max_endpoints.saturating_add(1);
        BTreeMap::from([
            (names::INTERFACES, self.max_endpoints),
            // An interface that changes its number has both for a moment.
            (names::ENDPOINTS, numbers),
            (names::ADDRESSES_V4, self.lines_v4()),
            (names::ADDRESSES_V6, self.lines_v6()),
            (names::SPILLED_V4, self.max_addresses),
            (names::SPILLED_V6, self.max_addresses),
            // A kernel may refuse to replace a prefix in a full trie.
            (names::CIDRS_V4, self.max_cidrs.saturating_add(1)),
            (names::CIDRS_V6, self.max_cidrs.saturating_add(1)),
            (names::RULES, self.rule_lines()),
            (names::SPILLED_RULES, self.all_rules()),
            (names::PORT_SETS, self.max_port_sets),
            (names::PORTS, self.max_ports),
            (names::FLOWS_V4, self.max_flows),
            (names::FLOWS_V6, self.max_flows),
            (names::FLOW_COUNTS, numbers),
            (names::FLOW_CREDITS, numbers.saturating_mul(2)),
            (names::EVENT_BUDGETS, numbers),
            (
                names::RECENT,
                numbers
                    .saturating_mul(2 * FIRST_SLOTS)
                    .saturating_add(self.blocks().saturating_mul(CHUNK_SLOTS)),
            ),
            (names::RECENT_BLOCKS, self.blocks()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use policy_common::Config;

    use super::*;

    fn sized(max_flows: u32, max_endpoints: u32) -> TableSizes {
        TableSizes {
            max_flows,
            max_endpoints,
            ..TableSizes::default()
        }
    }

    #[test]
    fn an_endpoint_holds_at_most_a_quarter_of_the_table() {
        let limits = Config::DEFAULT;
        let (pod, peer) = (limits.pod_opened_limit, limits.peer_opened_limit);
        assert_eq!(TableSizes::default().flow_limits(pod, peer), (pod, peer));
        assert_eq!(sized(65_536, 4).flow_limits(pod, peer), (4_096, 12_288));
        assert_eq!(sized(400, 4).flow_limits(50, 50), (50, 50));
        let (pod, peer) = sized(400, 4).flow_limits(u32::MAX, u32::MAX);
        assert_eq!((pod, peer), (50, 50));
        assert_eq!(sized(400, 4).flow_limits(0, 0), (0, 0));
    }

    const MIB: u64 = 1 << 20;

    fn needed(rules: usize) -> Room {
        Room {
            rules,
            ..TableSizes::default().room()
        }
    }

    #[test]
    fn a_full_table_grows_with_room_to_spare_and_no_other_does() {
        let small = TableSizes {
            max_rules: 20,
            ..TableSizes::default()
        };
        let grown = small
            .grown(&[Table::Rules], &needed(400), 512 * MIB)
            .unwrap();
        assert_eq!(grown.max_rules, 500);
        assert_eq!(
            TableSizes {
                max_rules: 20,
                ..grown
            },
            small
        );
        let packed = small
            .grown(&[Table::Rules], &needed(15), 512 * MIB)
            .unwrap();
        assert_eq!(packed.max_rules, 40);
    }

    #[test]
    fn tables_grow_as_far_as_the_limit_and_not_beyond() {
        let sizes = TableSizes::default();
        let limit = sizes.bytes() + 200_000 * 26;
        let full = [Table::Rules];
        let bare = sizes.grown(&full, &needed(400_000), limit).unwrap();
        assert_eq!(bare.max_rules, 425_000, "what is needed fits");
        let partly = sizes.grown(&full, &needed(900_000), limit).unwrap();
        assert!(partly.max_rules > sizes.max_rules && partly.bytes() <= limit);
        assert_eq!(sizes.grown(&full, &needed(900_000), sizes.bytes()), None);
        assert_eq!(sizes.grown(&full, &needed(900_000), 0), None);
    }
}
