//! What a case does and expects, step by step, as the file has it.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use super::{
    case::Protocol,
    endpoint::{End, Family, Service},
    verdict::{Cell, Expected, Row},
};

/// One step: its actions in order, then everything in `expect` must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// For people.
    pub(crate) name: String,
    /// What changes.
    #[serde(default)]
    pub(crate) actions: Vec<Action>,
    /// What must hold then.
    #[serde(default)]
    pub(crate) expect: Vec<Block>,
    /// Create requests and what an API server says to them.
    #[serde(default)]
    pub(crate) admission: Vec<Admission>,
}

/// One change of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Action {
    /// Create, or replace as a whole, one Kubernetes object.
    pub(crate) apply: Option<serde_json::Value>,
    /// Delete one; a namespace takes its pods and policies along.
    pub(crate) delete: Option<Reference>,
    /// Replace the whole label map of a Pod, Namespace or Node.
    pub(crate) set_labels: Option<SetLabels>,
}

/// Names one object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Reference {
    /// The API group and version.
    pub(crate) api_version: String,
    /// The kind.
    pub(crate) kind: String,
    /// The namespace, of kinds that have one.
    pub(crate) namespace: Option<String>,
    /// The name.
    pub(crate) name: String,
}

/// New labels of one object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLabels {
    /// `Pod`, `Namespace` or `Node`.
    pub(crate) kind: String,
    /// The namespace of a pod.
    pub(crate) namespace: Option<String>,
    /// The name.
    pub(crate) name: String,
    /// All labels from now on.
    pub(crate) labels: BTreeMap<String, String>,
}

/// One create request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admission {
    /// The object.
    pub(crate) object: serde_json::Value,
    /// What an API server says.
    pub(crate) verdict: AdmissionVerdict,
}

/// What an API server says to a create request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AdmissionVerdict {
    /// Created.
    Accept,
    /// Refused.
    Reject,
}

/// One block of `expect`: a table or a list of probes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    /// The families in which the block holds; `None`: both.
    pub(crate) families: Option<Vec<Family>>,
    /// The connections that every cell of `table` stands for.
    pub(crate) traffic: Option<Vec<Service>>,
    /// Rows: from, columns: to.
    pub(crate) table: Option<Table>,
    /// Single connections.
    pub(crate) probes: Option<Vec<SingleProbe>>,
}

/// Rows: from, columns: to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// The columns.
    pub(crate) to: Vec<End>,
    /// The rows: one cell per column.
    pub(crate) from: BTreeMap<End, Row>,
}

/// One connection with its verdict.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SingleProbe {
    /// Who opens it.
    pub(crate) from: End,
    /// To whom.
    pub(crate) to: End,
    /// To which port.
    pub(crate) port: u16,
    /// With which protocol.
    pub(crate) protocol: Protocol,
    /// What becomes of it.
    pub(crate) verdict: Expected,
}

impl Step {
    /// What the shape alone does not say.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            !(self.expect.is_empty() && self.admission.is_empty() && self.actions.is_empty()),
            "neither actions nor expect nor admission"
        );
        for action in &self.actions {
            let forms = [
                action.apply.is_some(),
                action.delete.is_some(),
                action.set_labels.is_some(),
            ];
            ensure!(
                forms.iter().filter(|form| **form).count() == 1,
                "an action is one of apply, delete and setLabels"
            );
        }
        self.expect.iter().try_for_each(Block::check)
    }
}

impl Block {
    fn check(&self) -> Result<()> {
        if self.families.as_ref().is_some_and(Vec::is_empty) {
            bail!("families is empty: the block would assert nothing");
        }
        match (&self.table, &self.traffic, &self.probes) {
            (Some(table), Some(traffic), None) => {
                ensure!(
                    !traffic.is_empty(),
                    "traffic is empty: the table would assert nothing"
                );
                table.check()
            }
            (None, None, Some(_)) => Ok(()),
            _ => bail!("a block has either traffic and table, or probes"),
        }
    }
}

impl Table {
    fn check(&self) -> Result<()> {
        for (from, row) in &self.from {
            let cells: &[Cell] = row.cells();
            ensure!(
                cells.len() == self.to.len(),
                "row {from} has {} cells for {} columns",
                cells.len(),
                self.to.len()
            );
        }
        Ok(())
    }
}
