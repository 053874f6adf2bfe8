//! How the service ends.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Answer, Asked, Server, addresses, head, next_answer, read_to_end};
use rustix::process::Signal;
use traceroute_testnet::kernel::{Chain, Namespace};

/// What the end of a process may take beyond what it waits for.
const LITTLE: Duration = Duration::from_secs(2);
/// What the service gives clients to read their last answers in.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn ask(server: &Server<'_>, path: &str) -> Asked {
    Asked::on(server.connect(), "GET", path, &[])
}

/// A client, two routers and a target that does not answer.
fn dead() -> Chain {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.target().blackhole().unwrap();
    chain
}

/// A run of both routers and the target, which is waited for.
fn run(chain: &Chain, path: &str, timeout: u32) -> String {
    let target = chain.target().addresses().v4;
    format!("{path}?target={target}&traceroute-queries=1&e2e-queries=0&max-ttl=3&timeout={timeout}")
}

/// Tells the service to end, and waits until nobody gets through to it any more.
fn terminate(server: &Server<'_>) -> Instant {
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    server.wait_for("draining");
    signalled
}

#[track_caller]
fn assert_ends(server: Server<'_>, signalled: Instant, within: Duration) -> String {
    let (status, log) = server.wait();
    assert_eq!(status, 0, "{log}");
    assert!(signalled.elapsed() < within, "{:?} after the signal: {log}", signalled.elapsed());
    log
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    let (status, code, message) = answer.failure();
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (503, "OVERLOADED", "the service is shutting down")
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[test]
fn requests_under_way_are_finished_and_no_others_accepted() {
    for signal in [Signal::TERM, Signal::INT] {
        let chain = dead();
        let server = Server::start(chain.client(), &["--shutdown-timeout", "20000"]);
        let under_way: Vec<_> = (0..50).map(|_| ask(&server, &run(&chain, "/traceroute", 3000))).collect();
        server.await_metric("traceroute_requests_in_flight", |requests| requests == 50);
        let signalled = Instant::now();
        server.signal(signal);
        server.wait_for("draining");
        let refused = chain.client().run(|| TcpStream::connect("127.0.0.1:3765")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for asked in under_way {
            let result = asked.answer().result();
            let run = &result["traceroute"]["runs"][0];
            let found = (addresses(run), &run["end_reason"]);
            assert_eq!(found, (vec!["10.71.0.2", "10.71.1.2", ""], &"max_ttl".into()));
        }
        assert_ends(server, signalled, Duration::from_secs(4) + LITTLE);
    }
}

#[test]
fn what_takes_longer_than_the_bound_is_answered_with_what_was_learnt() {
    let chain = dead();
    let server = Server::start(chain.client(), &["--shutdown-timeout", "700"]);
    let runs: Vec<_> = (0..20).map(|_| ask(&server, &run(&chain, "/traceroute", 60_000))).collect();
    // The client's own address answers.
    let target = chain.client().addresses().v4;
    let probes = ask(
        &server,
        &format!("/traceroute?target={target}&traceroute-queries=0&e2e-queries=1000&e2e-interval=100"),
    );
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 21);
    server.await_metric("traceroute_probes_answered_total", |probes| probes >= 20 * 2 + 3);
    let signalled = terminate(&server);
    for asked in runs {
        let result = asked.answer().result();
        let run = &result["traceroute"]["runs"][0];
        assert_eq!(addresses(run)[..2], ["10.71.0.2", "10.71.1.2"]);
        assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"interrupted".into()), "{run}");
    }
    let end_to_end = &probes.answer().result()["e2e_probe"];
    let count = |key: &str| end_to_end[key].as_u64().unwrap();
    assert!((3..=200).contains(&count("packets_sent")), "{end_to_end}");
    assert_eq!(count("packets_sent"), count("packets_received"), "{end_to_end}");
    assert!(signalled.elapsed() >= Duration::from_millis(700), "{:?}", signalled.elapsed());
    let log = assert_ends(server, signalled, Duration::from_millis(700) + LITTLE);
    assert!(log.contains("ending what is under way"), "{log}");
}

#[test]
fn those_who_wait_for_a_place_are_refused_at_once() {
    let chain = dead();
    let server = Server::start(chain.client(), &["--max-concurrent", "1"]);
    let under_way = ask(&server, &run(&chain, "/traceroute", 3000));
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    let queued: Vec<_> = (0..10).map(|_| ask(&server, &run(&chain, "/traceroute", 3000))).collect();
    server.await_metric("traceroute_requests_queued", |requests| requests == 10);
    let signalled = terminate(&server);
    for asked in queued {
        assert_refused(&asked.answer());
    }
    assert!(signalled.elapsed() < LITTLE, "{:?}", signalled.elapsed());
    under_way.answer().result();
    assert_ends(server, signalled, Duration::from_secs(4) + LITTLE);
}

/// What was sent before the answer to another request is refused or not read any more.
#[test]
fn on_a_connection_that_stays_open_nothing_new_is_begun() {
    let chain = dead();
    let server = Server::start(chain.client(), &[]);
    let stream = server.send(&run(&chain, "/traceroute", 2000));
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    let signalled = terminate(&server);
    let mut writer = stream.try_clone().unwrap();
    writer.write_all(head(&run(&chain, "/traceroute", 2000)).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let first = next_answer(&mut reader);
    first.result();
    let rest = read_to_end(reader.get_ref());
    assert!(rest.is_empty() && reader.buffer().is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(first.header("connection"), Some("close"));
    assert_ends(server, signalled, Duration::from_secs(3) + LITTLE);
}

/// One that was asked something before, and one that never was.
#[test]
fn connections_without_a_request_do_not_delay_the_end() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &["--header-timeout", "60000", "--shutdown-timeout", "60000"]);
    let mut used = BufReader::new(server.send("/health"));
    assert_eq!(next_answer(&mut used).status, 200);
    let unused = server.connect();
    server.await_metric("traceroute_http_connections", |connections| connections == 3);
    let signalled = terminate(&server);
    assert_ends(server, signalled, LITTLE);
    for stream in [used.get_ref(), &unused] {
        assert!(read_to_end(stream).is_empty());
    }
}

/// What was begun before may be finished.
#[test]
fn a_client_in_the_middle_of_a_head_delays_the_end_by_its_time_out_only() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &["--header-timeout", "3000", "--shutdown-timeout", "60000"]);
    let (mut finishing, mut slow) = (server.connect(), server.connect());
    for stream in [&mut finishing, &mut slow] {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
    }
    server.await_metric("traceroute_http_connections", |connections| connections == 3);
    let signalled = terminate(&server);
    finishing.write_all(b"a\r\n\r\n").unwrap();
    assert_eq!(next_answer(&mut BufReader::new(finishing)).status, 200);
    assert_ends(server, signalled, Duration::from_secs(3) + LITTLE);
    assert!(!read_to_end(&slow).starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_client_that_does_not_read_delays_the_end_by_the_bound_only() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &["--shutdown-timeout", "300"]);
    let _deaf = server.deaf_client();
    let signalled = terminate(&server);
    let within = Duration::from_millis(300) + LAST_WORDS + LITTLE;
    let log = assert_ends(server, signalled, within);
    assert!(log.contains("some clients did not read their answers"), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let chain = dead();
    for (first, second, status) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
    ] {
        let server = Server::start(chain.client(), &[]);
        let under_way = server.send(&run(&chain, "/traceroute", 60_000));
        server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
        server.signal(first);
        server.wait_for("draining");
        let signalled = Instant::now();
        server.signal(second);
        let (ended, log) = server.wait();
        assert_eq!(ended, status, "{log}");
        assert!(signalled.elapsed() < LITTLE, "{:?}", signalled.elapsed());
        assert!(read_to_end(&under_way).is_empty());
    }
}

#[test]
fn a_stream_ends_with_its_result() {
    let chain = dead();
    // One that ends by itself, and one that is ended.
    for (timeout, bound, reason) in [(2000, "20000", "max_ttl"), (60_000, "500", "interrupted")] {
        let server = Server::start(chain.client(), &["--shutdown-timeout", bound]);
        let asked = ask(&server, &run(&chain, "/traceroute/stream", timeout));
        server.await_metric("traceroute_probes_answered_total", |probes| probes == 2);
        let signalled = terminate(&server);
        let events = asked.answer().events();
        let (name, result) = events.last().unwrap();
        assert_eq!(name, "result");
        let run = &result["traceroute"]["runs"][0];
        assert_eq!(addresses(run)[..2], ["10.71.0.2", "10.71.1.2"], "{result}");
        assert_eq!(run["end_reason"], reason, "{result}");
        assert_eq!(events.iter().filter(|(name, _)| name == "result").count(), 1);
        assert_ends(server, signalled, Duration::from_secs(3) + LITTLE);
    }
}
