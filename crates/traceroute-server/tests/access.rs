//! Who may ask, for which targets, and how often; and every flag by its variable.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Answer, Asked, PROGRAM, Server, first_event, refusal, sent_to, with_files};
use rustix::process::Signal;
use serde_json::Value;
use traceroute_testnet::Capture;
use traceroute_testnet::kernel::{Chain, Namespace, Scratch};

/// All paths but `/health`.
const GUARDED: [&str; 4] =
    ["/traceroute?target=10.71.1.2", "/traceroute/stream?target=10.71.1.2", "/metrics", "/openapi.json"];
const TOKEN: &str = "DATADOG_TRACEROUTE_TOKEN";

fn short_chain() -> Chain {
    Chain::builder().routers(1).build().unwrap()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) -> String {
    let (answered, said, message) = answer.failure();
    assert_eq!((answered, said.as_str()), (status, code), "{answer:?}");
    message
}

/// Captures what leaves the client while `during` goes on: where to.
fn leaving<T>(chain: &Chain, during: impl FnOnce() -> T) -> (T, Vec<IpAddr>) {
    let capture = Capture::start(chain.client(), "right").unwrap();
    let outcome = during();
    (outcome, sent_to(&capture.stop().unwrap()))
}

/// From a file and from the environment. Only `/health` goes without, and nothing is sent for those who do not have it.
#[test]
fn only_who_shows_the_token_is_answered() {
    let (chain, scratch) = (short_chain(), Scratch::new("token"));
    let file = scratch.write("token", "s3cret\n");
    let mut by_variable = chain.client().command(PROGRAM);
    by_variable.env(TOKEN, "s3cret");
    let mut by_file = chain.client().command(PROGRAM);
    by_file.args(["--token-file", &file]);
    for command in [by_variable, by_file] {
        let server = Server::run(chain.client(), command);
        let ((), sent) = leaving(&chain, || {
            for path in GUARDED {
                for shown in [
                    &[][..],
                    &[("authorization", "Bearer wrong!")],
                    &[("authorization", "Bearer s3cre")],
                    &[("authorization", "Bearer s3cret2")],
                    &[("authorization", "Bearer S3CRET")],
                    &[("authorization", "Bearer ")],
                    &[("authorization", "s3cret")],
                    &[("authorization", "Basic s3cret")],
                    &[("authorization", "Bearer wrong"), ("authorization", "Bearer s3cret")],
                    &[("x-token", "s3cret")],
                ] {
                    let answer = server.ask("GET", path, shown);
                    assert_refused(&answer, 401, "UNAUTHORIZED");
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path} {shown:?}");
                }
            }
        });
        assert!(sent.is_empty(), "without the token: {sent:?}");
        assert_eq!(server.get("/health").json()["status"], "healthy");

        let ((), sent) = leaving(&chain, || {
            for path in GUARDED {
                let path = path.replace("10.71.1.2", "10.71.1.2&e2e-queries=1");
                let answer = server.ask("GET", &path, &[("authorization", "Bearer s3cret")]);
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
            }
        });
        assert!(!sent.is_empty(), "with the token");
        // The log has all lines before this one once it has this one.
        server.ask("GET", "/health", &[("x-request-id", "last")]);
        server.wait_for("id=last");
        assert!(!server.log().contains("s3cret"), "{}", server.log());
        // A query is seen by too many.
        assert_refused(&server.get("/metrics?access_token=s3cret"), 401, "UNAUTHORIZED");
    }
}

/// A service that is to be protected and is not would be found out too late.
#[test]
fn tokens_that_cannot_be_meant_are_refused_at_the_start() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("bad-tokens"));
    let [good, empty] =
        [("good", "s3cret"), ("empty", "\n")].map(|(name, content)| scratch.write(name, content));
    for (variable, file, parts) in [
        (Some("s3cret"), Some(good.as_str()), ["--token-file", TOKEN]),
        (None, Some(&empty), [&empty, "RFC 6750"]),
        (None, Some("/no/such/file"), ["/no/such/file", "No such file"]),
        (Some(""), None, [TOKEN, "RFC 6750"]),
        (Some("two words"), None, [TOKEN, "RFC 6750"]),
    ] {
        let mut command = namespace.command(PROGRAM);
        command.envs(variable.map(|token| (TOKEN, token)));
        command.args(file.into_iter().flat_map(|file| ["--token-file", file]));
        let (status, said) = refusal(command);
        assert_eq!((status, said.lines().count()), (Some(1), 1), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("s3cret"), "{said}");
    }
}

/// What is denied by default, as it may be written. Without this service's refusal the routes of a chain's client lead all of
/// them out.
const DENIED: [&str; 17] = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.169.254:80",
    "[::ffff:169.254.169.254]",
    "::ffff:a9fe:a9fe",
    "[::ffff:169.254.169.254]:80",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::1",
    "2001::5601:5601",
    "fe80::1%25right",
    "fd00:ec2::254",
    "fd20:ce::254",
];

/// The same by names.
const DENIED_NAMES: [&str; 5] = [
    "metadata.example.test",
    "METADATA.example.TEST:80",
    "metadata6.example.test&ipv6=true",
    "mapped.example.test",
    "nat64.example.test&family=ipv6",
];

/// What the system's resolver takes for 169.254.169.254 (`inet_aton(3)`), and we for nothing.
const NUMBERS: [&str; 6] =
    ["2852039166", "0xa9fea9fe", "0XA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518"];

const HOSTS: &str = "169.254.169.254 metadata.example.test\nfd00:ec2::254 metadata6.example.test\n\
                     ::ffff:169.254.169.254 mapped.example.test\n64:ff9b::a9fe:a9fe nat64.example.test\n\
                     10.71.1.2 target.example.test\n";

/// Every method, with and without a stream, names included.
#[test]
fn link_local_and_metadata_addresses_are_refused_and_nothing_is_sent() {
    let (chain, scratch) = (short_chain(), Scratch::new("denied"));
    let hosts = scratch.write("hosts", HOSTS);
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let files = [(hosts.as_str(), "/etc/hosts"), (resolver.as_str(), "/etc/resolv.conf")];
    let server = Server::run(chain.client(), with_files(chain.client(), &files, &[]));
    let ((), sent) = leaving(&chain, || {
        for target in DENIED.iter().chain(&DENIED_NAMES) {
            for method in ["protocol=udp", "protocol=icmp", "protocol=tcp", "protocol=tcp&tcp-method=sack"] {
                for path in ["/traceroute", "/traceroute/stream"] {
                    let query = format!("{path}?target={target}&{method}&timeout=300&reverse-dns=1");
                    let answer = server.get(&query);
                    let message = assert_refused(&answer, 403, "FORBIDDEN");
                    assert!(message.contains("--no-default-deny"), "{query}: {message}");
                }
            }
        }
        for number in NUMBERS {
            assert_refused(&server.get(&format!("/traceroute?target={number}")), 400, "INVALID_REQUEST");
        }
    });
    assert!(sent.is_empty(), "{sent:?}");
}

/// The same targets are traced if that is wanted: what is not sent above is sent here.
#[test]
fn what_is_denied_by_default_is_traced_on_request() {
    let (chain, scratch) = (short_chain(), Scratch::new("lifted"));
    let hosts = scratch.write("hosts", HOSTS);
    for flag in ["--no-default-deny", "--no-default-deny=true"] {
        let files = [(hosts.as_str(), "/etc/hosts")];
        let server = Server::run(chain.client(), with_files(chain.client(), &files, &[flag]));
        for target in
            ["169.254.169.254", "metadata.example.test", "[::ffff:169.254.169.254]", "fd00:ec2::254"]
        {
            let query = format!("/traceroute?target={target}&max-ttl=1&e2e-queries=1&timeout=300");
            let (answer, sent) = leaving(&chain, || server.get(&query));
            answer.result();
            assert!(!sent.is_empty(), "{target}");
        }
    }
    let server = Server::start(chain.client(), &["--no-default-deny=false"]);
    assert_refused(&server.get("/traceroute?target=169.254.169.254"), 403, "FORBIDDEN");
}

#[test]
fn rules_allow_and_deny_networks_and_ports() {
    let (chain, scratch) = (short_chain(), Scratch::new("rules"));
    let hosts = scratch.write("hosts", HOSTS);
    let files = [(hosts.as_str(), "/etc/hosts")];
    for (rules, cases) in [
        (
            &["--deny", "10.71.1.0/24"][..],
            &[
                ("target=10.71.1.2", Some("deny 10.71.1.0/24")),
                ("target=target.example.test", Some("deny 10.71.1.0/24")),
                ("target=10.71.1.2&protocol=icmp", Some("deny 10.71.1.0/24")),
                ("target=::ffff:10.71.1.2", Some("deny 10.71.1.0/24")),
                ("target=64:ff9b::10.71.1.2", Some("deny 10.71.1.0/24")),
                ("target=10.71.0.2", None),
            ][..],
        ),
        (
            &["--allow", "10.71.1.2:443,10.71.0.0/24"],
            &[
                ("target=10.71.1.2&protocol=tcp&port=443", None),
                ("target=10.71.1.2:443&protocol=tcp", None),
                ("target=10.71.1.2&protocol=tcp&port=80", Some("no rule allows it")),
                // The target's own port is what counts.
                ("target=10.71.1.2:80&protocol=tcp&port=443", Some("no rule allows it")),
                ("target=10.71.1.2&protocol=icmp", Some("no rule allows it")),
                ("target=10.71.1.1", Some("no rule allows it")),
                ("target=fd00:71:1::2", Some("no rule allows it")),
                ("target=10.71.0.2&protocol=icmp", None),
                ("target=10.71.0.2&protocol=udp", None),
            ],
        ),
        // Denials count, though the target be allowed, and in whatever order; repeated flags add up.
        (
            &["--deny", "*:1-1023", "--allow", "10.71.0.0/16", "--deny", "10.71.0.2", "--allow", "::/0"],
            &[
                ("target=10.71.1.2&protocol=tcp&port=1024", None),
                ("target=10.71.1.2&protocol=tcp&port=1023", Some("deny *:1-1023")),
                ("target=fd00:71:1::2&protocol=tcp&port=80", Some("deny *:1-1023")),
                ("target=fd00:71:1::2&protocol=tcp&port=8080", None),
                ("target=10.71.0.2&protocol=tcp&port=8080", Some("deny 10.71.0.2/32")),
                ("target=10.71.1.2&protocol=icmp", None),
                ("target=127.0.0.1&port=8080", Some("no rule allows it")),
                ("target=169.254.169.254&port=8080", Some("--no-default-deny")),
            ],
        ),
    ] {
        let server = Server::run(chain.client(), with_files(chain.client(), &files, rules));
        for (query, refused) in cases {
            let query = format!("/traceroute?{query}&e2e-queries=1&timeout=300");
            let (answer, sent) = leaving(&chain, || server.get(&query));
            if let Some(why) = refused {
                let message = assert_refused(&answer, 403, "FORBIDDEN");
                assert!(message.contains(why) && sent.is_empty(), "{query}: {message} {sent:?}");
            } else {
                answer.result();
                assert!(!sent.is_empty(), "{query}");
            }
        }
    }
}

/// A name that has both is traced to the one that may be, or not at all: whichever is checked is the only one that is probed.
#[test]
fn what_is_checked_is_what_is_probed() {
    let (chain, scratch) = (short_chain(), Scratch::new("rebinding"));
    // Neither comes before the other by itself (RFC 6724 section 6).
    for (order, status) in [(["10.71.1.2", "10.71.1.1"], 200), (["10.71.1.1", "10.71.1.2"], 403)] {
        let hosts = order.map(|address| format!("{address} both.example.test\n")).concat();
        let hosts = scratch.write("hosts", &hosts);
        let files = [(hosts.as_str(), "/etc/hosts")];
        let server =
            Server::run(chain.client(), with_files(chain.client(), &files, &["--deny", "10.71.1.1"]));
        let query = "/traceroute?target=both.example.test&traceroute-queries=5&e2e-queries=5&e2e-interval=1";
        let (answer, sent) = leaving(&chain, || server.get(query));
        assert_eq!((answer.status, sent.is_empty()), (status, status == 403), "{order:?}: {answer:?}");
        assert!(sent.iter().all(|address| address.to_string() == "10.71.1.2"), "{order:?}: {sent:?}");
    }
}

/// A tenth of a minute's requests may come at once: two of twenty. The third has to wait for three seconds at most.
#[test]
fn a_client_that_asks_too_often_is_told_when_to_ask_again() {
    let chain = short_chain();
    let server = Server::start(chain.client(), &["--client-rate", "20"]);
    let ask = |path: &str, target: &str| {
        server.get(&format!("{path}?target={target}&traceroute-queries=1&e2e-queries=0"))
    };
    assert_eq!(ask("/traceroute", "10.71.1.2").status, 200);
    assert_eq!(ask("/traceroute/stream", "10.71.0.2").status, 200);
    for (path, target) in [("/traceroute", "10.71.1.2"), ("/traceroute/stream", "127.0.0.1")] {
        let (answer, sent) = leaving(&chain, || ask(path, target));
        let message = assert_refused(&answer, 429, "RATE_LIMITED");
        assert!(message.contains("20 requests a minute from one client"), "{message}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait) && sent.is_empty(), "{path}: {wait} {sent:?}");
    }
    // What costs nothing is not counted.
    assert_eq!((server.get("/health").status, server.get("/metrics").status), (200, 200));
}

#[test]
fn a_client_of_another_address_is_not_affected() {
    let chain = short_chain();
    let _server = Server::start(chain.client(), &["--client-rate", "1"]);
    let query = "/traceroute?target=127.0.0.1&traceroute-queries=1&e2e-queries=0";
    let from = |node: &Namespace, address: &'static str| {
        Asked::on(node.run(|| TcpStream::connect(address)).unwrap(), "GET", query, &[]).answer()
    };
    let [over_v4, over_v6] = ["10.71.0.1:3765", "[fd00:71::1]:3765"];
    assert_eq!(from(chain.router(1), over_v4).status, 200);
    assert_eq!(from(chain.target(), over_v4).status, 200);
    assert_eq!(from(chain.target(), over_v6).status, 200);
    for (node, address) in [(chain.router(1), over_v4), (chain.target(), over_v4), (chain.target(), over_v6)]
    {
        let answer = from(node, address);
        assert_refused(&answer, 429, "RATE_LIMITED");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=60).contains(&wait), "{wait}");
    }
}

/// Whoever asks, and however the target is written.
#[test]
fn a_target_that_is_asked_for_too_often_is_left_alone() {
    let (chain, scratch) = (short_chain(), Scratch::new("target-rate"));
    let hosts = scratch.write("hosts", HOSTS);
    let files = [(hosts.as_str(), "/etc/hosts")];
    let server = Server::run(chain.client(), with_files(chain.client(), &files, &["--target-rate", "1"]));
    let ask =
        |target: &str| server.get(&format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=0"));
    assert_eq!(ask("10.71.1.2").status, 200);
    for target in
        ["10.71.1.2", "10.71.1.2:80", "target.example.test", "::ffff:10.71.1.2", "10.71.1.2&protocol=icmp"]
    {
        let (answer, sent) = leaving(&chain, || ask(target));
        let message = assert_refused(&answer, 429, "RATE_LIMITED");
        assert!(message.contains("1 requests a minute for one target"), "{target}: {message}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=60).contains(&wait) && sent.is_empty(), "{target}: {wait} {sent:?}");
    }
    assert_eq!(ask("10.71.0.2").status, 200, "another target");
    assert_refused(&ask("169.254.169.254"), 403, "FORBIDDEN");
}

/// Each variable with what it may not be. The rest of its name is that of its flag.
#[test]
fn every_variable_is_read() {
    let namespace = Namespace::new().unwrap();
    for (variable, value, part) in [
        ("ADDR", "nowhere", "cannot listen at \"nowhere\": the forms are"),
        ("LOG_LEVEL", "loud", "--log-level"),
        ("LOG_FORMAT", "xml", "--log-format"),
        ("WINDOWS_DRIVER", "maybe", "--windows-driver"),
        ("SHUTDOWN_TIMEOUT", "-1", "--shutdown-timeout"),
        ("MAX_CONCURRENT", "0", "--max-concurrent"),
        ("MAX_QUEUED", "-1", "--max-queued"),
        ("MAX_QUEUE_WAIT", "long", "--max-queue-wait"),
        ("MAX_DURATION", "0", "--max-duration"),
        ("MAX_PER_CLIENT", "-1", "--max-per-client"),
        ("CLIENT_RATE", "-1", "--client-rate"),
        ("TARGET_RATE", "often", "--target-rate"),
        ("PROBE_RATE", "10000001", "--probe-rate"),
        ("MAX_CONNECTIONS", "0", "--max-connections"),
        ("HEADER_TIMEOUT", "0", "--header-timeout"),
        ("ALLOW", "10.0.0.0/33", "--allow"),
        ("DENY", "localhost", "--deny"),
        ("NO_DEFAULT_DENY", "maybe", "--no-default-deny"),
        ("TOKEN_FILE", "/no/such/file", "/no/such/file"),
        ("TOKEN", "two words", TOKEN),
    ] {
        let mut command = namespace.command(PROGRAM);
        command.env(format!("DATADOG_TRACEROUTE_{variable}"), value);
        let (status, said) = refusal(command);
        assert_eq!((status, said.lines().count()), (Some(1), 1), "{variable}: {said}");
        assert!(said.starts_with("Error: ") && said.contains(part), "{variable}: {said}");
    }
}

/// The lists above and below have all that take a value, and the token.
#[test]
fn help_has_as_many_flags_as_there_are_variables() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let flag = |line: &str| {
        let (_, flag) = line.trim_start().split_once("--").filter(|(short, _)| short.len() <= 4)?;
        let end = flag.find([' ', '['])?;
        flag[end..].trim_start_matches(['[', '=', ' ']).starts_with('<').then(|| flag[..end].to_owned())
    };
    let flags: BTreeSet<String> = help.lines().filter_map(flag).collect();
    assert_eq!((output.status.code(), flags.len()), (Some(0), 19), "{flags:?}");
    assert!(help.contains("DATADOG_TRACEROUTE_TOKEN"), "{help}");
}

#[test]
fn all_variables_together_take_effect() {
    let (chain, scratch) = (short_chain(), Scratch::new("variables"));
    chain.router(1).ip("route add blackhole 169.254.0.0/16").unwrap();
    let token = scratch.write("token", "s3cret\n");
    let mut command = chain.client().command(PROGRAM);
    for (variable, value) in [
        ("ADDR", "127.0.0.1:3765"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
        ("WINDOWS_DRIVER", "true"),
        ("SHUTDOWN_TIMEOUT", "10"),
        ("MAX_CONCURRENT", "2"),
        ("MAX_QUEUED", "1"),
        ("MAX_QUEUE_WAIT", "70"),
        ("MAX_DURATION", "60000"),
        ("MAX_PER_CLIENT", "10"),
        ("CLIENT_RATE", "120"),
        ("TARGET_RATE", "20"),
        ("PROBE_RATE", "1000"),
        ("MAX_CONNECTIONS", "9"),
        ("HEADER_TIMEOUT", "2000"),
        ("ALLOW", "10.71.1.2,169.254.0.0/16"),
        ("DENY", "*:25,*:26"),
        ("NO_DEFAULT_DENY", "true"),
        ("TOKEN_FILE", &token),
    ] {
        command.env(format!("DATADOG_TRACEROUTE_{variable}"), value);
    }
    let server = Server::run(chain.client(), command);
    let ask = |query: &str| {
        let path = format!("/traceroute?{query}&traceroute-queries=1&e2e-queries=0&timeout=300");
        server.ask("GET", &path, &[("authorization", "Bearer s3cret")])
    };

    assert_refused(&server.get("/metrics"), 401, "UNAUTHORIZED");
    for (query, why) in [
        ("target=10.71.1.2&port=26", "deny *:26"),
        ("target=10.71.1.2:25", "deny *:25"),
        ("target=127.0.0.1", "no rule allows it"),
    ] {
        assert!(assert_refused(&ask(query), 403, "FORBIDDEN").contains(why), "{query}");
    }
    // Allowed, and no longer denied by default: two of twenty a minute may come at once.
    for _ in 0..2 {
        assert_eq!(ask("target=169.254.1.1&max-ttl=1&timeout=1").status, 200);
    }
    let message = assert_refused(&ask("target=169.254.1.1&max-ttl=1&timeout=1"), 429, "RATE_LIMITED");
    assert!(message.contains("20 requests a minute for one target"), "{message}");

    // Two are under way for a minute, and another one waits for as long as it may.
    let busy: Vec<Asked> = ["169.254.2.1", "169.254.2.2"]
        .into_iter()
        .map(|target| {
            let path = format!("/traceroute/stream?target={target}&e2e-queries=0&timeout=60000");
            let headers = [("authorization", "Bearer s3cret")];
            let mut asked = Asked::on(server.connect(), "GET", &path, &headers);
            assert!(first_event(&mut asked.stream).contains("200 OK"));
            asked
        })
        .collect();
    let message = assert_refused(&ask("target=169.254.3.1"), 503, "OVERLOADED");
    assert_eq!(message, "2 requests were under way for 70 ms, and no more may be");
    let mut more = (0..100).map(|_| ask("target=169.254.3.1").failure());
    let (.., message) = more.find(|(status, ..)| *status == 429).unwrap();
    assert!(message.contains("120 requests a minute from one client"), "{message}");

    // Who says nothing is not waited for, be it for the ten seconds of the default.
    let began = Instant::now();
    assert_eq!(server.connect().read(&mut [0]).unwrap(), 0);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");

    // What is under way has ten milliseconds, not a minute.
    let began = Instant::now();
    server.signal(Signal::TERM);
    for asked in busy {
        let mut rest = String::new();
        { asked }.stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("event: result"), "{rest}");
    }
    let (status, log) = server.wait();
    assert!(status == 0 && began.elapsed() < Duration::from_secs(10), "{status} {:?}", began.elapsed());
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listening = lines.iter().find(|line| line["message"] == "listening").unwrap();
    assert_eq!(listening["address"], "127.0.0.1:3765");
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

/// What is known to be denied takes no place, and waits for none.
#[test]
fn a_denied_address_is_refused_at_once_though_all_places_are_taken() {
    let chain = short_chain();
    let server = Server::start(chain.client(), &["--max-concurrent", "1", "--max-queue-wait", "60000"]);
    let _lasting = server.send("/traceroute?target=10.71.1.2&e2e-queries=100");
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    for target in ["169.254.169.254", "[fe80::1%25nowhere]"] {
        let answer = server.get(&format!("/traceroute?target={target}"));
        assert_refused(&answer, 403, "FORBIDDEN");
        assert!(answer.took < Duration::from_secs(1), "{answer:?}");
    }
}
