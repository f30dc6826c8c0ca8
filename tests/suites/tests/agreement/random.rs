//! Repeatable randomness.

use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// A source of random values.
pub(crate) struct Random {
    runner: TestRunner,
}

impl Random {
    /// The same values in every run, unless `POLICY_SEED` names another seed. The seed is printed.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("POLICY_SEED") {
            Ok(text) => text.parse().expect("POLICY_SEED is a number"),
            Err(_) => 1_u64,
        };
        println!("seed: POLICY_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self {
            runner: TestRunner::new_with_rng(Config::default(), rng),
        }
    }

    /// Random bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        use proptest::prelude::Rng as _;
        let mut bytes = vec![0; length];
        self.runner.rng().fill_bytes(&mut bytes);
        bytes
    }

    /// A random value.
    pub(crate) fn value<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        let tree = strategy.new_tree(&mut self.runner);
        tree.expect("the strategy rejects too much").current()
    }
}
