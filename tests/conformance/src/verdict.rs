//! What a case expects of a connection, and what was found.

use std::fmt;

use anyhow::{Result, bail};
use serde::Deserialize;

/// What becomes of a connection, as a case says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Expected {
    /// Allowed.
    Allowed,
    /// Denied, side not stated.
    Denied,
    /// Denied by the source's egress only.
    DeniedByEgress,
    /// Denied by the destination's ingress only.
    DeniedByIngress,
    /// Denied by both sides.
    DeniedByBoth,
}

/// What each side said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sides {
    /// The source's egress lets it pass.
    pub(crate) egress: bool,
    /// The destination's ingress lets it pass.
    pub(crate) ingress: bool,
}

impl Sides {
    /// Whether the connection comes about.
    pub(crate) const fn allowed(self) -> bool {
        self.egress && self.ingress
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match (self.egress, self.ingress) {
            (true, true) => "allowed",
            (false, true) => "denied by egress only",
            (true, false) => "denied by ingress only",
            (false, false) => "denied by both sides",
        })
    }
}

impl Expected {
    /// Whether it is what was found.
    pub(crate) const fn holds(self, found: Sides) -> bool {
        match self {
            Self::Allowed => found.allowed(),
            Self::Denied => !found.allowed(),
            Self::DeniedByEgress => !found.egress && found.ingress,
            Self::DeniedByIngress => found.egress && !found.ingress,
            Self::DeniedByBoth => !found.egress && !found.ingress,
        }
    }

    /// Whether the connection comes about: all that can be seen on the wire.
    pub(crate) const fn allowed(self) -> bool {
        matches!(self, Self::Allowed)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::DeniedByEgress => "denied by egress only",
            Self::DeniedByIngress => "denied by ingress only",
            Self::DeniedByBoth => "denied by both sides",
        })
    }
}

impl TryFrom<String> for Expected {
    type Error = anyhow::Error;

    /// Single probes say `allow` or `deny`; the letters of tables do as well.
    fn try_from(text: String) -> Result<Self> {
        Ok(match text.as_str() {
            "allow" | "A" => Self::Allowed,
            "deny" | "D" => Self::Denied,
            "E" => Self::DeniedByEgress,
            "I" => Self::DeniedByIngress,
            "B" => Self::DeniedByBoth,
            _ => bail!("{text:?} is no verdict"),
        })
    }
}

/// One cell of a table; `None` (`-`) asserts nothing.
pub(crate) type Cell = Option<Expected>;

/// One row of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Row(Vec<Cell>);

impl Row {
    /// The cells, one per column.
    pub(crate) fn cells(&self) -> &[Cell] {
        &self.0
    }
}

impl TryFrom<String> for Row {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.split_whitespace()
            .map(|cell| match cell {
                "-" => Ok(None),
                "A" | "D" | "E" | "I" | "B" => Expected::try_from(cell.to_owned()).map(Some),
                _ => bail!("{cell:?} is none of A D E I B -"),
            })
            .collect::<Result<_>>()
            .map(Self)
    }
}
