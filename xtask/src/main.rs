//! Builds and launches.
fn main() {}
