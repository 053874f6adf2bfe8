//! A service with more to do than it may, or than one would expect.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::net::UdpSocket;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use common::{Answer, Asked, Server, addresses, raise_descriptor_limit, small_buffers, with_files};
use traceroute_testnet::kernel::{Chain, Scratch};

const AT_ONCE: usize = 1000;
/// What a refusal may take until the test has read it.
const AT_ONCE_REFUSED: Duration = Duration::from_secs(2);

/// Written by a test whose thousand requests would be in another one's time, and read by the others.
static ALONE: RwLock<()> = RwLock::new(());

/// Sends the request so many times at once.
fn ask(server: &Server<'_>, count: usize, path: &str) -> Vec<Asked> {
    let streams = server.connections(count);
    streams.into_iter().map(|stream| Asked::on(stream, "GET", path, &[])).collect()
}

/// Reads each answer when it comes.
fn answers(asked: Vec<Asked>) -> Vec<Answer> {
    let readers: Vec<_> = asked.into_iter().map(|asked| thread::spawn(|| asked.answer())).collect();
    readers.into_iter().map(|reader| reader.join().unwrap()).collect()
}

/// The path through all routers of the chain.
fn routers() -> Vec<String> {
    (0..8).map(|link| format!("10.71.{link}.2")).collect()
}

/// A request that lasts as long as its time-out, since it asks only the target and that is silent.
fn lasting(chain: &Chain, ms: u32) -> String {
    let (target, hop) = (chain.target().addresses().v4, chain.routers() + 1);
    format!(
        "/traceroute?target={target}&traceroute-queries=1&e2e-queries=0&first-ttl={hop}&max-ttl={hop}&timeout={ms}"
    )
}

#[track_caller]
fn assert_overloaded(answer: &Answer, reason: &str) {
    let (status, code, message) = answer.failure();
    assert_eq!((status, code.as_str()), (503, "OVERLOADED"), "{answer:?}");
    assert!(message.contains(reason), "{answer:?}");
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(seconds.is_some_and(|seconds: u32| seconds > 0), "{answer:?}");
}

/// Twice, so that what a round leaves behind would show.
#[test]
fn a_thousand_requests_at_once_are_all_right_and_leave_nothing_behind() {
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let chain = Chain::builder().build().unwrap();
    let server = Server::start(chain.client(), &["--max-concurrent", "1000", "--max-queued", "0"]);
    let before = server.resources();
    let target = chain.target().addresses().v4.to_string();
    let expected: Vec<String> = routers().into_iter().chain([target.clone()]).collect();
    let round = || {
        for protocol in ["udp", "icmp", "tcp"] {
            let path =
                format!("/traceroute?target={target}&protocol={protocol}&traceroute-queries=1&e2e-queries=0");
            for asked in ask(&server, AT_ONCE, &path) {
                let result = asked.answer().result();
                let run = &result["traceroute"]["runs"][0];
                assert_eq!(addresses(run), expected, "{protocol}");
            }
            server.await_resources(before);
        }
        server.private_memory()
    };
    let (first, second) = (round(), round());
    // How many were there at one moment differs, and with it what the allocator keeps; 20 KiB of each request would be twice
    // as much.
    assert!(second < first * 3 / 2, "{first} KiB after the first round, {second} KiB after the second");
    assert_eq!(server.metric("traceroute_capture_drops_total"), 0);
}

#[test]
fn of_a_thousand_at_once_those_beyond_the_limit_are_refused_at_once_and_the_others_not_affected() {
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let chain = Chain::builder().build().unwrap();
    chain.target().blackhole().unwrap();
    let server = Server::start(chain.client(), &["--max-concurrent", "10", "--max-queued", "0"]);
    let before = server.resources();
    let target = chain.target().addresses().v4;
    // Eight routers and two silent hops; the answer to the last is waited for until long after all others are refused.
    let path =
        format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=0&max-ttl=10&timeout=10000");
    let asked = ask(&server, AT_ONCE, &path);
    let beyond = AT_ONCE as u64 - 10;
    let refused = "traceroute_http_requests_total{path=\"/traceroute\",code=\"503\"}";
    server.await_metric(refused, |requests| requests == beyond);
    assert_eq!(server.metric("traceroute_requests_in_flight"), 10, "nobody was to end before");
    // By the service's own clock, which does not wait for us to send and to read: all that have been answered so far. The figure
    // is 50 ms, which `cargo xtask bench` measures.
    let within_a_second = "traceroute_http_request_duration_seconds_bucket{le=\"1.0\",path=\"/traceroute\"}";
    assert_eq!(server.metric(within_a_second), beyond);
    let (carried_out, refused) =
        answers(asked).into_iter().partition::<Vec<_>, _>(|answer| answer.status == 200);
    assert_eq!((carried_out.len(), refused.len()), (10, AT_ONCE - 10));
    for answer in &refused {
        assert_overloaded(answer, "10 requests are under way and 0 wait");
    }
    let expected: Vec<String> = routers().into_iter().chain([String::new(), String::new()]).collect();
    for answer in &carried_out {
        let result = answer.result();
        let run = &result["traceroute"]["runs"][0];
        assert_eq!(
            (addresses(run), &run["end_reason"]),
            (expected.iter().map(String::as_str).collect(), &"max_ttl".into())
        );
    }
    server.await_resources(before);
}

#[test]
fn those_who_wait_are_served_in_their_order_and_no_more_than_may_wait() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.target().blackhole().unwrap();
    let server = Server::start(chain.client(), &["--max-concurrent", "1", "--max-queued", "3"]);
    let mut asked = Vec::new();
    // The first one lasts until all others have come.
    for (waiting, (id, ms)) in
        [("first", 4000), ("second", 1000), ("third", 1000), ("fourth", 1000)].into_iter().enumerate()
    {
        let path = lasting(&chain, ms);
        asked.push(Asked::on(server.connect(), "GET", &path, &[("x-request-id", id)]));
        let (name, count) = match waiting {
            0 => ("traceroute_requests_in_flight", 1),
            _ => ("traceroute_requests_queued", u64::try_from(waiting).unwrap()),
        };
        server.await_metric(name, |requests| requests == count);
    }
    let refused = server.get(&lasting(&chain, 1000));
    assert_overloaded(&refused, "1 requests are under way and 3 wait");
    assert!(refused.took < AT_ONCE_REFUSED, "{refused:?}");
    for answer in answers(asked) {
        answer.result();
    }
    // What is answered is in the log a moment later.
    let ids = ["id=first", "id=second", "id=third", "id=fourth"];
    for id in ids {
        server.wait_for(id);
    }
    let log = server.log();
    let places = ids.map(|id| log.find(id).unwrap());
    assert!(places.is_sorted(), "{log}");
}

#[test]
fn who_has_waited_too_long_is_refused() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.target().blackhole().unwrap();
    let arguments = ["--max-concurrent", "1", "--max-queue-wait", "300"];
    let server = Server::start(chain.client(), &arguments);
    let carried_out = ask(&server, 1, &lasting(&chain, 4000));
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    let refused = server.get(&lasting(&chain, 1000));
    assert_overloaded(&refused, "1 requests were under way for 300 ms");
    assert!(refused.took >= Duration::from_millis(300), "{refused:?}");
    assert!(refused.took < Duration::from_millis(300) + AT_ONCE_REFUSED, "{refused:?}");
    assert_eq!(server.metric("traceroute_requests_queued"), 0);
    answers(carried_out)[0].result();
}

/// Ten probes a second, and requests of one each: of those that come at once each waits a tenth of a second longer than the one
/// before it.
#[test]
fn where_probes_would_wait_for_more_than_a_second_requests_are_refused() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.target().blackhole().unwrap();
    let server = Server::start(chain.client(), &["--probe-rate", "10"]);
    let (mut asked, began) = (Vec::new(), Instant::now());
    // They come faster than ten a second, so that sooner or later one is refused.
    while !server.get("/metrics").body.contains("code=\"503\"") {
        asked.extend(ask(&server, 1, &lasting(&chain, 1000)));
    }
    let went_by = began.elapsed();
    let (accepted, refused) =
        answers(asked).into_iter().partition::<Vec<_>, _>(|answer| answer.status == 200);
    // Those whose time had come, those that waited for a second, and as many again that nobody had counted yet.
    let (count, most) = (accepted.len(), went_by.as_millis() / 100 + 2 * 11);
    assert!(count > 10 && count as u128 <= most, "{count} accepted in {went_by:?}");
    for answer in &accepted {
        answer.result();
    }
    for answer in refused {
        assert_overloaded(&answer, "more probes wait than may be sent within a second");
        assert!(answer.took < AT_ONCE_REFUSED, "{answer:?}");
    }
}

#[test]
fn a_request_that_goes_on_for_too_long_is_answered_with_what_it_has_learnt() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    let server = Server::start(chain.client(), &["--max-duration", "500"]);
    let query = format!(
        "?target={}&traceroute-queries=1&e2e-queries=1000&e2e-interval=100",
        chain.target().addresses().v4
    );
    let whole = server.get(&format!("/traceroute{query}"));
    assert!(whole.took >= Duration::from_millis(500), "{whole:?}");
    assert!(whole.took < Duration::from_millis(500) + AT_ONCE_REFUSED, "{whole:?}");
    let told = server.get(&format!("/traceroute/stream{query}")).events();
    let (name, last) = told.last().unwrap();
    assert_eq!(name, "result");
    for result in [&whole.result(), last] {
        assert_eq!(addresses(&result["traceroute"]["runs"][0]).len(), 2);
        let sent = result["e2e_probe"]["packets_sent"].as_u64().unwrap();
        assert!((1..20).contains(&sent), "{sent}");
        let warning = "the request was ended after 500 ms, which is the longest that is allowed";
        assert_eq!(result["warnings"], serde_json::json!([warning]));
    }
}

/// More than the buffers of a connection take: who does not read it is cut off after five minutes.
#[test]
fn who_does_not_read_a_stream_keeps_no_place_when_its_request_has_ended() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.target().blackhole().unwrap();
    small_buffers(chain.client());
    let arguments = ["--max-concurrent", "1", "--max-queue-wait", "60000", "--probe-rate", "0"];
    let server = Server::start(chain.client(), &arguments);
    let target = chain.target().addresses().v4;
    let many = "traceroute-queries=100&e2e-queries=0&max-ttl=50&send-delay=1&timeout=500";
    let path = format!("/traceroute/stream?target={target}&{many}");
    let _unread = Asked::on(server.connect(), "GET", &path, &[]);
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    let next = server.get("/traceroute?target=127.0.0.1&traceroute-queries=1&e2e-queries=0");
    next.result();
    assert!(next.took < Duration::from_secs(20), "{next:?}");
}

#[test]
fn a_client_has_no_more_requests_at_one_time_than_it_may() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.target().blackhole().unwrap();
    let server = Server::start(chain.client(), &["--max-per-client", "2"]);
    let ask_as = |client| Asked::on(server.connect_as(client), "GET", &lasting(&chain, 3000), &[]);
    let (first, second) = (ask_as(7), ask_as(7));
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 2);
    let (status, code, message) = ask_as(7).answer().failure();
    assert_eq!((status, code.as_str()), (429, "RATE_LIMITED"), "{message}");
    for answer in answers(vec![first, second, ask_as(8)]) {
        answer.result();
    }
    ask_as(7).answer().result();
}

/// The system's resolver cannot be called off: while it asks for the name that a client does not wait for any more, the
/// client's place is taken.
#[test]
fn a_name_that_is_being_looked_up_keeps_its_place() {
    let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let (chain, scratch) = (Chain::builder().routers(1).build().unwrap(), Scratch::new("slow-names"));
    let name_server = chain.client().run(|| UdpSocket::bind("127.0.0.53:53")).unwrap();
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.53\noptions timeout:30 attempts:1\n");
    let files = [(resolver.as_str(), "/etc/resolv.conf")];
    let command = with_files(chain.client(), &files, &["--max-concurrent", "1"]);
    let server = Server::run(chain.client(), command);
    let gone = server.send("/traceroute?target=slow.test");
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 1);
    drop(gone);
    server.await_metric("traceroute_requests_in_flight", |requests| requests == 0);
    let target = chain.target().addresses().v4;
    let next = ask(&server, 1, &format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=0"));
    server.await_metric("traceroute_requests_queued", |requests| requests == 1);
    // There is no such name (RFC 1035 section 4.1.1), whatever is asked of it and however it is completed.
    name_server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, from)) = name_server.recv_from(&mut message) {
            message[2..4].copy_from_slice(&[0x81, 0x83]);
            name_server.send_to(&message[..length], from).unwrap();
        }
    });
    answers(next)[0].result();
}
