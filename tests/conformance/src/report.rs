//! What a run has to say: one line per failure and one summary.

use std::fmt;

use super::probe::Probe;

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// The case's id, or its file when it cannot be read.
    pub id: String,
    /// Verdicts that were checked. What breaks a case off counts as one, so that passed and
    /// failed add up.
    pub probes: usize,
    /// What went wrong: at most one failure per verdict.
    pub failures: Vec<Failure>,
    /// What the case needs and the enforcer does not have: then nothing was checked.
    pub unsupported: Option<String>,
    step: Option<(usize, String)>,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    step: Option<(usize, String)>,
    probe: Option<String>,
    text: String,
}

impl Failure {
    /// Of one connection.
    pub(crate) fn of_probe(probe: &Probe, text: String) -> Self {
        Self {
            step: None,
            probe: Some(probe.to_string()),
            text,
        }
    }

    /// Of no single connection.
    pub(crate) fn of_case(text: String) -> Self {
        Self {
            step: None,
            probe: None,
            text,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, name)) = &self.step {
            write!(formatter, "step {number} {name:?}: ")?;
        }
        if let Some(probe) = &self.probe {
            write!(formatter, "{probe}: ")?;
        }
        // A verifier's log is many lines; its end says what it did not like.
        let mut lines = self.text.lines().filter(|line| !line.trim().is_empty());
        formatter.write_str(lines.next().unwrap_or_default())?;
        lines
            .next_back()
            .map_or(Ok(()), |last| write!(formatter, " … {last}"))
    }
}

impl CaseReport {
    /// Of a case that has not begun.
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            probes: 0,
            failures: Vec::new(),
            unsupported: None,
            step: None,
        }
    }

    /// Of a case that cannot begin.
    pub(crate) fn broken(id: String, text: String) -> Self {
        let mut report = Self::new(id);
        report.note(Err(Failure::of_case(text)));
        report
    }

    /// What is noted from now on belongs to this step, counted from 1.
    pub(crate) fn begin_step(&mut self, number: usize, name: &str) {
        self.step = Some((number, name.to_owned()));
    }

    /// What is noted from now on belongs to no step.
    pub(crate) fn end_steps(&mut self) {
        self.step = None;
    }

    /// Notes one verdict.
    pub(crate) fn note(&mut self, verdict: Result<(), Failure>) {
        self.probes += 1;
        if let Err(failure) = verdict {
            self.failures.push(Failure {
                step: self.step.clone(),
                ..failure
            });
        }
    }

    /// Whether every verdict was right.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.unsupported.is_none()
    }
}

impl fmt::Display for CaseReport {
    /// One line per failure; nothing for a case that passed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(what) = &self.unsupported {
            writeln!(formatter, "{}: not supported: {what}", self.id)?;
        }
        for failure in &self.failures {
            writeln!(formatter, "{}: {failure}", self.id)?;
        }
        Ok(())
    }
}

/// The sums of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases that were run.
    pub cases: usize,
    /// Verdicts that were checked.
    pub probes: usize,
    /// Verdicts that were wrong, and cases that broke off.
    pub failed: usize,
    /// Cases that need what is not here.
    pub unsupported: usize,
}

impl Summary {
    /// Adds one case.
    pub(crate) fn add(&mut self, report: &CaseReport) {
        if report.unsupported.is_some() {
            self.unsupported += 1;
        } else {
            self.cases += 1;
        }
        self.probes += report.probes;
        self.failed += report.failures.len();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cases,
            probes,
            failed,
            unsupported,
        } = *self;
        let passed = probes - failed;
        write!(
            formatter,
            "{cases} cases, {probes} probes: {passed} passed, {failed} failed"
        )?;
        if unsupported > 0 {
            write!(formatter, "; {unsupported} cases not supported")?;
        }
        Ok(())
    }
}
