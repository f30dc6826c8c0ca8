//! The TC programs.
fn main() {}
