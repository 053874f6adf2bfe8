//! The public address, from the program's own providers and by its host's trust and proxy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "../../traceroute/tests/common/https.rs"]
mod https;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::{Outcome, program, program_with_files, start};
use https::{Authority, HttpProxy, HttpsServer, Reply};
use traceroute::PUBLIC_IP_PROVIDERS;
use traceroute_testnet::kernel::{Namespace, Scratch};

const ARGUMENTS: [&str; 4] = ["-q1", "-Q0", "--source-public-ip", "127.0.0.1"];

/// The names of the providers.
fn providers() -> Vec<&'static str> {
    let hosts = PUBLIC_IP_PROVIDERS.iter().map(|url| url.strip_prefix("https://").unwrap());
    hosts.map(|host| host.split('/').next().unwrap()).collect()
}

/// What the program prints where all of its providers are one server, over IPv4, and nobody is there over IPv6.
fn trace_with(name: &str, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (Outcome, Vec<String>) {
    let (namespace, scratch, authority) = (Namespace::new().unwrap(), Scratch::new(name), Authority::new());
    let listener = namespace.run(|| TcpListener::bind("127.0.0.8:443").unwrap());
    let server = HttpsServer::serve(listener, &authority, &providers(), reply);
    let trusted = scratch.write("trusted.pem", &authority.pem);
    let names = providers().join(" ");
    let hosts = scratch.write("hosts", &format!("::1 {names}\n127.0.0.8 {names}\n"));
    let mut command = program_with_files(&namespace, &[(&hosts, "/etc/hosts")], &ARGUMENTS);
    command.env("SSL_CERT_FILE", trusted);
    (start(&mut command).wait(), server.hosts())
}

#[test]
fn the_providers_are_asked_in_the_references_order_until_one_answers() {
    assert_eq!(
        providers(),
        ["icanhazip.com", "ipinfo.io", "checkip.amazonaws.com", "api.ipify.org", "whatismyip.akamai.com"]
    );
    let reply = |host: &str| match host {
        "icanhazip.com" => Reply::Status(500, "broken"),
        "ipinfo.io" => Reply::Status(200, "2001:db8::66"),
        _ => Reply::Status(200, "203.0.113.7\n"),
    };
    let (outcome, asked) = trace_with("public-ip-order", reply);
    assert_eq!(outcome.report().0["source"]["public_ip"], "203.0.113.7");
    assert_eq!(asked, providers()[..3]);
}

#[test]
fn a_failure_is_an_empty_address_and_a_warning() {
    let (outcome, asked) = trace_with("public-ip-none", |_| Reply::Status(404, "nothing here"));
    let report = outcome.report();
    assert_eq!(report.0["source"]["public_ip"], "");
    let warning = "no public address: none of 5 providers told one: the answer is 404 Not Found";
    assert_eq!(report.0["warnings"], serde_json::json!([warning]));
    assert_eq!(asked, providers());
    assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
}

/// The namespace knows nobody's address: only through the proxy of the environment is there an answer.
#[test]
fn the_proxy_of_the_environment_is_gone_through() {
    let (namespace, scratch, authority) =
        (Namespace::new().unwrap(), Scratch::new("public-ip-proxy"), Authority::new());
    let trusted = scratch.write("trusted.pem", &authority.pem);
    let (at, proxy) = namespace
        .run(|| (TcpListener::bind("127.0.0.8:443").unwrap(), TcpListener::bind("127.0.0.9:3128").unwrap()));
    let server = HttpsServer::serve(at, &authority, &providers(), |_| Reply::Status(200, "203.0.113.7"));
    let inside = namespace.clone();
    let proxy = HttpProxy::serve(proxy, move || inside.run(|| TcpStream::connect("127.0.0.8:443").unwrap()));
    for (variable, value) in [("HTTPS_PROXY", "http://127.0.0.9:3128"), ("https_proxy", "127.0.0.9:3128")] {
        let mut command = program(&namespace, &ARGUMENTS);
        command.env("SSL_CERT_FILE", &trusted).env(variable, value);
        let outcome = start(&mut command).wait();
        assert_eq!(outcome.report().0["source"]["public_ip"], "203.0.113.7", "{variable}");
    }
    let heads = proxy.heads();
    assert!(heads.iter().all(|head| head.starts_with("CONNECT icanhazip.com:443 ")), "{heads:?}");
    assert_eq!((heads.len(), server.hosts().len()), (2, 2));
}
