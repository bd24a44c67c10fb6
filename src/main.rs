//! The regseal executable.
fn main() {}
