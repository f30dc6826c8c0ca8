//! What maps and programs say beside the objects, and whether the three agree.
//!
//! Owns what can be compared: objects know no flows, no limits and nothing of a packet's form.

use std::fmt;

use policy_common::Reason;
use serde::{Deserialize, Serialize};

use super::explain::{Answer, End, Verdict, Why};
use crate::datapath::{BothWays, Seen};

/// What maps or programs say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Whether the packet passes.
    pub verdict: Verdict,
    /// Why, as in the log and the metrics.
    pub reason: String,
}

impl Way {
    fn of(seen: Seen) -> Self {
        Self {
            verdict: Verdict::of(seen.passes),
            reason: seen.reason.name().to_owned(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.verdict, self.reason)
    }
}

/// What came of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The three say the same, wherever they can be asked.
    Agree,
    /// They do not.
    Disagree,
}

/// Whether objects know what a reason is about.
const fn is_about_objects(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotIsolated
            | Reason::Allowed
            | Reason::Host
            | Reason::Policy
            | Reason::SourceAddress
            | Reason::UnknownEndpoint
    )
}

impl End {
    /// Takes in what the kernel's side says: whether it agrees.
    pub(super) fn see(&mut self, both: BothWays) -> bool {
        self.maps = Some(Way::of(both.maps));
        self.program = Some(Way::of(both.program));
        let is_comparable = is_about_objects(both.program.reason);
        let objects = self.verdict == Verdict::Allowed;
        both.maps == both.program && (!is_comparable || objects == both.program.passes)
    }

    /// What counts in the end.
    fn outcome(&self) -> Verdict {
        self.program
            .as_ref()
            .map_or(self.verdict, |way| way.verdict)
    }

    /// The line about maps and program.
    pub(super) fn ways(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.maps, &self.program) {
            (Some(maps), Some(program)) if maps == program => {
                writeln!(f, "    maps and program: {program}")
            }
            (Some(maps), Some(program)) => writeln!(f, "    maps: {maps}; program: {program}"),
            _ => Ok(()),
        }
    }
}

/// An end that can be asked about: which family of the answer, which end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the answer's families.
    pub(crate) family: usize,
    /// Of the family's ends.
    pub(crate) end: usize,
}

impl Answer {
    /// Takes in what the kernel's side says of some ends.
    pub(crate) fn compare(
        &mut self,
        seen: impl IntoIterator<Item = (Place, BothWays)>,
    ) -> Compared {
        let mut agree = true;
        for (Place { family, end }, both) in seen {
            let end = self
                .families
                .get_mut(family)
                .and_then(|family| family.ends.get_mut(end));
            agree &= end.is_some_and(|end| end.see(both));
        }
        for family in &mut self.families {
            let mut ends = family.ends.iter().map(End::outcome);
            family.verdict = Verdict::of(ends.all(|verdict| verdict == Verdict::Allowed));
        }
        let mut families = self.families.iter().map(|family| family.verdict);
        self.verdict = Verdict::of(families.all(|verdict| verdict == Verdict::Allowed));
        self.agree = Some(agree);
        match agree {
            true => Compared::Agree,
            false => Compared::Disagree,
        }
    }

    /// The ends, with the addresses between which their packets go.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Asked<'_>> {
        let families = self.families.iter().enumerate();
        families.flat_map(|(family, of)| {
            let ends = of.ends.iter().enumerate();
            ends.map(move |(end, one)| Asked {
                place: Place { family, end },
                pod: &one.pod,
                is_egress: one.direction == "egress",
                is_to_host: one.why == Some(Why::Host),
                source: of.source,
                destination: of.destination,
            })
        })
    }

    /// The same question about a packet that says another source: what is not the pod's own never gets as
    /// far as its rules. `is_own`: whether it is the pod's.
    pub(crate) fn sent_from(&mut self, source: std::net::IpAddr, is_own: bool) {
        let is_of = |address: Option<std::net::IpAddr>| {
            address.is_none_or(|address| address.is_ipv4() == source.is_ipv4())
        };
        self.families.retain(|family| is_of(family.destination));
        self.families.truncate(1);
        for family in &mut self.families {
            family.source = Some(source);
            if is_own {
                continue;
            }
            family.ends.retain(|end| end.direction == "egress");
            for end in &mut family.ends {
                end.verdict = Verdict::Denied;
                end.why = Some(Why::SourceAddress);
            }
        }
    }

    /// Says that the ways disagree, so that nobody overlooks it.
    pub(super) fn disagreement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.agree {
            Some(false) => writeln!(
                f,
                "THE OBJECTS, THE MAPS AND THE PROGRAMS DISAGREE: what is enforced is what the program says"
            ),
            _ => Ok(()),
        }
    }
}

/// An end of a question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) place: Place,
    pub(crate) pod: &'a str,
    pub(crate) is_egress: bool,
    pub(crate) is_to_host: bool,
    pub(crate) source: Option<std::net::IpAddr>,
    pub(crate) destination: Option<std::net::IpAddr>,
}
