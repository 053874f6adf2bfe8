//! Names of hops and destination, and the target's address, from a name server that the program finds in its host's configuration.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "../../traceroute/tests/common/dns.rs"]
mod dns;

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use common::{Outcome, hops, program_with_files, start};
use dns::{A, AAAA, Answer, DnsServer, names};
use traceroute_testnet::kernel::{Chain, Scratch};

/// Traces through two routers to 10.71.2.2 with a name server on the client's own host.
fn trace_with(
    name: &str,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    arguments: &[&str],
) -> (Outcome, DnsServer) {
    let (chain, scratch) = (Chain::builder().routers(2).build().unwrap(), Scratch::new(name));
    let (udp, tcp) = chain
        .client()
        .run(|| (UdpSocket::bind("127.0.0.53:53").unwrap(), TcpListener::bind("127.0.0.53:53").unwrap()));
    let server = DnsServer::serve(udp, tcp, answer);
    // The system's resolver asks no second time in that time.
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.53\noptions edns0 timeout:30\n");
    let hosts = scratch.write("hosts", "10.71.0.2 From.The.File file\n");
    let files = [(resolver.as_str(), "/etc/resolv.conf"), (hosts.as_str(), "/etc/hosts")];
    (start(&mut program_with_files(chain.client(), &files, arguments)).wait(), server)
}

#[test]
fn the_hosts_file_comes_first_and_two_names_are_both_shown() {
    let answer = |name: &str| match name {
        "2.2.71.10.in-addr.arpa." => names(&["target.example.test.", "www.example.test."]),
        "2.1.71.10.in-addr.arpa." => Answer::Code(3),
        other => panic!("nobody was to ask for {other}"),
    };
    let arguments = ["-q3", "-Q1", "--reverse-dns", "10.71.2.2"];
    let (outcome, server) = trace_with("names-both", answer, &arguments);
    let report = outcome.report();
    for run in report.runs() {
        let names: Vec<_> = hops(run).iter().map(|hop| hop["reverse_dns"].to_string()).collect();
        let both = r#"["target.example.test.","www.example.test."]"#;
        assert_eq!(names, [r#"["From.The.File.","file"]"#, "null", both]);
        assert_eq!(run["destination"]["reverse_dns"].to_string(), both);
    }
    assert_eq!(server.asked(), (2, 1));
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
}

/// For three runs and five end-to-end probes.
#[test]
fn the_name_of_the_target_is_asked_for_once() {
    let answer = |name: &str| match name {
        "target.example.test." => Answer::Address([10, 71, 2, 2].into()),
        other => panic!("nobody was to ask for {other}"),
    };
    let arguments = ["-q3", "-Q5", "--e2e-interval", "1", "target.example.test"];
    let (outcome, server) = trace_with("names-once", answer, &arguments);
    let report = outcome.report();
    let destinations: Vec<_> = report.runs().iter().map(|run| &run["destination"]["ip_address"]).collect();
    assert_eq!(destinations, ["10.71.2.2"; 3]);
    report.assert_end_to_end(5, 5);
    assert_eq!(server.asked_for("target.example.test.", A), 1);
    // The system's resolver may ask for both families.
    assert!(server.asked_for("target.example.test.", AAAA) <= 1);
}

/// Five seconds from when it was asked, and not a moment for the exit.
#[test]
fn a_dead_name_server_delays_neither_other_names_nor_the_exit() {
    let answer = |name: &str| match name {
        "2.1.71.10.in-addr.arpa." => Answer::Silence,
        _ => names(&["known.example.test."]),
    };
    let (outcome, _) = trace_with("names-dead", answer, &["-q1", "-Q0", "--reverse-dns", "10.71.2.2"]);
    let report = outcome.report();
    let known: Vec<_> = hops(report.run()).iter().map(|hop| hop.get("reverse_dns").is_some()).collect();
    assert_eq!(known, [true, false, true]);
    assert!(
        outcome.took >= Duration::from_secs(5) && outcome.took < Duration::from_secs(8),
        "{:?}",
        outcome.took
    );

    // Probes that go on for longer are not followed by anything.
    let arguments = ["-q1", "-Q8", "--reverse-dns", "10.71.2.2"];
    let (outcome, _) = trace_with("names-dead-long", |_| Answer::Silence, &arguments);
    outcome.report();
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
}
