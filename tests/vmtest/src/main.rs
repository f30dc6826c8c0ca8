//! What the kernel matrix runs inside each virtual machine: `vmtest OBJECT` loads every program of
//! the eBPF object and so has this kernel's verifier judge it, then has the agent's datapath enforce
//! a policy between two pods, by every mechanism of attachment that the kernel has.
//!
//! Needs no files but the object, no programs but an `ip`, and little memory.
//! Prints lines for the matrix: one per program that begins with `@@PROGRAM`, one per check that
//! begins with `ok: `, and a last one that begins with `@@SUMMARY`. A guest that prints none of
//! them for long is given up.

mod network;
mod policies;
mod suite;

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    EbpfLoader,
    programs::{Program, SchedClassifier},
};
use policy_agent::datapath::{Mechanism, has_tcx};
use policy_bpf::ProgramFacts;

fn main() -> Result<()> {
    let object: PathBuf = env::args_os()
        .nth(1)
        .context("usage: vmtest OBJECT")?
        .into();
    let mut ebpf = EbpfLoader::new()
        .load_file(&object)
        .with_context(|| format!("loading {}", object.display()))?;
    let mut verified = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let Program::SchedClassifier(classifier) = program else {
            bail!("{name} is no TC program");
        };
        verified.push(format!("{name}: {}", verify(name, classifier)?));
    }
    if verified.is_empty() {
        bail!("{} has no programs", object.display());
    }
    verified.sort();
    for program in &verified {
        println!("@@PROGRAM {program}");
    }
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
        "@@SUMMARY programs verified: {}; checks passed: {}",
        verified.len(),
        enforced.join(", ")
    );
    Ok(())
}

/// Instructions that the verifier may follow in one program, all ways together. Every kernel refuses a program
/// at 1,000,000; newer ones follow up to twice as many as older ones.
const MOST_VERIFIED: u32 = 200_000;

/// Loads one program and says what the kernel made of it, and how long that took.
fn verify(name: &str, classifier: &mut SchedClassifier) -> Result<String> {
    let begun = Instant::now();
    classifier
        .load()
        .with_context(|| format!("the verifier refuses {name}"))?;
    let milliseconds = begun.elapsed().as_millis();
    let facts = ProgramFacts::of(classifier.fd()?).with_context(|| format!("asking for {name}"))?;
    // Kernels before 5.16 do not say.
    if let Some(verified) = facts.verified {
        ensure!(
            verified < MOST_VERIFIED,
            "{name}: the verifier followed {verified} instructions, which may be {MOST_VERIFIED} at most. What \
             many ways lead to belongs into a global function (policy-ebpf/src/bpf/steps.rs), which is followed \
             once; what differs between ways and matters no more is to be forgotten (`Bytes::forget`) where they \
             meet. The verifier's log of level 2 says which function is followed how often."
        );
    }
    Ok(format!("{facts}, loaded in {milliseconds} ms"))
}
