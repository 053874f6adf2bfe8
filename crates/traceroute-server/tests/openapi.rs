//! What `/openapi.json` says is true: of every endpoint, status, event and parameter.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/description.rs"]
mod description;

use std::collections::BTreeSet;
use std::thread;

use common::{Answer, Asked, Server, first_event, with_files};
use description::Description;
use jsonschema::meta;
use serde_json::Value;
use traceroute_testnet::kernel::{Chain, Namespace, Reject, Scratch, TcpServer};

/// Requests of every kind, each with what is special in its result, to the target of a chain.
const REQUESTS: [(&str, &[&str]); 12] = [
    ("target=10.71.8.2&reverse-dns=1", &["\"reverse_dns\""]),
    ("target=fd00:71:8::2&protocol=icmp", &["\"destination\""]),
    ("target=target.example.test&protocol=tcp&port=80", &["\"open\""]),
    ("target=10.71.8.2&protocol=tcp&port=81", &["\"closed\""]),
    ("target=10.71.8.2&protocol=tcp&tcp-method=sack&port=80", &["\"open\""]),
    ("target=10.71.8.2&protocol=tcp&tcp-method=prefer_sack&port=80", &["\"open\""]),
    ("target=10.71.8.2&protocol=tcp&tcp-method=prefer_sack&port=81", &["\"method\":\"syn\"", "\"closed\""]),
    ("target=10.71.8.2&skip-private-hops=true", &["\"ip_address\":\"\""]),
    ("target=10.71.8.2&nonsense=1", &["\"warnings\""]),
    ("target=10.71.8.2&max-ttl=3&timeout=300", &["\"max_ttl\""]),
    ("target=10.71.8.2&traceroute-queries=0", &["\"runs\":null"]),
    ("target=10.71.8.2&traceroute-queries=1&no-e2e=1", &["\"rtts\":null"]),
];

#[test]
fn the_schemas_are_schemas() {
    let namespace = Namespace::new().unwrap();
    let description = Description::of(&Server::start(&namespace, &[]));
    assert_eq!(description.0["openapi"], "3.1.0");
    for (name, schema) in description.0["components"]["schemas"].as_object().unwrap() {
        assert!(meta::is_valid(schema), "{name}");
    }
}

/// Whatever is not described is not allowed: a key that is new, or has another type, or is not there.
#[test]
fn the_schemas_refuse_what_is_not_described() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &[]);
    let result = server.get("/traceroute?target=127.0.0.1&e2e-queries=1").result();
    let refuses = |change: &dyn Fn(&mut Value)| {
        let mut changed = result.clone();
        change(&mut changed);
        let description = Description::of(&server);
        thread::scope(|scope| scope.spawn(|| description.assert_valid("Results", &changed)).join().is_err())
    };
    assert!(!refuses(&|_| ()));
    assert!(refuses(&|result| result["new"] = 1.into()));
    assert!(refuses(&|result| result["traceroute"]["runs"][0]["hops"][0]["new"] = 1.into()));
    assert!(refuses(&|result| result["traceroute"]["runs"][0]["hops"][0]["ttl"] = "1".into()));
    assert!(refuses(&|result| drop(result.as_object_mut().unwrap().remove("e2e_probe"))));
}

#[test]
fn results_and_events_of_every_kind_are_as_described() {
    let (chain, scratch) = (Chain::builder().build().unwrap(), Scratch::new("openapi"));
    let _target = TcpServer::listen(chain.target(), 80).unwrap();
    chain.router(3).silence().unwrap();
    let hosts = scratch.write("hosts", "10.71.8.2 target.example.test\n10.71.0.2 first.example.test\n");
    let resolver = scratch.write("resolv.conf", "nameserver 127.0.0.1\n");
    let files = [(hosts.as_str(), "/etc/hosts"), (resolver.as_str(), "/etc/resolv.conf")];
    let server = Server::run(chain.client(), with_files(chain.client(), &files, &[]));
    let description = Description::of(&server);
    let seen = thread::scope(|scope| {
        let ask = |(query, parts): (&'static str, &'static [&str])| {
            let (server, description) = (&server, &description);
            let query = format!("{query}&e2e-queries=2&e2e-interval=10");
            scope.spawn(move || {
                let answer = server.get(&format!("/traceroute?{query}"));
                description.assert_describes("/traceroute", &answer);
                assert!(parts.iter().all(|part| answer.body.contains(part)), "{query}: {}", answer.body);
                let stream = server.get(&format!("/traceroute/stream?{query}"));
                description.assert_describes("/traceroute/stream", &stream);
                description.assert_describes_events(&stream.events())
            })
        };
        let asked: Vec<_> = REQUESTS.into_iter().map(ask).collect();
        asked.into_iter().flat_map(|asked| asked.join().unwrap()).collect::<BTreeSet<_>>()
    });
    let told = [
        "resolved",
        "probe_sent",
        "hop_answered",
        "fell_back",
        "run_finished",
        "named",
        "end_to_end",
        "result",
    ];
    assert!(told.iter().all(|name| seen.contains(*name)), "{seen:?}");
}

/// What routers say is there, too: why there is no way on, and a run that fails tells why.
#[test]
fn what_is_unreachable_is_as_described() {
    let chain = Chain::builder().routers(3).build().unwrap();
    chain.router(2).reject(Reject::AdminProhibited).unwrap();
    let server = Server::start(chain.client(), &[]);
    let description = Description::of(&server);
    for method in ["protocol=udp", "protocol=icmp", "protocol=tcp"] {
        let answer = server.get(&format!("/traceroute?target=10.71.3.2&{method}&e2e-queries=1&timeout=300"));
        description.assert_describes("/traceroute", &answer);
        let hops = &answer.json()["traceroute"]["runs"][0]["hops"];
        // A probe whose TTL ends at the router is answered before it could be forwarded.
        assert_eq!(hops[2]["unreachable"], "admin_prohibited", "{method}: {answer:?}");
    }
    let query = "target=127.0.0.1&port=81&protocol=tcp&tcp-method=sack&e2e-queries=1";
    let events = server.get(&format!("/traceroute/stream?{query}")).events();
    let seen = description.assert_describes_events(&events);
    assert!(seen.contains("run_failed") && seen.contains("error"), "{seen:?}");
}

/// Each with each status, and none is left out.
#[test]
fn every_endpoint_answers_with_every_status_as_described() {
    const TOKEN: (&str, &str) = ("authorization", "Bearer s3cret");
    let (chain, scratch) = (Chain::builder().routers(1).build().unwrap(), Scratch::new("statuses"));
    chain.router(1).blackhole().unwrap();
    let [token, resolver] = [("token", "s3cret\n"), ("resolv.conf", "nameserver 127.0.0.1\n")]
        .map(|(name, content)| scratch.write(name, content));
    let start = |arguments: &[&str]| {
        let arguments = [&["--token-file", &token], arguments].concat();
        let files = [(resolver.as_str(), "/etc/resolv.conf")];
        // One at a time: they listen at one port.
        Server::run(chain.client(), with_files(chain.client(), &files, &arguments))
    };
    let mut seen = BTreeSet::new();
    let mut server = start(&["--max-concurrent", "1", "--max-queued", "0"]);
    let description = Description(server.ask("GET", "/openapi.json", &[TOKEN]).result());
    let mut see = |path: &str, answer: &Answer| {
        description.assert_describes(path, answer);
        seen.insert((path.to_owned(), answer.status));
    };

    for path in ["/traceroute", "/traceroute/stream", "/metrics", "/openapi.json"] {
        see(path, &server.get(path));
    }
    see("/health", &server.get("/health"));
    for path in ["/metrics", "/openapi.json"] {
        see(path, &server.ask("GET", path, &[TOKEN]));
    }
    for path in ["/traceroute", "/traceroute/stream"] {
        for query in [
            "target=127.0.0.1&e2e-queries=1",
            "target=127.0.0.1&port=abc",
            "target=169.254.169.254",
            "target=nonexistent.invalid",
        ] {
            see(path, &server.ask("GET", &format!("{path}?{query}"), &[TOKEN]));
        }
    }
    let busy = "/traceroute/stream?target=10.71.1.2&timeout=60000";
    let mut busy = Asked::on(server.connect(), "GET", busy, &[TOKEN]);
    first_event(&mut busy.stream);
    for path in ["/traceroute", "/traceroute/stream"] {
        see(path, &server.ask("GET", &format!("{path}?target=127.0.0.1"), &[TOKEN]));
    }
    drop((busy, server));
    server = start(&["--client-rate", "1"]);
    server.ask("GET", "/traceroute?target=127.0.0.1&e2e-queries=0", &[TOKEN]).result();
    for path in ["/traceroute", "/traceroute/stream"] {
        see(path, &server.ask("GET", &format!("{path}?target=127.0.0.1"), &[TOKEN]));
    }
    assert_eq!(seen, description.statuses());
}

/// The target is one that is denied, which is found after all parameters were read: 403 says that they are right, and nothing
/// has to be traced.
#[test]
fn every_parameter_takes_what_is_described_and_no_more() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &[]);
    let parameters = Description::of(&server).0["paths"]["/traceroute"]["get"]["parameters"].clone();
    let status = |name: &str, value: &str| {
        let target = if (name, value) == ("family", "ipv6") { "fd00:ec2::254" } else { "169.254.169.254" };
        // The first TTL may not be above the last.
        let last = if name == "first-ttl" { "&max-ttl=255" } else { "" };
        let answer = server.get(&format!("/traceroute?target={target}{last}&{name}={value}"));
        let (status, code, message) = answer.failure();
        match status {
            403 => assert_eq!(code, "FORBIDDEN", "{name}={value}"),
            _ => assert!(code == "INVALID_REQUEST" && message.contains(name), "{name}={value}: {message}"),
        }
        status
    };
    let mut kinds = BTreeSet::new();
    for parameter in parameters.as_array().unwrap() {
        let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
        assert_eq!(parameter["required"], name == "target", "{name}");
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let Some(default) = schema.get("default") {
            assert_eq!(status(name, &text(default)), 403, "{name}");
        }
        kinds.insert(schema["type"].as_str().unwrap());
        match (schema["type"].as_str(), schema["enum"].as_array()) {
            (Some("integer"), None) => {
                let [min, max] = ["minimum", "maximum"].map(|bound| schema[bound].as_i64().unwrap());
                for (value, expected) in [(min, 403), (max, 403), (min - 1, 400), (max + 1, 400)] {
                    assert_eq!(status(name, &value.to_string()), expected, "{name}={value}");
                }
                assert_eq!(status(name, "abc"), 400, "{name}");
            }
            (Some("string"), Some(words)) => {
                for word in words {
                    assert_eq!(status(name, &text(word)), 403, "{name}={word}");
                }
                assert_eq!(status(name, "nonsense"), 400, "{name}");
            }
            (Some("boolean"), None) => {
                for word in ["true", "false", "t", "1", "f", "0"] {
                    assert_eq!(status(name, word), 403, "{name}={word}");
                }
                assert_eq!(status(name, "yes"), 400, "{name}");
            }
            (Some("string"), None) => {
                assert!(["target", "source", "interface"].contains(&name), "{name}");
            }
            _ => panic!("{parameter}"),
        }
    }
    assert_eq!(kinds, BTreeSet::from(["boolean", "integer", "string"]));
}

/// What is left out is what is said to be the default: the result says so of most of them.
#[test]
fn defaults_are_as_described() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &[]);
    let parameters = Description::of(&server).0["paths"]["/traceroute"]["get"]["parameters"].clone();
    let defaults: Vec<String> = parameters
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| {
            let default = parameter["schema"].get("default")?;
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            let name = parameter["name"].as_str()?;
            // That many take most of a minute.
            (name != "e2e-queries").then(|| format!("&{name}={default}"))
        })
        .collect();
    let target = "/traceroute?target=127.0.0.1&e2e-queries=1";
    let given = server.get(&(target.to_owned() + &defaults.concat())).result();
    let left_out = server.get(target).result();
    for place in ["/protocol", "/destination", "/source", "/traceroute/hop_count", "/e2e_probe/packets_sent"]
    {
        assert_eq!(given.pointer(place), left_out.pointer(place), "{place}");
    }
    let runs = |result: &Value| result["traceroute"]["runs"].as_array().unwrap().len();
    assert_eq!((runs(&given), runs(&left_out)), (3, 3));
}
