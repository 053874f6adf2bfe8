//! The reference's answers over HTTP: its requests, replayed in the same network, and what it said, compared.
//!
//! Ids, ports and times differ from run to run and are compared by their form; all else is compared as text, except for
//! what is wrong with a request, for which we have our own words. "Part 2" is that of the parity contract: where it
//! decides for something better than what the reference does, the test is of our own decision and says which.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "../../traceroute-cli/tests/common/forms.rs"]
mod forms;
#[path = "../../traceroute-cli/tests/common/ordered_json.rs"]
mod ordered_json;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use common::{Answer, Asked, Server, with_files};
use forms::{assert_notation, assert_same_form};
use ordered_json::Json;
use serde_json::Value;
use traceroute_testnet::AddressPlan;
use traceroute_testnet::kernel::{Chain, Scratch, TcpServer};

/// The same answer.
const SAME: [&str; 8] = [
    "http-empty-target",
    "http-good-icmp",
    "http-good-tcp",
    "http-good-udp",
    "http-health-get",
    "http-missing-target",
    "http-port0",
    "http-health-post",
];
/// The same, of another path or method.
const NO_SUCH: [&str; 4] = ["http-health-slash", "http-notfound", "http-post", "http-root"];
/// The same head, and nothing after it.
const HEADS: [&str; 2] = ["http-head", "http-health-head"];
/// The same status and code, in our own words, with what these name.
const FAILED: [(&str, &[&str]); 6] = [
    ("http-bad-protocol", &["protocol", "\"ftp\"", "udp, icmp and tcp"]),
    ("http-neg-port", &["port", "-5", "0 to 65535"]),
    ("http-port70000", &["port", "70000", "0 to 65535"]),
    ("http-noroute", &["network is unreachable"]),
    ("http-sack-closed", &["SACK not supported for this target/source", "10.78.8.2:81", "refused"]),
    ("http-unresolvable", &["failed to resolve host \"nonexistent.invalid\""]),
];
/// Part 2: "`port=abc`, `ipv6=yes` silently become the default" and "`tcp-method` errors are code UNKNOWN, 500": 400
/// `INVALID_REQUEST` naming the parameter and what is allowed. Likewise an escape that is none, which the reference takes for a
/// missing parameter.
const REFUSED: [(&str, &[&str]); 13] = [
    ("http-bad-e2e-queries", &["e2e-queries", "\"abc\"", "0 to 10000"]),
    ("http-bad-max-ttl", &["max-ttl", "\"abc\"", "1 to 255"]),
    ("http-bad-port", &["port", "\"abc\"", "0 to 65535"]),
    ("http-bad-query-escape", &["target", "percent-encoding"]),
    ("http-bad-tcpmethod", &["tcp-method", "\"bogus\"", "syn, sack, prefer_sack"]),
    ("http-bad-timeout", &["timeout", "\"abc\"", "1 to 600000"]),
    ("http-bad-traceroute-queries", &["traceroute-queries", "\"abc\"", "0 to 1000"]),
    ("http-badbool-ipv6", &["ipv6", "\"maybe\"", "true", "false"]),
    ("http-badbool-reverse-dns", &["reverse-dns", "\"maybe\"", "true", "false"]),
    ("http-badbool-skip-private-hops", &["skip-private-hops", "\"maybe\"", "true", "false"]),
    ("http-badbool-source-public-ip", &["source-public-ip", "\"maybe\"", "true", "false"]),
    ("http-badbool-windows-driver", &["windows-driver", "\"maybe\"", "true", "false"]),
    ("http-good-tcp-bad-synsocket", &["tcp-method", "syn_socket", "Windows", "prefer_sack"]),
];
/// Part 2: unknown parameters "are ignored and named in an additive `warnings` array; of repeated ones the first counts, with
/// a warning".
const WARNED: [(&str, &str); 2] = [("http-dup-param", "target"), ("http-unknown-param", "nonsense")];
/// Part 2: "protocol and method names in lower case only": "any case accepted, lower case in the result".
const ACCEPTED: [(&str, &str, &str); 2] =
    [("http-mixedcase-tcpmethod", "tcp", "http-good-tcp"), ("http-upper-protocol", "udp", "http-good-udp")];

/// What the reference answered to a request.
struct Golden {
    name: &'static str,
    method: String,
    path: String,
    status: u16,
    content_type: String,
    /// Or the head, of a request for one.
    body: String,
}

impl Golden {
    fn load(name: &'static str) -> Self {
        let text = fs::read_to_string(format!("{}/{name}.txt", directory())).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let [command, status, content_type] = head.lines().collect::<Vec<_>>()[..] else { panic!("{name}") };
        let words: Vec<&str> = command.split(' ').collect();
        let (method, address) = match words[..] {
            ["curl", address] => ("GET", address),
            ["curl", "-I", address] => ("HEAD", address),
            ["curl", "-X", method, address] => (method, address),
            _ => panic!("{name}: {command}"),
        };
        Self {
            name,
            method: method.to_owned(),
            path: address.strip_prefix("http://127.0.0.1:3765").unwrap().to_owned(),
            status: status.strip_prefix("status: ").unwrap().parse().unwrap(),
            content_type: content_type.strip_prefix("content-type: ").unwrap().to_owned(),
            body: body.to_owned(),
        }
    }

    fn replay(&self, server: &Server<'_>) -> Answer {
        Asked::on(server.connect(), &self.method, &self.path, &[]).answer()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks that status and type are the reference's, and a body in JSON written as the reference writes it.
    #[track_caller]
    fn assert_same_head(&self, ours: &Answer) {
        let theirs = (self.status, Some(self.content_type.as_str()));
        assert_eq!((ours.status, ours.header("content-type")), theirs, "{}: {ours:?}", self.name);
        assert_compact(ours);
    }

    #[track_caller]
    fn assert_same(&self, ours: &Answer) {
        self.assert_same_head(ours);
        if self.content_type == "application/json" {
            let (ours, theirs) = (Json::parse(&ours.body), Json::parse(&self.body));
            assert_same_form(self.name, without_times(ours), without_times(theirs));
        } else {
            assert_eq!(ours.body, self.body, "{}", self.name);
        }
    }
}

fn directory() -> String {
    format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"))
}

/// Checks that JSON is on one line without white space, and that its numbers are in their shortest form.
#[track_caller]
fn assert_compact(answer: &Answer) {
    if answer.header("content-type") == Some("application/json") && !answer.body.is_empty() {
        let json = Json::parse(&answer.body);
        assert_eq!(answer.body, json.render_compact());
        assert_notation(json);
    }
}

/// What the service says of itself, with times replaced by words for what they are.
fn without_times(json: Json) -> Json {
    json.map(&|place, leaf| match (place, leaf) {
        ("timestamp", Json::Text(text)) => {
            let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(form, "0000-00-00T00:00:00Z", "{text}");
            Json::Text("time".into())
        }
        ("uptime", Json::Text(text)) => {
            // These services have been there for less than a minute, and perhaps for less than a millisecond.
            let number = ["\u{b5}s", "ms", "s"].iter().find_map(|unit| text.strip_suffix(unit));
            let number: f64 = number.and_then(|number| number.parse().ok()).unwrap_or_default();
            assert!(number > 0.0, "{text}");
            Json::Text("duration".into())
        }
        (_, leaf) => leaf,
    })
}

/// What every replay needs: the network of the files, in which one address has no route and nobody knows names.
fn with_server(test: impl FnOnce(&Server<'_>)) {
    let chain = Chain::builder().addresses(AddressPlan::Private(78)).build().unwrap();
    let _target = TcpServer::listen(chain.target(), 80).unwrap();
    chain.client().ip("route add throw 203.0.113.0/24").unwrap();
    let scratch = Scratch::new("golden");
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let command = with_files(chain.client(), &[(&resolver, "/etc/resolv.conf")], &[]);
    test(&Server::run(chain.client(), command));
}

/// Replays requests all at once, and looks at each answer.
fn replay(server: &Server<'_>, names: &[&'static str], check: impl Fn(&Golden, &Answer) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                let golden = Golden::load(name);
                check(&golden, &golden.replay(server));
            });
        }
    });
}

#[test]
fn every_file_is_replayed() {
    let failed = FAILED.iter().chain(&REFUSED).map(|(name, _)| *name);
    let accepted = WARNED.iter().map(|(name, _)| *name).chain(ACCEPTED.iter().map(|(name, ..)| *name));
    let replayed = SAME.into_iter().chain(NO_SUCH).chain(HEADS).chain(failed).chain(accepted);
    let replayed: Vec<String> = replayed.map(|name| format!("{name}.txt")).collect();
    let files = fs::read_dir(directory()).unwrap();
    let files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(replayed.len(), files.len());
    assert_eq!(BTreeSet::from_iter(replayed), BTreeSet::from_iter(files));
}

#[test]
fn the_references_answers_have_the_form_that_ours_are_checked_for() {
    for name in SAME {
        let Golden { status, content_type, body, .. } = Golden::load(name);
        let headers = vec![("content-type".to_owned(), content_type)];
        assert_compact(&Answer { status, headers, body, took: Duration::ZERO });
    }
}

#[test]
fn good_requests_and_missing_targets_are_answered_the_same() {
    with_server(|server| {
        replay(server, &SAME, Golden::assert_same);
        replay(server, &NO_SUCH, Golden::assert_same);
    });
}

#[test]
fn heads_are_the_same_and_have_no_body() {
    with_server(|server| {
        replay(server, &HEADS, |golden, ours| {
            golden.assert_same_head(ours);
            assert_eq!(ours.body, "", "{}", golden.name);
            let theirs = golden.body.lines().filter_map(|line| line.split_once(": "));
            for (name, value) in theirs.map(|(name, value)| (name.to_lowercase(), value)) {
                let ours = ours.header(&name);
                assert!(ours == Some(value) || (name == "date" && ours.is_some()), "{}: {name}", golden.name);
            }
        });
    });
}

#[test]
fn what_fails_has_the_same_status_and_code() {
    with_server(|server| {
        replay(server, &FAILED.map(|(name, _)| name), |golden, ours| {
            golden.assert_same_head(ours);
            let worded = |json: &str| {
                Json::parse(json).map(&|place, leaf| match place {
                    "message" => Json::Text("words".into()),
                    _ => leaf,
                })
            };
            assert_eq!(worded(&ours.body), worded(&golden.body), "{}", golden.name);
            assert_names(golden.name, ours, &FAILED);
        });
    });
}

#[test]
fn what_is_malformed_is_refused_and_named() {
    with_server(|server| {
        replay(server, &REFUSED.map(|(name, _)| name), |golden, ours| {
            let (status, code, _) = ours.failure();
            assert_eq!((status, code.as_str()), (400, "INVALID_REQUEST"), "{}", golden.name);
            assert_compact(ours);
            assert_names(golden.name, ours, &REFUSED);
        });
    });
}

/// Checks that a failure says what the table says that it names.
#[track_caller]
fn assert_names(name: &str, answer: &Answer, table: &[(&str, &[&str])]) {
    let (_, parts) = table.iter().find(|(known, _)| *known == name).unwrap();
    let (.., message) = answer.failure();
    assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
}

#[test]
fn unknown_and_repeated_parameters_are_answered_the_same_with_a_warning() {
    with_server(|server| {
        replay(server, &WARNED.map(|(name, _)| name), |golden, ours| {
            golden.assert_same(ours);
            let (_, parameter) = WARNED.iter().find(|(known, _)| *known == golden.name).unwrap();
            let warnings = ours.json()["warnings"].clone();
            let [warning] = &warnings.as_array().unwrap()[..] else { panic!("one warning: {warnings}") };
            assert!(warning.as_str().unwrap().contains(&format!("\"{parameter}\"")), "{warning}");
        });
    });
}

/// They look like the reference's answers to the same in lower case, with one run and no end-to-end probes.
#[test]
fn names_in_upper_case_are_accepted_and_lower_case_is_answered() {
    with_server(|server| {
        replay(server, &ACCEPTED.map(|(name, ..)| name), |golden, ours| {
            let (_, protocol, like) = ACCEPTED.iter().find(|(known, ..)| *known == golden.name).unwrap();
            let [ours, theirs] = [ours.result(), Golden::load(like).json()];
            assert_eq!(ours["protocol"], *protocol);
            assert_eq!(ours["destination"], theirs["destination"]);
            let [run] = &ours["traceroute"]["runs"].as_array().unwrap()[..] else {
                panic!("one run: {ours}")
            };
            assert_eq!(common::addresses(run), common::addresses(&theirs["traceroute"]["runs"][0]));
        });
    });
}
