//! The list of single connections that a step's blocks stand for.
//!
//! A table cell counts once per listed port and family, as the format says.

use std::fmt;

use super::{
    endpoint::{End, Family, Service},
    step::{Block, Step},
    verdict::Expected,
};

/// One connection with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Who opens it.
    pub(crate) from: End,
    /// To whom.
    pub(crate) to: End,
    /// To which port.
    pub(crate) service: Service,
    /// In which family.
    pub(crate) family: Family,
    /// Whether the case itself names the family: then both ends must have an address of it.
    pub(crate) family_stated: bool,
    /// What becomes of it.
    pub(crate) expected: Expected,
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            service,
            family,
            ..
        } = self;
        write!(formatter, "{from} → {to} {service} {family}")
    }
}

/// Every connection that the step asserts, in the order of the file.
pub(crate) fn probes(step: &Step) -> Vec<Probe> {
    step.expect.iter().flat_map(block_probes).collect()
}

fn block_probes(block: &Block) -> Vec<Probe> {
    let mut probes = Vec::new();
    let families = block.families.as_deref().unwrap_or(&Family::ALL);
    for &family in families {
        let mut push = |from: &End, to: &End, service, expected| {
            probes.push(Probe {
                from: from.clone(),
                to: to.clone(),
                service,
                family,
                family_stated: block.families.is_some(),
                expected,
            });
        };
        if let (Some(table), Some(traffic)) = (&block.table, &block.traffic) {
            for &service in traffic {
                for (from, row) in &table.from {
                    for (to, cell) in table.to.iter().zip(row.cells()) {
                        if let Some(expected) = *cell {
                            push(from, to, service, expected);
                        }
                    }
                }
            }
        }
        for single in block.probes.iter().flatten() {
            let service = Service {
                port: single.port,
                protocol: single.protocol,
            };
            push(&single.from, &single.to, service, single.verdict);
        }
    }
    probes
}
