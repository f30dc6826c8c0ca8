//! What stays in force though its source does not say it now.

use std::fmt;

use super::{Origin, Problem};
use crate::{convert::ObjectRef, text::Printable};

/// An object whose last accepted form is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The object.
    pub object: ObjectRef,
    /// Where it was read.
    pub origin: Origin,
    /// Whether it was not this run that accepted it.
    pub by_earlier_run: bool,
    /// Why it is not there in another form; `None` when nobody knows.
    pub problem: Option<Problem>,
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            origin,
            by_earlier_run,
            problem,
        } = self;
        let run = if *by_earlier_run {
            ", accepted by an earlier run,"
        } else {
            ""
        };
        write!(
            formatter,
            "{origin}: {}: its last form{run} stays in force",
            Printable(object)
        )?;
        match problem {
            Some(problem) => write!(formatter, ": {}", Printable(problem)),
            None => Ok(()),
        }
    }
}
