//! Command lines that show what the flags are for; every flag occurs.

/// The program.
const NAME: &str = "datadog-traceroute";

/// What is behind the program's name, and what it does.
pub(crate) const EXAMPLES: &[(&str, &str)] = &[
    ("example.com", "Trace by UDP and measure for 50 seconds; Ctrl-C prints what is known."),
    ("--traceroute-queries 1 --e2e-queries 0 192.0.2.1", "Only the path, at once."),
    (
        "--proto tcp --port 443 example.com",
        "Trace the way that web traffic takes, past firewalls that stop UDP; says whether the port is open.",
    ),
    (
        "--proto tcp --tcp-method prefer_sack [2001:db8::1]:443",
        "Probe within a real connection, where the target supports that, and by SYN segments where not.",
    ),
    (
        "--proto icmp --max-ttl 64 --timeout 1000 192.0.2.1",
        "Trace by ICMP, farther, and wait less for silent routers.",
    ),
    (
        "--ipv6 --reverse-dns example.com",
        "Trace to the IPv6 address of a name, and show the names of the routers.",
    ),
    (
        "--source-public-ip --skip-private-hops --json example.com",
        "A result to share: with the public address of this host, and without the addresses of its own network.",
    ),
    ("--format csv -Q 0 example.com > path.csv", "A file for a spreadsheet."),
    (
        "-4 --source 192.0.2.7 --no-e2e example.com",
        "The path over IPv4 from another address of this host; -6 is for IPv6.",
    ),
    (
        "-6 --interface wg0 --dscp 46 example.com",
        "Through a tunnel, marked as voice is; --tos 184 means the same.",
    ),
    ("--size 1500 --tos 184 192.0.2.1", "Probes of full length: where they end, mtu says what fits."),
    (
        "--first-ttl 5 --wait full --send-delay 500 192.0.2.1",
        "Leave out the own network, probe slowly, and wait for silent routers as long as --timeout allows.",
    ),
    (
        "--proto icmp --e2e-queries 600 --e2e-interval 100 192.0.2.1",
        "Watch loss and jitter for a minute, ten probes a second.",
    ),
    (
        "--source-port 40000 -q 1 --no-e2e 192.0.2.1",
        "Probe from a port that a firewall lets pass; further runs would have the next ones.",
    ),
    (
        "--windows-driver --verbose example.com 2> log",
        "Use the driver of the Agent on Windows, and keep a log of every packet.",
    ),
    ("completion bash", "Completions for a shell: put them where it looks for them."),
    ("--version", "What this is: version, commit and date."),
    ("--help", "Every flag in full."),
];

/// The examples, for the end of the help.
pub(crate) fn listed() -> String {
    let examples = EXAMPLES.iter().map(|(line, meaning)| format!("  {NAME} {line}\n      {meaning}"));
    format!("Examples:\n{}", examples.collect::<Vec<_>>().join("\n"))
}
