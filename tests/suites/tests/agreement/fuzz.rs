//! The fuzz target's body on random bytes, bounded; `tests/fuzz` runs it under libFuzzer.

use crate::random::Random;

#[test]
fn random_packets_break_no_invariant_of_the_decision_core() {
    let mut random = Random::new();
    for run in 0..3_000 {
        let bytes = random.bytes(4096);
        let outcome = std::panic::catch_unwind(|| policy_fuzz::run(&bytes));
        if let Err(panic) = outcome {
            println!("run {run}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn input_of_any_length_is_judged() {
    // Every length of input, so that the generator's ends are met too.
    let bytes = Random::new().bytes(1024);
    for length in 0..bytes.len() {
        policy_fuzz::run(&bytes[..length]);
    }
}
