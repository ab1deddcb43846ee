//! The `spaceport` binary.
fn main() {}
