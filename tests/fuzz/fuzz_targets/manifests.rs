//! Random bytes as versions of a file of manifests. What must hold is in
//! `policy_fuzz`.
//!
//! Built without cargo-fuzz it runs the body once on each file that it is given: a crash reproduced
//! by an ordinary build.
#![cfg_attr(fuzzing, no_main)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_fuzz::manifests(bytes));

#[cfg(not(fuzzing))]
fn main() -> anyhow::Result<()> {
    use anyhow::Context as _;

    for path in std::env::args_os().skip(1) {
        println!("{}", path.display());
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        policy_fuzz::manifests(&bytes);
    }
    Ok(())
}
