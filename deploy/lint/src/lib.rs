//! What is deployed, as kubectl renders the kustomize base and helm the chart, and how they differ.
//!
//! Owns how helm is built and asked. Knows nothing of what the objects mean.

mod difference;
mod helm;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

pub use difference::differences;
pub use helm::{Helm, NAMESPACE};

/// A directory below `deploy`.
#[must_use]
pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The objects that `kubectl apply --kustomize` would put there.
///
/// # Errors
/// There is no kubectl, or it does not render or warns.
pub fn kustomized(name: &str) -> Result<Vec<Value>> {
    let mut kubectl = Command::new("kubectl");
    objects(kubectl.arg("kustomize").arg(directory(name)))
}

/// The objects that a command prints.
fn objects(command: &mut Command) -> Result<Vec<Value>> {
    let text = output(command)?;
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}

/// What a command prints that succeeds and has nothing to complain of.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && errors.is_empty(),
        "{program}: {}\n{}",
        errors.trim(),
        String::from_utf8_lossy(&output.stdout).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
