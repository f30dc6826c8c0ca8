//! A process for every size: started here, and its figures read.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{CASES, NAME, measure};
use crate::{options::Options, report::Figure, report::Parameters, report::Report};

/// How large a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub(super) pods: usize,
    pub(super) policies: usize,
}

const SIZES: [Size; 3] = [
    Size {
        pods: 1_000,
        policies: 100,
    },
    Size {
        pods: 10_000,
        policies: 1_000,
    },
    super::BARRED,
];

impl Size {
    pub(super) fn parameters(self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.push("pods", self.pods);
        parameters.push("policies", self.policies);
        parameters
    }
}

/// A size from its form on the command line, `PODS,POLICIES`.
///
/// # Errors
/// It is something else.
pub fn parse_size(text: &str) -> Result<Size> {
    let (pods, policies) = text.split_once(',').context("PODS,POLICIES is expected")?;
    Ok(Size {
        pods: pods.parse().context("the number of pods")?,
        policies: policies.parse().context("the number of policies")?,
    })
}

/// Measures one size in this process, which must have done nothing else; gives the figures as JSON.
///
/// # Errors
/// A change did not do what it must.
pub fn figures(options: &Options, size: Size) -> Result<String> {
    Ok(serde_json::to_string(&measure(options, size)?)?)
}

/// Measures every size in a process of its own. The figures of a size come together.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.expect(SIZES.len() * CASES.len());
    for Size { pods, policies } in SIZES {
        report.doing(&format!("{NAME}: {pods} pods, {policies} policies"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--resolver", &format!("{pods},{policies}")]);
        if options.quick {
            command.arg("--quick");
        }
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("starting a process for the resolver")?;
        ensure!(output.status.success(), "{pods} pods: {}", output.status);
        let figures: Vec<Figure> =
            serde_json::from_slice(&output.stdout).context("figures of the resolver")?;
        let wanted = figures
            .into_iter()
            .filter(|figure| options.wants(NAME, &figure.case));
        wanted.for_each(|figure| report.add(figure));
    }
    Ok(())
}
