//! What is measured together: a name, its cases, the function that measures them.

use anyhow::Result;

use crate::{options::Options, report::Report};

/// Cases that are measured by one function.
pub(crate) struct Group {
    /// The first part of the figures' names.
    pub(crate) name: &'static str,
    /// The second part: what may be asked for.
    pub(crate) cases: &'static [&'static str],
    /// Measures the cases that the options want.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

impl Group {
    /// Do the options want any of its cases?
    pub(crate) fn is_wanted(&self, options: &Options) -> bool {
        self.cases.iter().any(|case| options.wants(self.name, case))
    }
}
