//! The reference's command lines, replayed in the same networks, and its outputs, compared to the letter.
//!
//! Ids, ports and times differ from run to run and are compared by their form; all else, the addresses included, is
//! compared as text. "Part 2" is that of the parity contract: where it decides for something better than what the
//! reference does, the test is of our own decision and says which.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/forms.rs"]
mod forms;
#[path = "common/ordered_json.rs"]
mod ordered_json;

use std::fs;
use std::net::UdpSocket;

use common::{Outcome, addresses, hops, installed, program, program_with_files, start, trace};
use forms::{assert_notation, assert_same_form};
use ordered_json::Json;
use traceroute_testnet::AddressPlan;
use traceroute_testnet::kernel::{Chain, Namespace, Reject, Scratch, TcpServer};

/// What the reference did with a command line.
struct Golden {
    name: &'static str,
    arguments: Vec<String>,
    status: i32,
    stderr: String,
}

impl Golden {
    fn load(name: &'static str) -> Self {
        let text = read(name, "cmd");
        let field = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.unwrap_or_else(|| panic!("{name}.cmd has no {label:?}")).trim().to_owned()
        };
        let command = field("command:");
        let (_, arguments) = command.split_once("datadog-traceroute").unwrap();
        Self {
            name,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            status: field("exit code:").parse().unwrap(),
            stderr: field("first line on standard error:"),
        }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    fn output(&self) -> String {
        read(self.name, "json")
    }

    /// Checks that ours ended and printed as the reference did.
    fn assert_same(&self, ours: &Outcome) {
        let name = self.name;
        assert_eq!((ours.status, ours.stderr.trim()), (Some(self.status), self.stderr.as_str()), "{name}");
        assert_layout(&ours.stdout);
        assert_same_form(name, Json::parse(&ours.stdout), Json::parse(&self.output()));
    }
}

fn read(name: &str, extension: &str) -> String {
    let path = format!("{}/tests/golden/{name}.{extension}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Checks indentation and the end of the output, and the notation of its numbers.
#[track_caller]
fn assert_layout(output: &str) {
    let json = Json::parse(output);
    assert_eq!(output, json.render());
    assert_notation(json);
}

/// Replays command lines in one namespace, all at once, and compares.
fn replay(namespace: &Namespace, names: &[&'static str]) -> Vec<Outcome> {
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            let golden = Golden::load(name);
            let running = start(&mut program(namespace, &golden.arguments()));
            (golden, running)
        })
        .collect();
    let compare = |(golden, running): (Golden, common::Running)| {
        let outcome = running.wait();
        golden.assert_same(&outcome);
        outcome
    };
    started.into_iter().map(compare).collect()
}

fn chain(k: u8) -> Chain {
    Chain::builder().addresses(AddressPlan::Private(k)).build().unwrap()
}

#[test]
fn the_references_outputs_have_the_form_that_ours_is_checked_for() {
    for entry in fs::read_dir(format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            assert_layout(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn a_path_of_eight_routers_looks_the_same() {
    let names =
        ["n8-udp", "n8-udp-v6", "n8-udp-v6-noflag", "n8-icmp", "n8-icmp-v6", "n8-q1Q0-udp", "n8-maxttl3-udp"];
    for outcome in replay(chain(71).client(), &names) {
        assert_statistics(&outcome);
    }
}

#[test]
fn tcp_looks_the_same_at_open_and_closed_ports() {
    for (k, names) in [
        (71, &["n8-tcp-syn-open", "n8-tcp-syn-closed", "n8-maxttl3-tcp"][..]),
        (76, &["n8-tcp-sack-open", "n8-tcp-prefersack-open", "n8-tcp-prefersack-closed", "n8-maxttl3-sack"]),
    ] {
        let chain = chain(k);
        let _server = TcpServer::listen(chain.target(), 80).unwrap();
        for outcome in replay(chain.client(), names) {
            assert_statistics(&outcome);
        }
    }
}

/// A firewall that answers in the target's name is, to all appearance, the target.
#[test]
fn a_firewall_that_resets_looks_the_same() {
    let chain = chain(79);
    let rules = "table inet test {\nchain forward {\ntype filter hook forward priority 0\n\
                 ip daddr 10.79.8.2 ip protocol tcp reject with tcp reset\n}\n}\n";
    chain.router(5).nft(rules).unwrap();
    replay(chain.client(), &["fwrst5-tcp"]);
}

#[test]
fn counts_of_zero_and_port_zero_look_the_same() {
    replay(chain(78).client(), &["Q0", "q0", "q0Q0", "port0"]);
}

#[test]
fn one_router_looks_the_same() {
    let chain = Chain::builder().routers(1).addresses(AddressPlan::Private(70)).build().unwrap();
    replay(chain.client(), &["n1-udp"]);
}

#[test]
fn a_path_with_private_addresses_in_the_middle_looks_the_same() {
    let chain = Chain::builder().addresses(AddressPlan::Public).build().unwrap();
    for link in [2, 3] {
        let (left, right) = (chain.router(link), chain.router(link + 1));
        left.ip(&format!("address add 10.74.{link}.1/24 dev right")).unwrap();
        right
            .ip(&format!(
                "address add 10.74.{link}.2/24 dev left\naddress delete 198.18.{link}.2/24 dev left\n\
                 route replace 198.18.0.0/24 via 10.74.{link}.1\n"
            ))
            .unwrap();
        left.ip(&format!("route replace default via 10.74.{link}.2")).unwrap();
    }
    replay(chain.client(), &["mixed-udp", "mixed-udp-skip", "mixed-icmp-skip"]);
}

#[test]
fn a_path_of_private_addresses_that_are_skipped_looks_the_same() {
    let chain = chain(79);
    replay(chain.client(), &["allprivate-udp-skip"]);
    let report = trace(chain.client(), &["-q1", "-Q0", "--skip-private-hops", "fd00:79:8::2"]).report();
    assert_eq!(addresses(report.run()), [""; 9]);
    assert_eq!(report.run()["destination"]["ip_address"], "fd00:79:8::2");
}

#[test]
fn a_silent_router_looks_the_same() {
    let chain = chain(72);
    let _server = TcpServer::listen(chain.target(), 80).unwrap();
    chain.router(3).silence().unwrap();
    replay(chain.client(), &["silent3-udp", "silent3-icmp", "silent3-tcp", "silent3-sack"]);
}

#[test]
fn a_dead_target_looks_the_same() {
    let chain = chain(73);
    chain.router(8).blackhole().unwrap();
    let names = ["blackhole-udp", "blackhole-icmp", "blackhole-tcp-m12", "blackhole-prefersack"];
    for outcome in replay(chain.client(), &names) {
        for run in outcome.json().runs() {
            assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"max_ttl".into()));
        }
    }
}

#[test]
fn loopback_looks_the_same() {
    let namespace = Namespace::new().unwrap();
    let names = [
        "loopback-udp",
        "loopback-udp-v6",
        "loopback-icmp",
        "loopback-icmp-v6",
        "hostname-localhost",
        "target-hostport",
    ];
    replay(&namespace, &names);
}

#[test]
fn a_target_by_name_looks_the_same() {
    let (chain, scratch) = (chain(78), Scratch::new("golden-name"));
    let hosts = scratch.write("hosts", "10.78.8.2 target.example.test\n");
    for name in ["target-by-name", "target-by-name-port"] {
        let golden = Golden::load(name);
        let files = [(hosts.as_str(), "/etc/hosts")];
        let outcome = start(&mut program_with_files(chain.client(), &files, &golden.arguments())).wait();
        golden.assert_same(&outcome);
    }
}

/// The names of the golden files, as they were written.
fn hosts_file() -> String {
    let routers = (1..=8).map(|i| format!("10.78.{}.2 r{i}.example.test. r{i}\n", i - 1));
    routers.chain(["10.78.8.2 target.example.test.\n".into()]).collect()
}

#[test]
fn names_from_the_hosts_file_look_the_same_whatever_the_name_server_does() {
    let (chain, scratch) = (chain(78), Scratch::new("golden-names"));
    chain.client().ip("route add blackhole 192.0.2.53").unwrap();
    let hosts = scratch.write("hosts", &hosts_file());
    let resolver = scratch.write("resolv.conf", "nameserver 192.0.2.53\n");
    let files = [(hosts.as_str(), "/etc/hosts"), (resolver.as_str(), "/etc/resolv.conf")];
    for name in ["reversedns-hosts", "reversedns-noroute-resolver"] {
        let golden = Golden::load(name);
        let outcome = start(&mut program_with_files(chain.client(), &files, &golden.arguments())).wait();
        golden.assert_same(&outcome);
    }
}

/// A name server that is not there is known at once, and not after five seconds.
#[test]
fn refused_names_look_the_same() {
    let (chain, scratch) = (chain(79), Scratch::new("golden-refused"));
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let files = [(resolver.as_str(), "/etc/resolv.conf")];
    let golden = Golden::load("reversedns-refused");
    let arguments = [golden.arguments(), vec!["--e2e-interval=10"]].concat();
    let outcome = start(&mut program_with_files(chain.client(), &files, &arguments)).wait();
    golden.assert_same(&outcome);
    assert!(outcome.took.as_secs() < 5, "{:?}", outcome.took);
}

/// Part 2: "`--ipv6` with a dual-stack name can trace IPv4" is here "IPv6 or a DNS error".
#[test]
fn ipv6_of_a_name_that_has_only_ipv4_is_a_dns_error() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("golden-ipv6"));
    let hosts = scratch.write("hosts", "127.0.0.1 target.example.test\n");
    let golden = Golden::load("target-by-name-v6want");
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let files = [(hosts.as_str(), "/etc/hosts"), (resolver.as_str(), "/etc/resolv.conf")];
    let outcome = start(&mut program_with_files(&namespace, &files, &golden.arguments())).wait();
    outcome.error_naming(&["failed to run traceroute: failed to resolve host \"target.example.test\""]);
}

/// Part 2: "ICMP host unreachable from a router: UDP repeats it at every further TTL, ICMP and TCP show silence" and
/// "`destination unreachable` … is ignored": one hop with its reason, probing beyond it ends.
#[test]
fn an_unreachable_in_the_middle_is_one_hop_with_its_reason() {
    // A route, unlike a firewall, answers what ends at the router itself in the same way. A chain for each: whatever the
    // limits, a host is told of such routes five times at once, and then once a second (`ip_error`, net/ipv4/route.c).
    let unreachable = || {
        let chain = chain(79);
        chain.router(5).ip("route add unreachable 10.79.8.2").unwrap();
        chain
    };
    let prohibited = chain(79);
    prohibited.router(5).reject(Reject::AdminProhibited).unwrap();
    let routers: Vec<_> = (0..5).map(|link| format!("10.79.{link}.2")).collect();
    let beyond = [&routers[..], &routers[4..]].concat();
    for (name, chain, path, reason) in [
        ("unreach5-udp", unreachable(), &routers, "host"),
        ("unreach5-icmp", unreachable(), &routers, "host"),
        ("unreach5-tcp", unreachable(), &routers, "host"),
        ("prohibit5-udp", prohibited, &beyond, "admin_prohibited"),
    ] {
        let golden = Golden::load(name);
        let outcome = trace(chain.client(), &golden.arguments());
        assert_layout(&outcome.stdout);
        let report = outcome.report();
        let run = report.run();
        assert_eq!(addresses(run), *path, "{name}");
        assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"unreachable".into()), "{name}");
        let (last, before) = hops(run).split_last().unwrap();
        assert_eq!(last["unreachable"], reason, "{name}");
        assert!(before.iter().all(|hop| hop.get("unreachable").is_none()), "{name}");
        report.assert_end_to_end(1, 0);
    }
}

/// Part 2: "protocol and method names in lower case only": any case is accepted, lower case is in the result.
#[test]
fn protocol_names_are_accepted_in_upper_case() {
    let chain = chain(78);
    let report = trace(chain.client(), &Golden::load("upper-proto").arguments()).report();
    assert_eq!(report.0["protocol"], "udp");
    report.assert_reached(1, &common::path(&chain, [10, 78, 8, 2].into()));
}

/// Part 2: "no route … reported only after all e2e probes are spaced out": at once. The words stay.
#[test]
fn no_route_is_said_at_once_in_the_references_words() {
    let namespace = Namespace::new().unwrap();
    for name in ["noroute-udp", "noroute-icmp", "noroute-udp-v6", "noroute-tcp", "noroute-sack"] {
        let golden = Golden::load(name);
        let outcome = trace(&namespace, &golden.arguments());
        assert!(golden.stderr.ends_with("network is unreachable") && golden.status == 1);
        outcome.error_naming(&["failed to run traceroute: ", "network is unreachable"]);
        assert!(outcome.took.as_secs() < 1, "{name}: {:?}", outcome.took);
    }
}

/// Part 2: "needs root, says `operation not permitted`": says what is missing and how to grant it.
#[test]
fn without_root_what_is_missing_is_said() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("golden-nonroot"));
    for name in ["nonroot-udp", "nonroot-icmp", "nonroot-tcp", "nonroot-sack"] {
        let mut command = namespace.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(installed(&scratch)).args(Golden::load(name).arguments());
        start(&mut command).wait().error_naming(&[
            "failed to run traceroute: ",
            "not permitted",
            "CAP_NET_RAW",
        ]);
    }
}

/// The words that the reference's own tests look for, and our reason.
#[test]
fn where_sack_is_not_supported_the_references_words_say_so() {
    let (refusing, dead) = (chain(76), chain(73));
    dead.router(8).blackhole().unwrap();
    for (name, chain, reason) in [
        ("n8-tcp-sack-closed", &refusing, "the connection to 10.76.8.2:81 was refused"),
        ("blackhole-sack", &dead, "10.73.8.2:80 did not answer the connection within the time-out"),
    ] {
        let golden = Golden::load(name);
        let (_, theirs) = golden.stderr.split_once("sack traceroute failed: ").unwrap();
        let (words, _) = theirs.split_once(": ").unwrap();
        assert_eq!(words, "SACK not supported for this target/source");
        let outcome = trace(chain.client(), &golden.arguments());
        let advice = "try --tcp-method prefer_sack or syn";
        assert_eq!(outcome.error(), format!("failed to run traceroute: {words}: {reason}; {advice}"));
    }
}

/// Part 2: "TCP over IPv6 fails, SACK over IPv6 refused": every method over IPv4 and IPv6.
#[test]
fn tcp_over_ipv6_is_traced() {
    let chain = chain(76);
    let _server = TcpServer::listen(chain.target(), 80).unwrap();
    for name in ["n8-tcp-syn-v6", "n8-tcp-sack-v6", "n8-tcp-prefersack-v6"] {
        let golden = Golden::load(name);
        assert_eq!(golden.status, 1, "{name}");
        let report = trace(chain.client(), &golden.arguments()).report();
        report.assert_reached(3, &common::path(&chain, chain.target().addresses().v6.into()));
        report.assert_end_to_end(5, 5);
        assert!(report.runs().iter().all(|run| run["port_state"] == "open" && run.get("method").is_none()));
    }
}

/// The same, of a port behind an address in brackets.
#[test]
fn tcp_to_a_port_behind_an_ipv6_address_is_traced() {
    let namespace = Namespace::new().unwrap();
    for name in ["target-hostport-v6", "target-hostport-v6-flag"] {
        let golden = Golden::load(name);
        assert_eq!(golden.status, 1, "{name}");
        let report = trace(&namespace, &golden.arguments()).report();
        report.assert_reached(1, &["::1".to_owned()]);
        assert_eq!(report.0["destination"]["hostname"], "[::1]:80");
        assert_eq!(report.runs()[0]["destination"]["port"], 80);
    }
}

/// Part 2: "bad protocol … reported only after all e2e probes are spaced out": at once, naming what is allowed; and
/// "CLI integers may be octal, hexadecimal or have underscores": decimal only. The reference's usage text is left out.
#[test]
fn bad_command_lines_end_with_the_same_status() {
    let namespace = Namespace::new().unwrap();
    for (name, parts) in [
        ("bad-int", ["port", "abc", "65535"]),
        ("bad-protocol", ["ftp", "udp", "icmp"]),
        ("n8-tcp-badmethod", ["nonsense", "prefer_sack", "syn_socket"]),
        ("n8-tcp-synsocket", ["syn_socket", "Windows", "prefer_sack"]),
        ("port-neg", ["port", "-1", "65535"]),
        ("port70000", ["port", "70000", "65535"]),
        ("two-args", ["one", "target", "2"]),
    ] {
        let golden = Golden::load(name);
        assert!(golden.status == 1 && golden.stderr.starts_with("Error: "), "{name}");
        trace(&namespace, &golden.arguments()).error_naming(&parts);
    }
}

/// Part 2: "every run and every e2e probe resolves the name again": it is resolved once. The first words stay.
#[test]
fn names_without_an_answer_are_refused_in_the_references_words() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("golden-resolver"));
    let _says_nothing = namespace.run(|| UdpSocket::bind("127.0.0.2:53")).unwrap();
    for (name, resolver) in [
        ("bad-hostname", "nameserver 127.0.0.1\n"),
        ("bad-hostname-deadresolver", "nameserver 127.0.0.2\noptions timeout:1 attempts:1\n"),
    ] {
        let golden = Golden::load(name);
        let (theirs, _) = golden.stderr.split_once("lookup").unwrap();
        let resolver = scratch.write("resolv.conf", resolver);
        let files = [(resolver.as_str(), "/etc/resolv.conf")];
        let outcome = start(&mut program_with_files(&namespace, &files, &golden.arguments())).wait();
        assert_eq!(outcome.status, Some(golden.status));
        outcome.error_naming(&[theirs.strip_prefix("Error: ").unwrap()]);
    }
}

/// Checks the end-to-end statistics against the times that they are of.
#[track_caller]
fn assert_statistics(outcome: &Outcome) {
    let report = outcome.json();
    let probes = &report.0["e2e_probe"];
    let rtts = probes["rtts"].as_array().map_or(&[][..], Vec::as_slice);
    let answered: Vec<f64> = rtts.iter().map(|rtt| rtt.as_f64().unwrap()).filter(|rtt| *rtt > 0.0).collect();
    let mean =
        |values: &[f64]| values.iter().sum::<f64>() / f64::from(u32::try_from(values.len().max(1)).unwrap());
    let differences: Vec<f64> = answered.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let close = |value: &serde_json::Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-9;
    let (min, max) = answered.iter().fold((f64::MAX, 0.0), |(min, max), rtt| (rtt.min(min), rtt.max(max)));
    let min = if answered.is_empty() { 0.0 } else { min };
    assert!(close(&probes["jitter"], mean(&differences)), "{probes}");
    assert!(close(&probes["rtt"]["avg"], mean(&answered)), "{probes}");
    assert!(close(&probes["rtt"]["min"], min) && close(&probes["rtt"]["max"], max), "{probes}");
    let lost = rtts.len() - answered.len();
    let share = mean(&[vec![1.0; lost], vec![0.0; answered.len()]].concat());
    assert!((probes["packet_loss_percentage"].as_f64().unwrap() - share).abs() < 1e-6, "{probes}");
}

#[test]
fn the_statistics_mean_what_they_mean_in_the_reference() {
    for name in ["n8-udp", "silent3-icmp", "blackhole-udp", "Q0", "loopback-icmp", "q0"] {
        let stdout = Golden::load(name).output();
        let (took, status, stderr) = Default::default();
        assert_statistics(&Outcome { took, status, stdout, stderr });
    }
}
