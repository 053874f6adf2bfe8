//! Clients that are broken, slow, or mean harm.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{Answer, PROGRAM, Server, addresses, head, next_answer, raise_descriptor_limit, read_to_end};
use traceroute_testnet::kernel::Chain;

const HEADER_TIMEOUT: Duration = Duration::from_millis(500);
/// What a time-out may be late, where nobody is in a hurry.
const LATE: Duration = Duration::from_secs(3);

/// A client, two routers and a target.
fn chain() -> Chain {
    Chain::builder().routers(2).build().unwrap()
}

fn trace(chain: &Chain) -> String {
    let target = chain.target().addresses().v4;
    format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=1")
}

/// The service answers as ever, and soon.
#[track_caller]
fn assert_serves(chain: &Chain, server: &Server<'_>) {
    let started = Instant::now();
    assert_eq!(server.get("/health").json()["status"], "healthy");
    let result = server.get(&trace(chain)).result();
    assert_eq!(addresses(&result["traceroute"]["runs"][0]), ["10.71.0.2", "10.71.1.2", "10.71.2.2"]);
    assert_eq!(result["e2e_probe"]["packets_received"], 1, "{result}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// Lets a service be attacked, which then serves as ever and has kept nothing.
#[track_caller]
fn withstands(arguments: &[&str], attack: impl FnOnce(&Chain, &Server<'_>)) {
    let chain = chain();
    let server = Server::start(chain.client(), arguments);
    let before = server.resources();
    attack(&chain, &server);
    assert_serves(&chain, &server);
    server.await_resources(before);
}

/// What a client gets for bytes, all of which it writes if the service lets it.
fn exchange(server: &Server<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut stream = server.connect();
    // The service may have answered and closed the connection before it has read all.
    if let Err(error) = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)) {
        let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::NotConnected];
        assert!(closed.contains(&error.kind()), "{error}");
    }
    read_to_end(&stream)
}

/// The status of the answer to bytes, if there is one before the connection ends.
#[track_caller]
fn status(server: &Server<'_>, bytes: &[u8]) -> Option<u16> {
    let answer = String::from_utf8(exchange(server, bytes)).unwrap();
    (!answer.is_empty()).then(|| Answer::parse(&answer, Duration::ZERO).status)
}

/// `SplitMix64`: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

#[test]
fn random_bytes_are_refused_or_not_answered() {
    withstands(&[], |_, server| {
        let mut random = Random(6);
        for _ in 0..300 {
            let length = 1 + random.below(40_000);
            let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            let status = status(server, &bytes);
            assert!(status.is_none_or(|status| [400, 431].contains(&status)), "{status:?}");
        }
    });
}

/// Heads of which a few bytes are others: some still are requests, and no one's fault is the service's.
#[test]
fn damaged_requests_are_never_the_services_fault() {
    withstands(&[], |chain, server| {
        let path = format!("{}&max-ttl=3&protocol=icmp&reverse-dns=false", trace(chain))
            .replace("queries=1", "queries=0");
        let whole =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\n1");
        let behind_target = whole.find("&traceroute").unwrap() + 1;
        let mut random = Random(7);
        for _ in 0..1000 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..=random.below(3) {
                // The target stays: whom else it could be is not for a test to ask.
                let place = match random.below(2) {
                    0 => random.below("GET /traceroute?".len()),
                    _ => behind_target + random.below(whole.len() - behind_target),
                };
                bytes[place] = random.byte();
            }
            let status = status(server, &bytes);
            let text = String::from_utf8_lossy(&bytes);
            assert!(status.is_none_or(|status| status < 500 || status == 505), "{status:?}: {text:?}");
        }
    });
}

/// RFC 6585 section 5: 431 is for a head that is too large, of one field or of all together.
#[test]
fn enormous_heads_are_refused_and_large_ones_not() {
    withstands(&[], |_, server| {
        let request = |query: usize, headers: usize, length: usize| {
            let header = |number: usize| format!("x-{number}: {}\r\n", "a".repeat(length));
            let headers: String = (0..headers).map(header).collect();
            format!("GET /health?{} HTTP/1.1\r\nhost: a\r\n{headers}\r\n", "q".repeat(query)).into_bytes()
        };
        for (query, headers, length, expected) in [
            (20_000, 0, 0, 200),
            (0, 1, 20_000, 200),
            (0, 90, 10, 200),
            (100_000, 0, 0, 431),
            (1_000_000, 0, 0, 431),
            (0, 1, 100_000, 431),
            (0, 90, 1_000, 431),
            (0, 200, 10, 431),
            (0, 5_000, 1, 431),
            (0, 100_000, 100, 431),
        ] {
            let status = status(server, &request(query, headers, length));
            // With much unread the kernel resets the connection, and the answer may be lost.
            let lost = expected == 431 && status.is_none();
            assert!(lost || status == Some(expected), "{query} {headers} {length}: {status:?}");
        }
    });
}

/// A byte whenever nothing has come from the service for a while.
#[test]
fn who_is_slow_with_a_head_is_cut_off() {
    let timeout = HEADER_TIMEOUT.as_millis().to_string();
    withstands(&["--header-timeout", &timeout], |_, server| {
        let started = Instant::now();
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let text = head(&format!("/health?{}", "q".repeat(10_000)));
        let written = text.bytes().position(|byte| {
            let _ = stream.write_all(&[byte]);
            match stream.read(&mut [0; 1024]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
                _ => true,
            }
        });
        let took = started.elapsed();
        assert!(written.is_some(), "all was read");
        assert!(took >= HEADER_TIMEOUT && took < HEADER_TIMEOUT + LATE, "{took:?}");
    });
}

/// One that was never used, and one that was.
#[test]
fn idle_connections_are_closed() {
    let chain = chain();
    let timeout = HEADER_TIMEOUT.as_millis().to_string();
    let server = Server::start(chain.client(), &["--header-timeout", &timeout]);
    let before = server.resources();
    for used in [false, true] {
        let idle = Instant::now();
        let mut reader = BufReader::new(server.connect());
        if used {
            reader.get_mut().write_all(head("/health").as_bytes()).unwrap();
            assert_eq!(next_answer(&mut reader).status, 200);
        }
        assert!(read_to_end(reader.get_ref()).is_empty());
        let took = idle.elapsed();
        assert!(took >= HEADER_TIMEOUT && took < HEADER_TIMEOUT + LATE, "{used}: {took:?}");
    }
    // The time-out is over the head: a request that takes longer than it is answered.
    chain.target().blackhole().unwrap();
    let target = chain.target().addresses().v4;
    let path =
        format!("/traceroute?target={target}&traceroute-queries=1&e2e-queries=0&max-ttl=3&timeout=1500");
    assert!(server.get(&path).took > HEADER_TIMEOUT * 2);
    server.await_resources(before);
}

#[test]
fn bodies_are_not_read_and_those_beyond_the_limit_refused() {
    const LIMIT: usize = 64 << 10;
    withstands(&[], |_, server| {
        let sized = |length: usize| {
            let head = format!("GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            [head.into_bytes(), vec![b'x'; length]].concat()
        };
        assert_eq!(status(server, &sized(0)), Some(200));
        assert_eq!(status(server, &sized(LIMIT / 2)), Some(200));
        for length in [LIMIT + 1, 10 * LIMIT, 100 * LIMIT] {
            let status = status(server, &sized(length));
            assert!(status.is_none_or(|status| status == 413), "{length}: {status:?}");
        }
        // The head alone is enough to be refused (RFC 9110 section 15.5.14).
        for length in [65_537, u64::MAX / 2] {
            let huge = format!("GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            assert_eq!(status(server, huge.as_bytes()), Some(413), "{length}");
        }

        let chunked = |chunks: usize| {
            let head = "GET /health HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            format!("{head}{}0\r\n\r\n", format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(chunks))
                .into_bytes()
        };
        for chunks in [0, 1, 1000] {
            let status = status(server, &chunked(chunks));
            assert!(status == Some(200) || (status.is_none() && chunks == 1000), "{chunks}: {status:?}");
        }
        for chunk in ["zz\r\n", "ffffffffffffffffff\r\n", "-1\r\n"] {
            let head = "POST /traceroute HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            let status = status(server, format!("{head}{chunk}").as_bytes());
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{chunk:?}: {status:?}");
        }
    });
}

#[test]
fn other_forms_and_versions_of_requests_are_answered_or_refused() {
    withstands(&[], |_, server| {
        for (text, expected) in [
            ("GET /health HTTP/1.0\r\n\r\n", &[Some(200)][..]),
            ("GET /health HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(200)]),
            // RFC 9112 section 3.2.2: a server accepts the absolute form.
            ("GET http://example.com/health HTTP/1.1\r\nhost: example.com\r\n\r\n", &[Some(200)]),
            (
                "GET http://example.com:99999/health HTTP/1.1\r\nhost: example.com\r\n\r\n",
                &[Some(200), Some(400)],
            ),
            ("GET //health HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(404)]),
            ("GET /health/../metrics HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(404)]),
            ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(404), Some(405)]),
            ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(404), Some(405)]),
            ("TRACE /traceroute HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(405)]),
            ("NONSENSE /health HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(405)]),
            ("GET /health HTTP/9.9\r\nhost: a\r\n\r\n", &[Some(400), Some(505)]),
            ("GET /health\r\n\r\n", &[Some(400), None]),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[Some(400), Some(505), None]),
            ("GET /health\0 HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(400)]),
            ("GET /health HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", &[Some(400)]),
            ("GET /traceroute?target=%00 HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(400), Some(500)]),
            ("GET /traceroute?target=127.0.0.1%00 HTTP/1.1\r\nhost: a\r\n\r\n", &[Some(400), Some(500)]),
            ("\0\0\0\0\r\n\r\n", &[Some(400)]),
            ("GET /health HTTP/1.1\r\nhost: a\r\nx : a\r\n\r\n", &[Some(400)]),
            (
                "GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                &[Some(400)],
            ),
            ("GET /health HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", &[Some(400)]),
            ("GET /health HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", &[Some(200)]),
        ] {
            let status = status(server, text.as_bytes());
            assert!(expected.contains(&status), "{text:?}: {status:?}");
        }
    });
}

/// Most do nothing, each tenth is in the middle of a head.
#[test]
fn ten_thousand_idle_connections_are_in_nobodys_way() {
    raise_descriptor_limit();
    let arguments = ["--max-connections", "10000", "--header-timeout", "60000"];
    withstands(&arguments, |chain, server| {
        // A few places are left for those who have something to ask.
        let idle = server.connections(9_990);
        for mut stream in idle.iter().step_by(10) {
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
        }
        server.await_metric("traceroute_http_connections", |connections| connections == 9_991);
        for _ in 0..20 {
            assert_serves(chain, server);
        }
        // Whoever goes on is answered.
        for mut stream in idle.iter().step_by(1000) {
            stream.write_all(b"a\r\nconnection: close\r\n\r\n").unwrap();
            assert!(read_to_end(stream).starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        drop(idle);
    });
}

/// Connections that wait to be accepted are served when others end.
#[test]
fn beyond_the_limit_connections_wait_for_others_to_end() {
    let timeout = HEADER_TIMEOUT.as_millis().to_string();
    withstands(&["--max-connections", "20", "--header-timeout", &timeout], |_, server| {
        // Five times as many as there may be; each is cut off after its time-out.
        let began = Instant::now();
        let idle = server.connections(100);
        assert_eq!(server.get("/health").status, 200);
        let took = began.elapsed();
        assert!(took >= HEADER_TIMEOUT * 5 && took < HEADER_TIMEOUT * 5 + 2 * LATE, "{took:?}");
        drop(idle);
    });
}

/// Where there are few descriptors connections get no more than half of them, so that those who are connected can still trace.
#[test]
fn idle_connections_leave_descriptors_for_traces() {
    raise_descriptor_limit();
    let chain = chain();
    let mut command = chain.client().command("prlimit");
    command.args(["--nofile=256:256", "--", PROGRAM, "--header-timeout", "60000"]);
    let server = Server::run(chain.client(), command);
    server.wait_for("no more are accepted at one time");
    let before = server.resources();
    let connected: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    let idle = server.connections(1000);
    for mut stream in &connected {
        stream.write_all(head(&trace(&chain)).as_bytes()).unwrap();
        let answer = next_answer(&mut BufReader::new(stream.try_clone().unwrap()));
        assert_eq!(addresses(&answer.result()["traceroute"]["runs"][0]).len(), 3);
    }
    let log = server.log();
    assert!(!log.contains("cannot accept"), "{log}");
    drop((connected, idle));
    assert_serves(&chain, &server);
    server.await_resources(before);
}

#[test]
fn one_client_leaves_half_of_the_connections_to_others() {
    let chain = chain();
    let server = Server::start(chain.client(), &["--max-connections", "20", "--header-timeout", "60000"]);
    let idle = server.connections_as(9, 50);
    // Those beyond its half are closed at once.
    for stream in &idle[10..] {
        assert!(read_to_end(stream).is_empty());
    }
    assert_serves(&chain, &server);
}

/// Who takes nothing that is sent to it is given up after five minutes; who says nothing is asked after half a minute whether it
/// is still there.
#[test]
fn clients_that_vanish_without_a_word_are_found_out() {
    let chain = chain();
    let server = Server::start(chain.client(), &[]);
    let mut client = BufReader::new(server.send("/health"));
    assert_eq!(next_answer(&mut client).status, 200);
    let end = server.end_of(client.get_ref());
    assert_eq!(end.tcp_user_timeout().unwrap(), Some(Duration::from_mins(5)));
    assert!(end.keepalive().unwrap());
    assert_eq!(end.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
}
