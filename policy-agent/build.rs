//! Finds the eBPF object that `cargo xtask build-ebpf` made, so that the agent can embed it.
//!
//! Without the object the crate builds all the same (check, clippy and doc on a fresh clone) and
//! loading says what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed=POLICY_EBPF_OBJECT");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(ebpf_object)");
    let Some(out_dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        eprintln!("OUT_DIR is not set: run this through cargo");
        return ExitCode::FAILURE;
    };
    let Some(object) = object_path(&out_dir) else {
        return ExitCode::SUCCESS;
    };
    println!("cargo:rerun-if-changed={}", object.display());
    if !object.is_file() {
        return ExitCode::SUCCESS;
    }
    // A copy under a fixed name, because include_bytes takes a literal.
    if let Err(error) = fs::copy(&object, out_dir.join("policy-ebpf")) {
        eprintln!("copying {}: {error}", object.display());
        return ExitCode::FAILURE;
    }
    println!("cargo:rustc-cfg=ebpf_object");
    ExitCode::SUCCESS
}

/// `POLICY_EBPF_OBJECT`, or `ebpf/policy-ebpf` in the target directory that holds `OUT_DIR`.
fn object_path(out_dir: &Path) -> Option<PathBuf> {
    if let Some(path) = env::var_os("POLICY_EBPF_OBJECT") {
        return Some(path.into());
    }
    // <target>[/<triple>]/<profile>/build/<package>/out
    let top = out_dir.ancestors().nth(4)?;
    let is_triple = env::var_os("TARGET").is_some_and(|triple| top.ends_with(triple));
    let target = if is_triple { top.parent()? } else { top };
    Some(target.join("ebpf").join("policy-ebpf"))
}
