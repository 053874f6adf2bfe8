//! The `datadog-traceroute` command.
fn main() {}
