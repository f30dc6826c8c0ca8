//! Random packets at a node in memory. What must hold, and the same bytes as a named case, are in
//! `policy_tests::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_tests::fuzz::run(bytes));
