//! The fuzz target's body on random bytes, bounded, and on every input that is kept: the corpus that
//! libFuzzer starts from, and each crash that was ever found, under a name that says what it was.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, panic, path::Path};

/// The same bytes in every run, unless `POLICY_SEED` names another seed, which is printed.
fn random() -> fastrand::Rng {
    let seed = std::env::var("POLICY_SEED").map_or(1, |text| text.parse().unwrap());
    println!("seed: POLICY_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn bytes(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// Runs what is in the files of a directory, and names the one that breaks something.
fn every_file_of(directory: &str) -> usize {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        inputs += 1;
        let bytes = fs::read(&path).unwrap();
        if let Err(panic) = panic::catch_unwind(|| policy_fuzz::run(&bytes)) {
            println!("{}", path.display());
            panic::resume_unwind(panic);
        }
    }
    inputs
}

#[test]
fn random_packets_break_no_invariant_of_the_decision_core() {
    let mut random = random();
    for run in 0..3_000 {
        let bytes = bytes(&mut random, 4096);
        if let Err(panic) = panic::catch_unwind(|| policy_fuzz::run(&bytes)) {
            println!("run {run}");
            panic::resume_unwind(panic);
        }
    }
}

#[test]
fn input_of_any_length_is_judged() {
    // Every length of input, so that the generator's ends are met too.
    let bytes = bytes(&mut random(), 1024);
    for length in 0..bytes.len() {
        policy_fuzz::run(&bytes[..length]);
    }
}

#[test]
fn every_input_that_is_kept_breaks_no_invariant() {
    let inputs = every_file_of("corpus/decide");
    assert!(inputs >= 10, "only {inputs} inputs");
}

#[test]
fn every_crash_that_was_found_stays_mended() {
    // There may be none yet.
    every_file_of("crashes/decide");
}
