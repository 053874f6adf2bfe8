//! The crates and programs that commands deal with by name.

/// Without an operating system, a clock, a runtime or `unsafe`: any processor may run their tests.
pub(crate) const PURE: [&str; 7] = [
    "traceroute-wire",
    "traceroute-core",
    "traceroute-icmp",
    "traceroute-udp",
    "traceroute-tcp",
    "traceroute-sack",
    "datadog-driver-sys",
];

/// What people are given: the command and the service, and the packages that they are made of.
pub(crate) const COMMAND: &str = "datadog-traceroute";
pub(crate) const SERVICE: &str = "datadog-traceroute-server";
pub(crate) const PACKAGES: [&str; 2] = ["traceroute-cli", "traceroute-server"];
