//! What operators see: the log and the metrics.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufReader, Write};
use std::net::UdpSocket;

use common::{Server, head, next_answer};
use rustix::process::Signal;
use serde_json::Value;
use traceroute_testnet::kernel::{Chain, Namespace};

#[test]
fn what_was_done_is_counted_by_path_and_code() {
    let chain = Chain::builder().routers(2).build().unwrap();
    let server = Server::start(chain.client(), &[]);
    let target = chain.target().addresses().v4;
    let trace = format!("/traceroute?target={target}&traceroute-queries=2&e2e-queries=1");
    let results = [server.get(&trace).result(), server.get(&trace).result()];
    assert_eq!(server.get("/traceroute?target=169.254.169.254").status, 403);
    assert_eq!(server.get("/traceroute").status, 400);
    server.get(&format!("/traceroute/stream?target={target}&e2e-queries=1")).events();
    server.get("/health");
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
    assert!(metrics.body.ends_with("# EOF\n"), "the end of an OpenMetrics text");
    for (labels, count) in [
        ("{path=\"/traceroute\",code=\"200\"}", 2),
        ("{path=\"/traceroute\",code=\"403\"}", 1),
        ("{path=\"/traceroute\",code=\"400\"}", 1),
        ("{path=\"/traceroute/stream\",code=\"200\"}", 1),
        ("{path=\"/health\",code=\"200\"}", 1),
    ] {
        assert_eq!(metrics.metric(&format!("traceroute_http_requests_total{labels}")), count, "{labels}");
    }
    assert_eq!(metrics.metric("traceroute_http_request_duration_seconds_count{path=\"/traceroute\"}"), 4);
    // Of the two that were answered in full: every hop and every end-to-end probe.
    let hops = |result: &Value| {
        let runs = result["traceroute"]["runs"].as_array().unwrap();
        runs.iter().map(|run| run["hops"].as_array().unwrap().len()).sum::<usize>() as u64 + 1
    };
    let least: u64 = results.iter().map(hops).sum();
    let answered = metrics.metric("traceroute_probes_answered_total");
    assert!(answered >= least, "{answered} of {least}");
    assert!(metrics.metric("traceroute_probes_sent_total") >= answered);
    assert!(metrics.metric("traceroute_captured_packets_total") >= answered);
    for idle in ["requests_in_flight", "requests_queued", "runs_in_flight", "capture_drops_total"] {
        assert_eq!(metrics.metric(&format!("traceroute_{idle}")), 0, "{idle}");
    }
    // One asks; the others are counted as long as they are there.
    let open: Vec<_> = (0..5).map(|_| server.connect()).collect();
    server.await_metric("traceroute_http_connections", |connections| connections == 6);
    drop(open);
    server.await_metric("traceroute_http_connections", |connections| connections == 1);
}

/// While the service stands still, a port that its runs may have is flooded: the capture's buffer holds some ten thousand
/// datagrams, which loopback shows twice.
#[test]
fn what_the_capture_loses_is_counted() {
    let namespace = Namespace::new().unwrap();
    namespace.sysctl(&[("net.ipv4.ip_local_port_range", "32768 60999")]).unwrap();
    let server = Server::start(&namespace, &[]);
    assert_eq!(server.metric("traceroute_capture_drops_total"), 0);
    server.signal(Signal::STOP);
    namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100_000 {
            socket.send_to(&[0; 64], "127.0.0.1:61000").unwrap();
        }
    });
    server.signal(Signal::CONT);
    server.await_metric("traceroute_capture_drops_total", |drops| drops > 10_000);
}

#[test]
fn what_clients_invent_makes_no_metrics() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &[]);
    let lines = || server.get("/metrics").body.lines().count();
    server.get("/nothing");
    server.get("/metrics");
    let before = lines();
    for i in 0..50 {
        assert_eq!(server.get(&format!("/nothing/{i}?target={i}")).status, 404);
        assert_eq!(server.ask("GET", "/nothing", &[("x-request-id", &format!("id-{i}"))]).status, 404);
    }
    assert_eq!(lines(), before);
}

/// With another language for the method and the id, in case somebody parses them.
#[test]
fn every_request_has_a_line_with_its_id_for_programs() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &["--log-format", "json"]);
    let trace = "/traceroute?target=127.0.0.1&traceroute-queries=1&e2e-queries=0";
    let known = server.ask("GET", trace, &[("x-request-id", "operator-7.a_b")]);
    assert_eq!(known.header("x-request-id"), Some("operator-7.a_b"));
    let harmful = server.ask("POST", "/traceroute?a=%0a%22'", &[("x-request-id", "two words")]);
    let made_up = harmful.header("x-request-id").unwrap().to_owned();
    assert!(made_up.len() == 16 && made_up.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made_up}");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status, 0);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for (id, path, query, code) in [
        ("operator-7.a_b", "/traceroute", "target=127.0.0.1&traceroute-queries=1&e2e-queries=0", 200),
        (&made_up, "/traceroute", "a=%0a%22'", 405),
    ] {
        let of_id = lines.iter().filter(|line| line["span"]["id"] == id);
        let [line] = of_id.collect::<Vec<_>>()[..] else { panic!("one line for {id}: {log}") };
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"answered".into()));
        assert_eq!(
            (&line["path"], &line["query"], &line["status"]),
            (&path.into(), &query.into(), &code.into())
        );
        assert!(line["span"]["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    }
}

#[test]
fn what_is_below_the_level_is_not_logged() {
    let namespace = Namespace::new().unwrap();
    // It says that it listens at this level at least.
    let server = Server::start(&namespace, &["--log-level", "INFO"]);
    assert_eq!(server.get("/health").status, 200);
    server.wait_for("/health");
    assert!(!server.log().contains("DEBUG"), "{}", server.log());
    drop(server);
    let server = Server::start(&namespace, &["-l", "debug"]);
    server.get("/traceroute?target=127.0.0.1&traceroute-queries=1&e2e-queries=0").result();
    server.wait_for("DEBUG");
}

/// More lines than a pipe and the log's own queue of 4,096 hold.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let namespace = Namespace::new().unwrap();
    let server = Server::unread(&namespace, &["--log-level", "trace"]);
    let mut client = BufReader::new(server.connect());
    for _ in 0..100 {
        client.get_mut().write_all(head("/nothing").repeat(100).as_bytes()).unwrap();
        for _ in 0..100 {
            assert_eq!(next_answer(&mut client).status, 404);
        }
    }
    drop(client);
    server.get("/traceroute?target=127.0.0.1&traceroute-queries=1&e2e-queries=0").result();
    server.signal(Signal::TERM);
    let (status, _) = server.wait();
    assert_eq!(status, 0);
}
