//! Clients that go away, do not read, or ask for more than one thing at a time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use common::{Asked, Server, addresses, head, next_answer, read_to_end};
use rustix::net::sockopt::set_socket_linger;
use traceroute_testnet::kernel::{Chain, TcpServer};
use traceroute_testnet::{Capture, CapturedPacket};

/// The figure is 50 ms, which `cargo xtask bench` measures.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);
/// Where it listens, and where it does not.
const OPEN: u16 = 80;
/// The numbers of protocols in IPv4 (RFC 790).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A way to send probes for more than five seconds: what to ask for, and protocol and destination port of the probes.
const WAYS: [(&str, u8, Option<u16>); 5] = [
    ("protocol=udp&port=33434", UDP, Some(33434)),
    ("protocol=icmp", ICMP, None),
    ("protocol=tcp&port=81", TCP, Some(81)),
    ("protocol=tcp&tcp-method=sack&port=80", TCP, Some(OPEN)),
    // Before the run, whose first probes are later than those.
    ("protocol=udp&port=5000&traceroute-queries=0&e2e-queries=10000&e2e-interval=20", UDP, Some(5000)),
];

/// A client, a router, and a target that listens, but is silent to probes that stop at no router.
fn silent_to_probes() -> (Chain, TcpServer) {
    let chain = Chain::builder().routers(1).build().unwrap();
    let server = TcpServer::listen(chain.target(), OPEN).unwrap();
    // What the client's kernel sends has 63 hops left, a probe one less than it was given.
    chain
        .target()
        .nft("table inet test {\nchain in {\ntype filter hook input priority 0\nip ttl < 62 drop\n}\n}\n")
        .unwrap();
    (chain, server)
}

/// When the probes of a way left.
fn sent(
    packets: &[CapturedPacket],
    to: Ipv4Addr,
    (_, protocol, port): (&str, u8, Option<u16>),
) -> Vec<SystemTime> {
    let concerns = |packet: &&CapturedPacket| {
        let datagram = &packet.datagram;
        // A header without options, as all here have it.
        datagram[0] == 0x45
            && datagram[9] == protocol
            && datagram[16..20] == to.octets()
            && port.is_none_or(|port| datagram[22..24] == port.to_be_bytes())
    };
    packets.iter().filter(concerns).map(|packet| packet.at).collect()
}

/// Clients ask for a run of every way, once for the result and once for the stream, and go when they have probes under way. What
/// is to be read of a connection before its end is `further`.
#[track_caller]
fn assert_cancelled(headers: &str, further: &str, go: fn(TcpStream) -> Option<TcpStream>) {
    let (chain, _listening) = silent_to_probes();
    let target = chain.target().addresses().v4;
    let count = 2 * WAYS.len();
    let server =
        Server::start(chain.client(), &["--max-concurrent", &count.to_string(), "--max-queued", "1"]);
    let before = server.resources();
    let capture = Capture::start(chain.client(), "right").unwrap();
    let mut clients = Vec::new();
    for path in ["/traceroute", "/traceroute/stream"] {
        for (way, ..) in WAYS {
            let mut stream = server.connect();
            let queries = if way.contains("queries") { "" } else { "&traceroute-queries=1&e2e-queries=0" };
            let path =
                format!("{path}?target={target}&{way}{queries}&max-ttl=60&send-delay=100&timeout=10000");
            let head = head(&path).replace("\r\n\r\n", &format!("\r\n{headers}\r\n{further}"));
            stream.write_all(head.as_bytes()).unwrap();
            clients.push(stream);
        }
    }
    server.await_metric("traceroute_requests_in_flight", |requests| requests == count as u64);
    // Some 180 a second.
    server.await_metric("traceroute_probes_sent_total", |probes| probes >= 400);
    let went = SystemTime::now();
    let left: Vec<_> = clients.into_iter().filter_map(go).collect();
    // It waits for a place, and then for an answer that does not come.
    let path = format!(
        "/traceroute?target={target}&protocol=udp&port=9&traceroute-queries=1&e2e-queries=0&first-ttl=9&max-ttl=9&timeout=2000"
    );
    let next = server.get(&path);
    next.result();
    assert!(next.took < Duration::from_secs(2) + 3 * CANCELLED_WITHIN, "{:?}", next.took);
    let packets = capture.stop().unwrap();
    for way in WAYS {
        let times = sent(&packets, target, way);
        assert!(times.iter().filter(|at| **at < went).count() >= 4, "{way:?} was not under way");
        let last = times.last().unwrap().duration_since(went).unwrap_or_default();
        assert!(last < CANCELLED_WITHIN, "{way:?} sent a probe {last:?} after its clients had gone");
    }
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 0);
    // Nginx's number for those who did not wait.
    let gone = "traceroute_http_requests_total{path=\"/traceroute\",code=\"499\"}";
    server.await_metric(gone, |clients| clients == WAYS.len() as u64);
    drop(left);
    server.await_resources(before);
}

/// Nothing of the connection is left.
fn close(stream: TcpStream) -> Option<TcpStream> {
    drop(stream);
    None
}

#[test]
fn a_client_that_closes_its_connection_takes_its_request_along() {
    assert_cancelled("", "", close);
}

/// As hosts do that were restarted, and programs that left something unread.
#[test]
fn a_client_that_resets_its_connection_takes_its_request_along() {
    assert_cancelled("", "", |stream| {
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        None
    });
}

/// What a client that still reads can only be told from by sending it something: it has to keep its side open.
#[test]
fn a_client_that_closes_its_side_only_has_gone_too() {
    assert_cancelled("", "", |stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        Some(stream)
    });
}

#[test]
fn a_client_that_goes_takes_along_what_it_has_asked_for_further() {
    assert_cancelled("", &head("/health"), close);
}

#[test]
fn a_client_that_goes_is_noticed_behind_a_body_that_nobody_reads() {
    assert_cancelled("content-length: 4\r\n", "body", close);
}

/// A client that closes its side at once has its answer where that is ready at once.
#[test]
fn what_is_known_at_once_is_answered_even_to_who_closes_its_side_at_once() {
    let chain = Chain::builder().routers(0).build().unwrap();
    let server = Server::start(chain.client(), &[]);
    for path in ["/health", "/openapi.json", "/traceroute", "/nowhere"] {
        let stream = server.send(path);
        stream.shutdown(Shutdown::Write).unwrap();
        let text = String::from_utf8(read_to_end(&stream)).unwrap();
        assert!(text.starts_with("HTTP/1.1 ") && text.contains("\r\n\r\n"), "{path}: {text:?}");
    }
}

/// The place is free again before the one who waits for it is let in, whoever is faster.
#[test]
fn who_waits_for_the_place_of_a_client_that_goes_gets_it() {
    let chain = Chain::builder().routers(0).build().unwrap();
    let server = Server::start(chain.client(), &["--max-concurrent", "1", "--max-queued", "1"]);
    let target = chain.target().addresses().v4;
    let endless =
        format!("/traceroute?target={target}&traceroute-queries=0&e2e-queries=10000&e2e-interval=5");
    for _ in 0..100 {
        let running = server.send(&endless);
        server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
        let path = format!("/traceroute?target={target}&traceroute-queries=0&e2e-queries=1");
        let waiting = Asked::on(server.connect(), "GET", &path, &[]);
        server.await_metric("traceroute_requests_queued", |requests| requests == 1);
        drop(running);
        waiting.answer().result();
    }
}

#[test]
fn requests_that_are_sent_together_are_answered_in_their_order() {
    let chain = Chain::builder().routers(2).build().unwrap();
    let server = Server::start(chain.client(), &[]);
    let target = chain.target().addresses().v4;
    let trace = format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=1");
    let mut stream = server.connect();
    let heads = ["/health", &trace, "/nowhere", &trace, "/health"].map(head);
    stream.write_all(heads.concat().as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut next = || next_answer(&mut reader);
    assert_eq!(next().json()["status"], "healthy");
    let path = ["10.71.0.2", "10.71.1.2", "10.71.2.2"];
    assert_eq!(addresses(&next().result()["traceroute"]["runs"][0]), path);
    assert_eq!(next().status, 404);
    assert_eq!(addresses(&next().result()["traceroute"]["runs"][0]), path);
    assert_eq!(next().json()["status"], "healthy");
}

/// The kernel has room for a result, and a request that has ended has no place any more; what it has no room for waits without
/// keeping anybody else waiting.
#[test]
fn a_client_that_never_reads_its_answers_is_in_nobodys_way() {
    let chain = Chain::builder().routers(2).build().unwrap();
    let server = Server::start(chain.client(), &["--max-concurrent", "1"]);
    let before = server.resources();
    let target = chain.target().addresses().v4;
    let trace = format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=1");
    let unread = server.send(&trace);
    assert_eq!(server.get(&trace).status, 200);
    let deaf = server.deaf_client();
    let started = Instant::now();
    assert_eq!(server.get(&trace).status, 200);
    assert_eq!(server.get("/health").status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop((unread, deaf));
    server.await_resources(before);
}
