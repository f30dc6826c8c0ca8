//! Where the pods of a case are, and what becomes of a connection there.
//!
//! The one seam between running a case and the ways to find its verdicts: loaded programs run
//! on single packets (`kernel`), and connections between network namespaces (`wire`).

use std::fmt;

use anyhow::Result;
use policy_core::{model::PodFact, plan::Op};

use super::{
    cluster::Place,
    probe::Probe,
    verdict::{Expected, Sides},
};

/// A probe with both ends found.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// What the case says.
    pub(crate) probe: Probe,
    /// Where the connection begins.
    pub(crate) from: Place,
    /// Where it ends.
    pub(crate) to: Place,
}

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both sides were asked.
    Sides {
        /// What they said.
        sides: Sides,
        /// Which side dropped it and why, where somebody will want to know.
        why: String,
    },
    /// It came about; the sides cannot be seen.
    Connected,
    /// It did not come about because a program dropped its packets; where and why.
    Dropped(String),
    /// It did not come about, and no program says that it dropped anything.
    Lost,
    /// The opening was allowed and the answer was not; where and why.
    AnswerDropped(String),
}

impl Outcome {
    /// Whether it is what the case expects.
    pub(crate) fn meets(&self, expected: Expected) -> bool {
        match self {
            Self::Sides { sides, .. } => expected.holds(*sides),
            Self::Connected => expected.allowed(),
            Self::Dropped(_) => !expected.allowed(),
            Self::Lost | Self::AnswerDropped(_) => false,
        }
    }

    /// Whether it is what a reference says.
    pub(crate) fn agrees(&self, sides: Sides) -> bool {
        match self {
            Self::Sides { sides: found, .. } => sides == *found,
            Self::Connected => sides.allowed(),
            Self::Dropped(_) => !sides.allowed(),
            Self::Lost | Self::AnswerDropped(_) => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sides { sides, why } if why.is_empty() => write!(formatter, "{sides}"),
            Self::Sides { sides, why } => write!(formatter, "{sides} ({why})"),
            Self::Connected => formatter.write_str("a connection"),
            Self::Dropped(why) => write!(formatter, "no connection ({why})"),
            Self::Lost => formatter.write_str("no answer, though no program dropped anything"),
            Self::AnswerDropped(why) => {
                write!(formatter, "allowed, but the answer is dropped ({why})")
            }
        }
    }
}

/// Where the pods of a case are.
pub(crate) trait Ground {
    /// Gives a pod an interface on the node, or finds the one it has, and returns its index.
    fn plug(&mut self, node: &str, pod: &PodFact) -> Result<u32>;

    /// Takes an interface away.
    fn unplug(&mut self, node: &str, ifindex: u32) -> Result<()>;

    /// Executes operations in the tables of the node.
    fn execute(&mut self, node: &str, ops: &[Op]) -> Result<()>;

    /// Opens every connection; one outcome each, in order.
    fn judge(&mut self, probes: &[Placed]) -> Result<Vec<Outcome>>;

    /// Ends, with empty tables and without interfaces.
    fn finish(self) -> Result<()>
    where
        Self: Sized;
}
