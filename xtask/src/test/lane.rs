//! What may run beside what.
//!
//! Suites that wait for packets, grace periods and agents hardly compute and mind company that
//! makes the kernel busy with the same things; they take turns. What only computes runs beside
//! them. Invariant: a program that is not known to compute takes its turn.

use super::job::Job;

/// Test programs that compute and look at no clock, by the beginnings of their names: they load
/// programs at most, and give none of them to an interface.
const COMPUTING: [&str; 14] = [
    "documentation",
    "policy-agent policy_agent (lib)",
    "policy-bench policy_bench",
    "policy-bpf ",
    "policy-common ",
    "policy-conformance conformance",
    "policy-conformance kernel",
    "policy-core ",
    "policy-repository ",
    "policy-ebpf ",
    "policy-fuzz ",
    "policy-suites agreement",
    "policy-vmtest ",
    "xtask ",
];

/// The jobs of the two lanes, each in its order.
pub(super) struct Lanes {
    /// One at a time: they make namespaces and wait.
    pub(super) waiting: Vec<Job>,
    /// Beside them.
    pub(super) computing: Vec<Job>,
}

impl Lanes {
    /// Deals the jobs.
    pub(super) fn of(jobs: Vec<Job>) -> Self {
        let computes = |job: &Job| COMPUTING.iter().any(|start| job.name.starts_with(start));
        let (computing, waiting) = jobs.into_iter().partition(computes);
        Self { waiting, computing }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_suite_on_the_wire_takes_its_turn_and_so_does_what_is_not_known() {
        let job = |name: &str| Job {
            name: name.to_owned(),
            command: Command::new("true"),
        };
        let lanes = Lanes::of(
            [
                "policy-suites lifecycle (test)",
                "policy-core laws (test)",
                "policy-new new (test)",
                "policy-conformance wire (test)",
            ]
            .map(job)
            .into(),
        );
        let names = |jobs: &[Job]| jobs.iter().map(|job| job.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            names(&lanes.waiting),
            [
                "policy-suites lifecycle (test)",
                "policy-new new (test)",
                "policy-conformance wire (test)"
            ]
        );
        assert_eq!(names(&lanes.computing), ["policy-core laws (test)"]);
    }
}
