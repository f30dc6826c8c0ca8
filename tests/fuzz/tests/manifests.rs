//! The manifests target's body on what is kept, and on that with a few bytes changed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, panic, path::Path};

/// The contents of the files of a directory, with their names.
fn inputs(directory: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            inputs.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    inputs.sort();
    inputs
}

fn run(name: &str, bytes: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| policy_fuzz::manifests(bytes)) {
        println!("{name}: {}", bytes.escape_ascii());
        panic::resume_unwind(panic);
    }
}

#[test]
fn every_input_that_is_kept_breaks_no_invariant() {
    let kept = inputs("corpus/manifests");
    assert!(kept.len() >= 10, "only {} inputs", kept.len());
    for (name, bytes) in kept.iter().chain(&inputs("crashes/manifests")) {
        run(name, bytes);
    }
}

/// For longer: `POLICY_FUZZ_SECONDS=300`, with another `POLICY_SEED`.
#[test]
fn a_few_changed_bytes_break_no_invariant() {
    let number = |name: &str| std::env::var(name).map(|text| text.parse::<u64>().unwrap());
    let seed = number("POLICY_SEED").unwrap_or(1);
    println!("seed: POLICY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let kept = inputs("corpus/manifests");
    let begin = std::time::Instant::now();
    let seconds = number("POLICY_FUZZ_SECONDS").unwrap_or(0);
    let mut runs = 0;
    while runs < 1_000 || begin.elapsed().as_secs() < seconds {
        let (name, bytes) = random.choice(&kept).unwrap();
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            let end = (at + random.usize(1..20)).min(bytes.len());
            match random.u8(..5) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] = *random.choice(b" \n-:{}[]#&*!|>'\"%@`,?0\t.<").unwrap(),
                2 if end - at < bytes.len() => drop(bytes.drain(at..end)),
                3 => {
                    let (_, other) = random.choice(&kept).unwrap();
                    let from = random.usize(..other.len());
                    let piece = &other[from..(from + 40).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        run(name, &bytes);
        runs += 1;
    }
    println!("{runs} runs");
}
