//! One test program: run, its output kept whole, its results counted.

use std::{
    fmt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::tally::Tally;

/// A program that ends with `test result: …`, once or several times.
pub(super) struct Job {
    /// Package, target and kind.
    pub(super) name: String,
    pub(super) command: Command,
}

/// What became of a job.
pub(super) struct Report {
    name: String,
    took: Duration,
    output: String,
    pub(super) tally: Tally,
}

impl Report {
    /// Runs a job to its end. It has failed unless it says that it passed: no result, and a status
    /// other than success without a failed test, count as one failure.
    pub(super) fn of(mut job: Job) -> Self {
        let began = Instant::now();
        let (mut output, success) = match job.command.stdin(Stdio::null()).output() {
            Ok(ended) => {
                let mut text = String::from_utf8_lossy(&ended.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&ended.stderr));
                if !ended.status.success() {
                    text.push_str(&format!("{}: {}\n", job.name, ended.status));
                }
                (text, ended.status.success())
            }
            Err(error) => (format!("{} does not start: {error}\n", job.name), false),
        };
        let mut tally = Tally::default();
        let mut results = 0;
        for counted in output.lines().filter_map(Tally::of_line) {
            tally += counted;
            results += 1;
        }
        if tally.failed == 0 && (results == 0 || !success) {
            output.push_str("its process died or printed no result; counted as one failure\n");
            tally += Tally::ONE_FAILURE;
        }
        Self {
            name: job.name,
            took: began.elapsed(),
            output,
            tally,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f32();
        writeln!(f, "== {}: {}, {seconds:.1} s", self.name, self.tally)?;
        f.write_str(&self.output)?;
        if !self.output.ends_with('\n') {
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(script: &str) -> Tally {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let name = "a job".to_owned();
        Report::of(Job { name, command }).tally
    }

    const TWO: Tally = Tally {
        passed: 2,
        failed: 0,
    };

    #[test]
    fn what_did_not_visibly_pass_has_failed() {
        let result = |counts: &str| format!("echo 'test result: ok. {counts}; 0 ignored'");
        assert_eq!(tally(&result("2 passed; 0 failed")), TWO);
        // It says that it passed and dies.
        let died = tally(&format!("{}; kill -9 $$", result("2 passed; 0 failed")));
        assert_eq!((died.passed, died.failed), (2, 1));
        // It says nothing.
        assert_eq!(tally("true"), Tally::ONE_FAILURE);
        // It counts by itself.
        let failed = tally(&format!("{}; exit 101", result("1 passed; 3 failed")));
        assert_eq!((failed.passed, failed.failed), (1, 3));
    }

    #[test]
    fn a_program_that_is_missing_has_failed() {
        let job = Job {
            name: "none".to_owned(),
            command: Command::new("/nonexistent/test"),
        };
        assert_eq!(Report::of(job).tally, Tally::ONE_FAILURE);
    }

    #[test]
    fn output_is_shown_whole_under_the_name() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2"]);
        let name = "a job".to_owned();
        let shown = Report::of(Job { name, command }).to_string();
        assert!(shown.starts_with("== a job: 0 passed, 1 failed"), "{shown}");
        assert!(shown.contains("one\ntwo\n"), "{shown}");
    }
}
