//! Command lines: what is refused, in one line and before anything is sent, and what is understood.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Outcome, Report, program_with_files, start, trace};
use traceroute_testnet::Capture;
use traceroute_testnet::kernel::{Namespace, Scratch};

/// A host that could send to 127.0.0.1, and must not.
struct Quiet {
    namespace: Namespace,
    capture: Capture,
}

impl Quiet {
    fn new() -> Self {
        let namespace = Namespace::new().unwrap();
        let capture = Capture::start(&namespace, "lo").unwrap();
        Self { namespace, capture }
    }

    /// Checks that a command line fails with a reason that names all of `parts`.
    #[track_caller]
    fn assert_refused(&self, arguments: &[&str], parts: &[&str]) {
        let outcome = trace(&self.namespace, arguments);
        outcome.error_naming(parts);
        assert!(outcome.took < Duration::from_secs(1), "{arguments:?}: {:?}", outcome.took);
    }

    /// Checks that no packet was sent by anything refused so far.
    #[track_caller]
    fn assert_nothing_sent(self) {
        let packets = self.capture.stop().unwrap();
        assert_eq!(wire::sent(&packets), 0, "{packets:?}");
    }
}

#[test]
fn packets_on_loopback_would_be_noticed() {
    let quiet = Quiet::new();
    trace(&quiet.namespace, &["-q1", "-Q0", "127.0.0.1"]).report();
    assert!(wire::sent(&quiet.capture.stop().unwrap()) > 0);
}

#[test]
fn exactly_one_target_is_allowed() {
    let quiet = Quiet::new();
    for arguments in [&[][..], &["-q1"], &["--"], &["-P", "icmp"]] {
        quiet.assert_refused(arguments, &["no target", "name", "address"]);
    }
    quiet.assert_refused(&["127.0.0.1", "127.0.0.2"], &["one target", "2"]);
    quiet.assert_refused(&["127.0.0.1", "-q1", "--", "-Q0", "127.0.0.2"], &["one target", "3"]);
    quiet.assert_refused(&["127.0.0.1", "version"], &["one target", "2"]);
    quiet.assert_nothing_sent();
}

#[test]
fn numbers_outside_of_their_range_are_refused_with_the_range() {
    let quiet = Quiet::new();
    for (flag, name, bad, range) in [
        ("--port", "port", &["70000", "65536", "-1"][..], ["0", "65535"]),
        ("-p", "port", &["70000", "-1"], ["0", "65535"]),
        ("--max-ttl", "max-ttl", &["0", "256", "300", "-1"], ["1", "255"]),
        ("-m", "max-ttl", &["0", "256"], ["1", "255"]),
        ("--traceroute-queries", "traceroute-queries", &["-1", "1001", "100000"], ["0", "1000"]),
        ("-q", "traceroute-queries", &["-1", "1001"], ["0", "1000"]),
        ("--e2e-queries", "e2e-queries", &["-1", "10001"], ["0", "10000"]),
        ("-Q", "e2e-queries", &["-1", "10001"], ["0", "10000"]),
        ("--timeout", "timeout", &["0", "-1", "600001"], ["1", "600000"]),
        ("--first-ttl", "first-ttl", &["0", "256", "-1"], ["1", "255"]),
        ("--send-delay", "send-delay", &["0", "-1", "60001"], ["1", "60000"]),
        ("--e2e-interval", "e2e-interval", &["-1", "3600001"], ["0", "3600000"]),
        ("--source-port", "source-port", &["-1", "65536"], ["0", "65535"]),
        ("--tos", "tos", &["-1", "256"], ["0", "255"]),
        ("--dscp", "dscp", &["-1", "64"], ["0", "63"]),
        ("--size", "size", &["-1", "1", "65", "65536"], ["0", "65535"]),
    ] {
        let [from, to] = range;
        let allowed = format!("from {from} to {to}");
        let malformed = ["abc", "", "0x10", "1_0", "1.5", "1e3", " 5", "99999999999999999999"];
        for value in bad.iter().copied().chain(malformed) {
            quiet.assert_refused(&[flag, value, "127.0.0.1"], &[name, value, &allowed]);
            quiet.assert_refused(&["127.0.0.1", &format!("{flag}={value}")], &[name, value, &allowed]);
        }
    }
    quiet.assert_nothing_sent();
}

#[test]
fn an_unknown_protocol_or_method_is_refused_with_those_there_are() {
    let quiet = Quiet::new();
    for value in ["ftp", "", "udp ", "4"] {
        quiet.assert_refused(&["-P", value, "127.0.0.1"], &["protocol", value, "udp", "icmp", "tcp"]);
    }
    quiet.assert_refused(
        &["--tcp-method", "fin", "127.0.0.1"],
        &["tcp-method", "fin", "syn", "sack", "prefer_sack", "syn_socket"],
    );
    quiet.assert_nothing_sent();
}

#[test]
fn what_contradicts_the_target_or_another_flag_is_refused() {
    let quiet = Quiet::new();
    for (arguments, parts) in [
        (&["--first-ttl", "6", "--max-ttl", "5", "127.0.0.1"][..], &["first-ttl 6", "5", "max-ttl"][..]),
        (&["--size", "100", "-P", "tcp", "127.0.0.1"], &["size 100", "tcp", "udp or icmp"]),
        (&["-6", "127.0.0.1"], &["127.0.0.1", "IPv6"]),
        (&["-6", "-4", "::1"], &["::1", "IPv4"]),
        (&["--source", "::1", "127.0.0.1"], &["source ::1", "IPv4"]),
        (&["--source", "127.0.0.1", "--ipv6", "localhost"], &["source 127.0.0.1", "IPv6"]),
        (&["--source", "localhost", "127.0.0.1"], &["source", "localhost", "IPv4 or IPv6 address"]),
        (&["--source", "224.0.0.1", "127.0.0.1"], &["source 224.0.0.1", "multicast"]),
        (&["--source", "0.0.0.0", "127.0.0.1"], &["source 0.0.0.0", "unspecified"]),
        (&["--source", "255.255.255.255", "127.0.0.1"], &["source 255.255.255.255", "broadcast"]),
        (&["--source", "fe80::1%lo", "fe80::2%lo"], &["fe80::1%lo", "leave out %lo", "interface lo"]),
        (&["--source-port", "9", "-P", "icmp", "127.0.0.1"], &["source-port 9", "icmp", "udp or tcp"]),
        (&["--source-port", "65534", "-q3", "127.0.0.1"], &["source-port 65534", "3 runs", "65533"]),
        (&["--wait", "long", "127.0.0.1"], &["wait", "long", "adaptive", "full"]),
    ] {
        quiet.assert_refused(arguments, parts);
    }
    quiet.assert_nothing_sent();
}

#[test]
fn what_this_host_does_not_have_is_refused() {
    let quiet = Quiet::new();
    quiet.assert_refused(&["--source", "192.0.2.1", "127.0.0.1"], &["192.0.2.1", "ip address"]);
    quiet.assert_refused(&["--interface", "nowhere0", "127.0.0.1"], &["nowhere0", "ip link"]);
}

#[test]
fn an_address_that_is_ipv4_written_as_ipv6_is_that_address() {
    let namespace = Namespace::new().unwrap();
    let report = understood(&namespace, &["--source", "::ffff:127.0.0.1", "-q1", "-Q0", "127.0.0.1"]);
    assert_eq!(report.run()["source"]["ip_address"], "127.0.0.1");
}

/// The runs have the first ports, and end-to-end probes those behind; a port that another program has is said to be taken.
#[test]
fn the_local_ports_are_those_asked_for_or_it_is_said_that_they_are_not() {
    let namespace = Namespace::new().unwrap();
    let ports = |report: &Report| -> Vec<u64> {
        let mut ports: Vec<_> =
            report.runs().iter().map(|run| run["source"]["port"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        ports
    };
    for (arguments, first) in [
        (&["--source-port", "40000", "-q3", "-Q2", "--e2e-interval=1", "127.0.0.1"][..], 40_000),
        (&["--source-port", "65533", "-q3", "-Q2", "--e2e-interval=1", "127.0.0.1"], 65_533),
        (&["--source-port", "41000", "-q3", "-Q2", "--e2e-interval=1", "-P", "tcp", "127.0.0.1"], 41_000),
    ] {
        let report = understood(&namespace, arguments);
        assert_eq!(ports(&report), [first, first + 1, first + 2], "{arguments:?}");
        assert_eq!(report.0.get("warnings"), None, "{arguments:?}");
    }
    let _taken = namespace.run(|| UdpSocket::bind("127.0.0.1:40001")).unwrap();
    let report = understood(&namespace, &["--source-port", "40000", "-q3", "-Q0", "127.0.0.1"]);
    assert_eq!(ports(&report), [40_000, 40_002, 40_003]);
    let warning = "not every local port from 40000 to 40002 was free: the runs had 3 from 40000 to 40003";
    assert_eq!(report.0["warnings"], serde_json::json!([warning]));

    // Where only one is left, the runs have it one after the other.
    let _taken = namespace.run(|| [65_534, 65_535].map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap()));
    let report = understood(&namespace, &["--source-port", "65533", "-q3", "-Q0", "127.0.0.1"]);
    assert_eq!(ports(&report), [65_533; 3]);
    let warning = "not every local port from 65533 to 65535 was free: the runs had 65533 alone";
    assert_eq!(report.0["warnings"], serde_json::json!([warning]));
    let outcome = trace(&namespace, &["--source-port", "65535", "-q1", "-Q0", "127.0.0.1"]);
    outcome.error_naming(&["no more ports from --source-port 65535 on", "begin lower", "ss -anp"]);
}

#[test]
fn of_flags_that_mean_the_same_the_last_wins() {
    let namespace = Namespace::new().unwrap();
    for (flags, probes) in [
        (&["--no-e2e"][..], 0),
        (&["-Q", "2", "--no-e2e"], 0),
        (&["--no-e2e", "-Q", "2"], 2),
        (&["-6", "-4", "-Q2"], 2),
        (&["--tos", "256", "--dscp", "63", "-Q2"], 2),
    ] {
        let outcome = trace(&namespace, &[flags, &["-q1", "--e2e-interval=1", "127.0.0.1"]].concat());
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_eq!(runs_and_probes(&outcome.json()), (1, probes), "{flags:?}");
    }
}

#[test]
fn an_unknown_format_or_shell_is_refused_with_those_there_are() {
    let quiet = Quiet::new();
    for value in ["xml", "", "json "] {
        let parts = ["format", value, "auto", "json", "table", "csv"];
        quiet.assert_refused(&["--format", value, "127.0.0.1"], &parts);
    }
    quiet.assert_refused(&["127.0.0.1", "--format"], &["value", "--format"]);
    let shells = ["bash", "zsh", "fish", "powershell", "elvish"];
    quiet.assert_refused(&["completion", "tcsh"], &[&["shell", "tcsh"][..], &shells].concat());
    quiet.assert_refused(&["completion"], &[&["no shell"][..], &shells].concat());
    quiet.assert_nothing_sent();
}

#[test]
fn what_is_no_target_is_refused_with_the_reason() {
    let quiet = Quiet::new();
    for (target, reason) in [
        ("", "empty"),
        (":80", "empty"),
        ("host:", "port"),
        ("host:0", "port"),
        ("host:http", "port"),
        ("host:65536", "port"),
        ("[::1]:0", "port"),
        ("[::1", "bracket"),
        ("[localhost]", "not an IP address"),
        ("127.1", "neither a name nor an IPv4 address"),
        ("010.0.0.1", "neither a name nor an IPv4 address"),
        ("256.0.0.1", "neither a name nor an IPv4 address"),
        ("2130706433", "neither a name nor an IPv4 address"),
        ("a b", "letters, digits"),
        ("http://localhost/", "URL: give its host"),
        ("::g", "not an IPv6 address"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::1%lo", "not link-local"),
        ("fe80::1%", "interface"),
    ] {
        quiet.assert_refused(&["--", target], &["invalid target", reason]);
    }
    for target in ["a\nb", "a..b", &"a".repeat(64), &"a.".repeat(128)] {
        quiet.assert_refused(&[target], &["invalid target", "host name"]);
    }
    quiet.assert_nothing_sent();
}

#[test]
fn unknown_flags_and_missing_values_are_named() {
    let quiet = Quiet::new();
    quiet.assert_refused(&["--nonsense", "127.0.0.1"], &["--nonsense"]);
    quiet.assert_refused(&["-x", "127.0.0.1"], &["-x"]);
    quiet.assert_refused(&["--max-tll=3", "127.0.0.1"], &["--max-tll", "--max-ttl"]);
    quiet.assert_refused(&["-vx", "127.0.0.1"], &["-x"]);
    for (flag, name) in [
        ("--port", "--port"),
        ("-p", "--port"),
        ("-q", "--traceroute-queries"),
        ("--e2e-queries", "--e2e-queries"),
        ("-m", "--max-ttl"),
        ("--timeout", "--timeout"),
        ("-P", "--proto"),
        ("--tcp-method", "--tcp-method"),
    ] {
        quiet.assert_refused(&["127.0.0.1", flag], &["value", name]);
    }
    quiet.assert_nothing_sent();
}

#[test]
fn switches_take_their_words_and_no_others() {
    let quiet = Quiet::new();
    for flag in [
        "--ipv6",
        "--reverse-dns",
        "--source-public-ip",
        "--skip-private-hops",
        "--windows-driver",
        "--verbose",
        "--json",
    ] {
        for value in ["yes", "2", "on", "tRUE"] {
            let parts = [flag.trim_start_matches('-'), value, "true", "false"];
            quiet.assert_refused(&[&format!("{flag}={value}"), "127.0.0.1"], &parts);
        }
        // A separate word is another target.
        quiet.assert_refused(&[flag, "true", "127.0.0.1"], &["one target", "2"]);
    }
    quiet.assert_nothing_sent();
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let quiet = Quiet::new();
    for arguments in [&[&b"\xff"[..]][..], &[b"-P", b"\xff", b"127.0.0.1"], &[b"--\xff", b"127.0.0.1"]] {
        let mut command = common::program(&quiet.namespace, &[]);
        command.args(arguments.iter().map(|argument| OsStr::from_bytes(argument)));
        start(&mut command).wait().error();
    }
    quiet.assert_nothing_sent();
}

/// The result of a command line that is to be understood.
fn understood(namespace: &Namespace, arguments: &[&str]) -> Report {
    let outcome = trace(namespace, arguments);
    assert_eq!(outcome.status, Some(0), "{arguments:?}: {outcome:?}");
    outcome.json()
}

fn runs_and_probes(report: &Report) -> (usize, u64) {
    (report.runs().len(), report.0["e2e_probe"]["packets_sent"].as_u64().unwrap())
}

#[test]
fn counts_may_be_written_in_every_usual_way_and_the_last_one_wins() {
    let namespace = Namespace::new().unwrap();
    for (arguments, expected) in [
        (&["-q3", "-Q0", "127.0.0.1"][..], (3, 0)),
        (&["-q=3", "-Q=1", "127.0.0.1"], (3, 1)),
        (&["-q", "2", "-Q", "1", "127.0.0.1"], (2, 1)),
        (&["--traceroute-queries=2", "--e2e-queries", "0", "127.0.0.1"], (2, 0)),
        (&["127.0.0.1", "-q1", "-Q0"], (1, 0)),
        (&["-q1", "127.0.0.1", "-Q1"], (1, 1)),
        (&["-q3", "-Q0", "-q1", "127.0.0.1", "--traceroute-queries", "2"], (2, 0)),
        (&["-q1", "-Q0", "--", "127.0.0.1"], (1, 0)),
        (&["-q03", "-Q00", "127.0.0.1"], (3, 0)),
    ] {
        assert_eq!(runs_and_probes(&understood(&namespace, arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn short_flags_may_be_joined_and_ports_may_be_given() {
    let namespace = Namespace::new().unwrap();
    for (arguments, port, probed) in [
        (&["-vp", "80", "127.0.0.1"][..], 80, 80),
        (&["-vp80", "127.0.0.1"], 80, 80),
        (&["-p=80", "127.0.0.1"], 80, 80),
        (&["-p0", "127.0.0.1"], 33434, 33434),
        (&["-p80", "-p", "81", "127.0.0.1"], 81, 81),
        (&["-p80", "127.0.0.1:99"], 80, 99),
        (&["[::1]:99"], 33434, 99),
    ] {
        let report = understood(&namespace, &[arguments, &["-q1", "-Q0"]].concat());
        assert_eq!(report.0["destination"]["port"], port, "{arguments:?}");
        assert_eq!(report.run()["destination"]["port"], probed, "{arguments:?}");
    }
}

#[test]
fn switches_may_have_a_word_behind_an_equals_sign() {
    let namespace = Namespace::new().unwrap();
    let scratch = Scratch::new("switches");
    let hosts = scratch.write("hosts", "127.0.0.1 both.test\n::1 both.test\n");
    for (switches, address) in [
        (&["--ipv6"][..], "::1"),
        (&["--ipv6=T"], "::1"),
        (&["--ipv6=1"], "::1"),
        (&["--ipv6=true", "--windows-driver", "--reverse-dns=false"], "::1"),
        (&["--ipv6", "--ipv6=F"], "127.0.0.1"),
        (&["--ipv6=0"], "127.0.0.1"),
        (&[], "127.0.0.1"),
    ] {
        let arguments = [switches, &["-q1", "-Q0", "both.test"]].concat();
        let outcome =
            start(&mut program_with_files(&namespace, &[(&hosts, "/etc/hosts")], &arguments)).wait();
        let report = outcome.report();
        assert_eq!(report.run()["destination"]["ip_address"], address, "{switches:?}");
    }
}

#[test]
fn verbose_logs_on_standard_error_only() {
    let namespace = Namespace::new().unwrap();
    for flag in ["-v", "--verbose", "--verbose=t"] {
        let outcome = trace(&namespace, &[flag, "-q1", "-Q1", "127.0.0.1"]);
        assert_eq!(outcome.status, Some(0));
        assert_eq!(runs_and_probes(&outcome.json()), (1, 1));
        assert!(outcome.stderr.lines().count() > 3 && outcome.stderr.contains("TRACE"), "{outcome:?}");
        assert!(!outcome.stderr.contains('\u{1b}'), "colours are for terminals: {outcome:?}");
    }
}

#[track_caller]
fn assert_prints(outcome: &Outcome, parts: &[&str]) {
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    for part in parts {
        assert!(outcome.stdout.contains(part), "{part:?} is not in {}", outcome.stdout);
    }
    assert!(outcome.stdout.ends_with('\n'));
}

#[test]
fn version_is_one_line_with_version_commit_and_date() {
    let namespace = Namespace::new().unwrap();
    for arguments in [&["version"][..], &["--version"], &["-V"], &["--version", "127.0.0.1"]] {
        let outcome = trace(&namespace, arguments);
        assert_prints(&outcome, &["datadog-traceroute", env!("CARGO_PKG_VERSION"), "commit"]);
        assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:?}");
    }
}

/// That every flag is in it is tested where the flags are defined.
#[test]
fn help_is_on_standard_output() {
    let namespace = Namespace::new().unwrap();
    let parts = ["TARGET", "version", "completion", "man", "--proto", "-P", "33434", "--timeout", "3000"];
    for arguments in [&["-h"][..], &["--help"], &["help"], &["127.0.0.1", "-h"], &["-q1", "--help"]] {
        assert_prints(&trace(&namespace, arguments), &parts);
    }
    assert_prints(&trace(&namespace, &["help", "version"]), &["version"]);
    assert_prints(&trace(&namespace, &["version", "--help"]), &["version"]);
}

/// The headings of the help, in their order.
const HEADINGS: [&str; 5] = ["Path:", "Probes:", "End-to-end probes:", "Names and addresses:", "Output:"];

#[test]
fn help_is_grouped_and_the_brief_one_fits_a_screen() {
    let namespace = Namespace::new().unwrap();
    for flag in ["-h", "--help"] {
        let outcome = trace(&namespace, &[flag]);
        let headings: Vec<&str> = outcome.stdout.lines().filter(|line| HEADINGS.contains(line)).collect();
        assert_eq!(headings, HEADINGS, "{flag}");
        let widest = outcome.stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{flag}: {widest} columns");
    }
    let lines = trace(&namespace, &["-h"]).stdout.lines().count();
    assert!(lines <= 50, "{lines} lines");
}

#[test]
fn completions_and_manual_page_are_made_of_the_flags() {
    let namespace = Namespace::new().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "BASH"] {
        let parts = ["datadog-traceroute", "traceroute-queries", "format", "prefer_sack", "csv"];
        assert_prints(&trace(&namespace, &["completion", shell]), &parts);
    }
    let man = trace(&namespace, &["man"]);
    let sections =
        [".TH datadog", ".SH NAME", ".SH SYNOPSIS", ".SH PROBES", ".SH \"EXIT STATUS\"", ".SH EXAMPLES"];
    assert_prints(&man, &sections);
}

#[test]
fn the_last_format_wins() {
    let namespace = Namespace::new().unwrap();
    for (flags, start) in [
        (&[][..], "{"),
        (&["--format", "auto"], "{"),
        (&["--format", "table", "--json"], "{"),
        (&["--json", "--format=TABLE"], "traceroute to 127.0.0.1"),
        (&["--json=true", "--format", "csv"], "test_run_id,"),
        (&["--format", "csv", "--format", "table"], "traceroute to 127.0.0.1"),
    ] {
        let outcome = trace(&namespace, &[flags, &["-q1", "-Q0", "127.0.0.1"]].concat());
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{flags:?}");
        assert!(outcome.stdout.starts_with(start), "{flags:?}: {}", outcome.stdout);
        assert!(!outcome.stdout.contains('\u{1b}'), "colours are for terminals: {outcome:?}");
    }
}

#[test]
fn a_name_that_no_resolver_answers_ends_within_a_bound() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("resolver"));
    let _says_nothing = namespace.run(|| UdpSocket::bind("127.0.0.2:53")).unwrap();
    // The system's resolver alone would take two minutes.
    let patient = scratch.write("resolv.conf", "nameserver 127.0.0.2\noptions timeout:30 attempts:4\n");
    let files = [(patient.as_str(), "/etc/resolv.conf")];
    let outcome = start(&mut program_with_files(&namespace, &files, &["nobody.test"])).wait();
    outcome.error_naming(&[
        "failed to run traceroute",
        "failed to resolve host \"nobody.test\"",
        "no answer",
        "seconds",
    ]);
    assert!(outcome.took < Duration::from_secs(15), "{:?}", outcome.took);
}
