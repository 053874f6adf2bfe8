//! A request as server-sent events.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/description.rs"]
mod description;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use common::{Answer, Asked, Server, destination, first_event, small_buffers, with_files};
use description::Description;
use serde_json::{Value, json};
use traceroute_core::Direction;
use traceroute_testnet::Capture;
use traceroute_testnet::kernel::{Chain, Scratch, TcpServer};

/// A capture, a sink and a queue are gone a moment after those who have them.
const SOON: Duration = Duration::from_secs(1);

type Events = [(String, Value)];

/// What a client knows that has followed the events.
#[derive(Default)]
struct Followed {
    /// The hops of each run by TTL.
    hops: BTreeMap<u64, BTreeMap<u64, Value>>,
    /// The runs that have ended, in the order in which they did, with their number.
    ended: Vec<(u64, Value)>,
    fell_back: BTreeSet<u64>,
    names: BTreeMap<String, Value>,
    round_trips: Vec<Value>,
}

impl Followed {
    fn follow(events: &Events) -> Self {
        let mut known = Self::default();
        for (name, data) in events {
            let run = || data["run"].as_u64().unwrap();
            match name.as_str() {
                "hop_answered" | "hop_updated" => {
                    let (hop, ttl) = (data["hop"].clone(), data["hop"]["ttl"].as_u64().unwrap());
                    let before = known.hops.entry(run()).or_default().insert(ttl, hop);
                    assert_eq!(before.is_some(), name == "hop_updated", "{data}");
                }
                "fell_back" => {
                    known.hops.remove(&run());
                    assert!(known.fell_back.insert(run()), "{data}");
                }
                "run_finished" => known.ended.push((run(), data["result"].clone())),
                "named" => {
                    let address = data["address"].as_str().unwrap().to_owned();
                    assert!(known.names.insert(address, data["names"].clone()).is_none(), "{data}");
                }
                "end_to_end" => known.round_trips.push(match &data["rtt"] {
                    Value::Null => json!(0),
                    rtt => rtt.clone(),
                }),
                "resolved" | "probe_sent" | "result" => {}
                other => panic!("{other}: {data}"),
            }
        }
        known
    }

    /// The hops of a run that has so many.
    fn hops(&self, run: u64, count: usize) -> Value {
        let silent = |ttl: u64| json!({"ttl": ttl, "ip_address": "", "rtt": 0, "reachable": false});
        let of_run = self.hops.get(&run);
        let hop = |ttl| of_run.and_then(|hops| hops.get(&ttl).cloned()).unwrap_or_else(|| silent(ttl));
        (1..).take(count).map(hop).map(|hop| self.named(hop, "/ip_address")).collect()
    }

    /// With the names of the address at `place`.
    fn named(&self, mut value: Value, place: &str) -> Value {
        let address = value.pointer(place).and_then(Value::as_str).unwrap();
        if let Some(names) = self.names.get(address) {
            value["reverse_dns"] = names.clone();
        }
        value
    }

    /// Checks that the result says the same.
    #[track_caller]
    fn assert_adds_up_to(&self, result: &Value) {
        let runs = result["traceroute"]["runs"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(runs.len(), self.ended.len(), "{result}");
        for (run, (number, ended)) in runs.iter().zip(&self.ended) {
            let count = ended["hops"].as_array().unwrap().len();
            assert_eq!(run["hops"], self.hops(*number, count), "{run}");
            assert_eq!(run["destination"], self.named(ended["destination"].clone(), "/ip_address"), "{run}");
            assert_eq!(run["method"] == "syn", self.fell_back.contains(number), "{run}");
            for key in ["run_id", "source", "reached", "end_reason", "port_state", "method"] {
                assert_eq!(run.get(key), ended.get(key), "{key}: {run}");
            }
        }
        let probes = &result["e2e_probe"];
        assert_eq!(probes["rtts"].as_array().map_or(&[][..], Vec::as_slice), self.round_trips, "{probes}");
    }
}

/// Checks that everything is told after what it follows from, and the result in the end.
#[track_caller]
fn assert_order(events: &Events) {
    let (mut sent, mut finished, mut probes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let ((first, _), (last, _)) = (events.first().unwrap(), events.last().unwrap());
    assert_eq!((first.as_str(), last.as_str()), ("resolved", "result"));
    let once = |name: &str| events.iter().filter(|(known, _)| known == name).count() == 1;
    assert!(once("resolved") && once("result"));
    for (name, data) in events {
        let (run, ttl, of_hop) = (data["run"].as_u64(), data["ttl"].as_u64(), data["hop"]["ttl"].as_u64());
        match name.as_str() {
            "probe_sent" => {
                assert!(!finished.contains(&run), "{data}");
                sent.insert((run, ttl));
            }
            "hop_answered" | "hop_updated" => assert!(sent.contains(&(run, of_hop)), "{data}"),
            "fell_back" => assert!(!finished.contains(&run), "{data}"),
            "run_finished" => assert!(finished.insert(run), "{data}"),
            "end_to_end" => assert!(probes.insert(data["probe"].as_u64()), "{data}"),
            _ => {}
        }
    }
    let numbers = |set: &BTreeSet<Option<u64>>| set.iter().copied().eq((0..).take(set.len()).map(Some));
    assert!(numbers(&finished) && numbers(&probes), "{finished:?} {probes:?}");
}

/// Every method to both families, names included: with a silent router, closed and open ports, without an answer, and with
/// another method than was asked for.
#[test]
fn events_add_up_to_the_result_and_come_in_their_order() {
    let (chain, scratch) = (Chain::builder().build().unwrap(), Scratch::new("stream"));
    let _target = TcpServer::listen(chain.target(), 80).unwrap();
    chain.router(3).silence().unwrap();
    let hosts = scratch.write(
        "hosts",
        "10.71.8.2 target.example.test\n10.71.0.2 r1.example.test\nfd00:71:1::2 r2.example.test\n",
    );
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let files = [(hosts.as_str(), "/etc/hosts"), (resolver.as_str(), "/etc/resolv.conf")];
    let server = Server::run(chain.client(), with_files(chain.client(), &files, &[]));
    for (query, told) in [
        ("protocol=udp&reverse-dns=1", &["named", "end_to_end", "run_finished"][..]),
        ("protocol=icmp&reverse-dns=1", &["named", "end_to_end", "run_finished"]),
        ("protocol=tcp&port=80", &["end_to_end", "run_finished"]),
        ("protocol=tcp&port=81", &["end_to_end", "run_finished"]),
        ("protocol=tcp&tcp-method=sack&port=80", &["end_to_end", "run_finished"]),
        ("protocol=tcp&tcp-method=prefer_sack&port=81", &["fell_back", "end_to_end", "run_finished"]),
        ("protocol=udp&max-ttl=5&timeout=300", &["end_to_end", "run_finished"]),
        ("protocol=udp&traceroute-queries=0", &["end_to_end"]),
        ("protocol=udp&no-e2e=1", &["run_finished"]),
    ] {
        for target in ["10.71.8.2", "fd00:71:8::2"] {
            let query = format!("/traceroute/stream?target={target}&e2e-queries=3&e2e-interval=20&{query}");
            let events = server.get(&query).events();
            let names: BTreeSet<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
            assert!(told.iter().all(|name| names.contains(name)), "{query}: {names:?}");
            assert_order(&events);
            let (_, result) = events.last().unwrap();
            Followed::follow(&events).assert_adds_up_to(result);
        }
    }
}

/// The first event says where it goes, before anything is known: the target by name, and this host's address toward it.
#[test]
fn the_first_event_says_from_where_to_where() {
    let (chain, scratch) = (Chain::builder().routers(1).build().unwrap(), Scratch::new("resolved"));
    let hosts = scratch.write("hosts", "10.71.1.2 target.example.test\n");
    let server = Server::run(chain.client(), with_files(chain.client(), &[(&hosts, "/etc/hosts")], &[]));
    let events =
        server.get("/traceroute/stream?target=target.example.test&e2e-queries=1&reverse-dns=0").events();
    let expected = json!({"event": "resolved", "target": "10.71.1.2", "source": "10.71.0.1"});
    assert_eq!(events[0], ("resolved".to_owned(), expected));
}

/// A stream that has begun has its status, but what fails before has the one that it has without a stream.
#[test]
fn what_fails_at_once_has_a_status_and_what_fails_later_an_event() {
    let (chain, scratch) = (Chain::builder().routers(1).build().unwrap(), Scratch::new("failures"));
    chain.client().ip("route add throw 203.0.113.0/24").unwrap();
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let server =
        Server::run(chain.client(), with_files(chain.client(), &[(&resolver, "/etc/resolv.conf")], &[]));
    for (query, status, code) in [
        ("", 400, "INVALID_REQUEST"),
        ("target=10.71.1.2&port=70000", 400, "INVALID_REQUEST"),
        ("target=169.254.169.254", 403, "FORBIDDEN"),
        ("target=nonexistent.invalid", 500, "DNS"),
        ("target=203.0.113.9", 500, "NETUNREACH"),
    ] {
        let stream = server.get(&format!("/traceroute/stream?{query}")).failure();
        assert_eq!((stream.0, stream.1.as_str()), (status, code), "{query}");
        assert_eq!(stream, server.get(&format!("/traceroute?{query}")).failure(), "{query}");
    }
    let refused = server.ask("POST", "/traceroute/stream?target=10.71.1.2", &[]);
    assert_eq!((refused.status, refused.body.as_str()), (405, "Method not allowed\n"));

    let query = "target=10.71.1.2&protocol=tcp&tcp-method=sack&port=81&e2e-queries=1";
    let events = server.get(&format!("/traceroute/stream?{query}")).events();
    let (_, code, message) = server.get(&format!("/traceroute?{query}")).failure();
    assert_eq!(events.last(), Some(&("error".to_owned(), json!({"code": code, "message": message}))));
    assert_eq!(code, "CONNREFUSED");
    assert!(events.iter().all(|(name, _)| name != "result"));
}

/// What follows an event is not held back until there is more of it: each is there long before the end of the trace.
#[test]
fn events_come_as_they_happen() {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.router(2).blackhole().unwrap();
    let server = Server::start(chain.client(), &[]);
    let query = "/traceroute/stream?target=10.71.2.2&traceroute-queries=1&e2e-queries=0&timeout=60000";
    let mut asked = Asked::on(server.connect(), "GET", query, &[]);
    let began = SystemTime::now();
    let mut told = first_event(&mut asked.stream);
    while !(told.contains("10.71.0.2") && told.contains("10.71.1.2")) {
        let mut bytes = [0; 4096];
        let read = asked.stream.read(&mut bytes).unwrap();
        assert!(read > 0, "{told}");
        told += &String::from_utf8_lossy(&bytes[..read]);
    }
    assert!(began.elapsed().unwrap() < 10 * SOON, "{told}");
}

/// Each would go on for ten seconds: a probe every millisecond toward a target that does not answer.
#[test]
fn a_client_that_goes_away_after_the_first_event_ends_the_trace() {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.router(2).blackhole().unwrap();
    let server = Server::start(chain.client(), &[]);
    let capture = Capture::start(chain.client(), "right").unwrap();
    let mut gone = SystemTime::now();
    for target in ["10.71.2.2", "fd00:71:2::2"] {
        for method in ["protocol=udp", "protocol=icmp", "protocol=tcp", "protocol=tcp&tcp-method=sack"] {
            let query = format!(
                "/traceroute/stream?target={target}&{method}&max-ttl=255&send-delay=40&\
                 e2e-queries=10000&e2e-interval=1&timeout=10000"
            );
            let mut asked = Asked::on(server.connect(), "GET", &query, &[]);
            assert!(first_event(&mut asked.stream).contains("event: resolved"));
            drop(asked);
            gone = SystemTime::now();
        }
    }
    // Another trace, of a known length, during which nothing of the others is to be seen any more.
    let silent =
        "/traceroute?target=10.71.2.2&port=9&traceroute-queries=1&e2e-queries=0&max-ttl=3&first-ttl=3";
    let other = server.get(&format!("{silent}&timeout=2500"));
    assert!(other.took >= 2 * SOON && other.result()["traceroute"]["runs"][0]["reached"] == false);
    let packets = capture.stop().unwrap();
    let targets: [IpAddr; 2] = ["10.71.2.2", "fd00:71:2::2"].map(|target| target.parse().unwrap());
    let sent = packets.iter().filter(|packet| packet.direction == Direction::Sent);
    let sent: Vec<_> = sent.filter(|packet| targets.contains(&destination(&packet.datagram))).collect();
    assert!(!sent.is_empty());
    let late = sent.iter().filter(|packet| packet.at > gone + SOON).count();
    assert_eq!(late, 0, "of {}", sent.len());
    let metrics = server.get("/metrics").body;
    for idle in ["traceroute_requests_in_flight 0\n", "traceroute_runs_in_flight 0\n"] {
        assert!(metrics.contains(idle), "{metrics}");
    }
}

/// A thousand runs tell more than waits for a client that does not read: some is lost, how much is said, and the result is whole.
#[test]
fn a_client_that_does_not_read_is_told_what_it_lost() {
    let chain = Chain::builder().build().unwrap();
    // Otherwise it would all wait in the sockets.
    small_buffers(chain.client());
    let server = Server::start(chain.client(), &["--probe-rate", "0"]);
    let query = "/traceroute/stream?target=10.71.8.2&traceroute-queries=1000&e2e-queries=0";
    let mut asked = Asked::on(server.connect(), "GET", query, &[]);
    let head = first_event(&mut asked.stream);
    server.await_metric("traceroute_probes_sent_total", |probes| probes >= 9_000);
    server.await_metric("traceroute_runs_in_flight", |runs| runs == 0);
    let mut rest = Vec::new();
    asked.stream.read_to_end(&mut rest).unwrap();
    let answer = Answer::parse(&(head + &String::from_utf8(rest).unwrap()), Duration::ZERO);
    let events = answer.events();
    Description::of(&server).assert_describes_events(&events);
    let [.., (lost, missed), (end, result)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((lost.as_str(), end.as_str()), ("lost", "result"));
    let runs = result["traceroute"]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1000);
    let finished = events.iter().filter(|(name, _)| name == "run_finished").count();
    let answered = events.iter().filter(|(name, _)| name == "hop_answered").count();
    let missing = (1000 - finished) + (9 * 1000_usize).saturating_sub(answered);
    assert!(missed["events"].as_u64().unwrap() >= u64::try_from(missing).unwrap(), "{missed}");
}
