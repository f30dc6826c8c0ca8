//! What the kernel matrix runs inside each virtual machine: `vmtest OBJECT` loads every program of
//! the eBPF object and so has this kernel's verifier judge it, then has the agent's datapath enforce
//! a policy between two pods, by every mechanism of attachment that the kernel has.
//!
//! Needs no files but the object, no programs but an `ip`, and little memory.
//! Prints one line per program and a last line for the matrix, which begins with `@@SUMMARY`.

mod network;
mod suite;

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{
    EbpfLoader, VerifierLogLevel,
    programs::{Program, SchedClassifier},
};
use policy_agent::datapath::{Mechanism, has_tcx};

fn main() -> Result<()> {
    let object: PathBuf = env::args_os()
        .nth(1)
        .context("usage: vmtest OBJECT")?
        .into();
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load_file(&object)
        .with_context(|| format!("loading {}", object.display()))?;
    let mut verified = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let Program::SchedClassifier(classifier) = program else {
            bail!("{name} is no TC program");
        };
        let instructions = verify(name, classifier)?;
        println!("verified {name}: {instructions} instructions");
        verified.push(format!("{name} {instructions}"));
    }
    if verified.is_empty() {
        bail!("{} has no programs", object.display());
    }
    verified.sort();
    // Its tables have the sizes of a large node.
    drop(ebpf);
    let object = fs::read(&object).context("reading the object")?;
    let mut enforced = Vec::new();
    for mechanism in [Mechanism::Tcx, Mechanism::Clsact] {
        if mechanism == Mechanism::Tcx && !has_tcx() {
            continue;
        }
        let checks = suite::run(&object, mechanism)
            .with_context(|| format!("with programs attached by {mechanism:?}"))?;
        enforced.push(format!("{mechanism:?} {checks}"));
    }
    println!(
        "@@SUMMARY verified (instructions): {}; checks passed: {}",
        verified.join(", "),
        enforced.join(", ")
    );
    Ok(())
}

/// Loads one program and says how many instructions the verifier processed, where the kernel tells
/// (5.16).
fn verify(name: &str, classifier: &mut SchedClassifier) -> Result<String> {
    classifier
        .load()
        .with_context(|| format!("the verifier refuses {name}"))?;
    let info = classifier
        .info()
        .with_context(|| format!("asking for {name}"))?;
    Ok(info
        .verified_instruction_count()
        .map_or_else(|| "?".to_owned(), |count| count.to_string()))
}
