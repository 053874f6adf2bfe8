//! Results, compared by the form of what differs from run to run, and to the letter otherwise.
#![allow(clippy::unwrap_used, reason = "a module of tests")]

use crate::ordered_json::Json;

/// The keys that ours adds (section 1.7 of the contract).
const ADDITIVE: [&str; 16] = [
    "warnings",
    "reached",
    "end_reason",
    "port_state",
    "method",
    "mode",
    "late",
    "duplicates",
    "capture_drops",
    "send_errors",
    "unreachable",
    "mtu",
    "mpls",
    "interface",
    "nat",
    "rtt_source",
];

/// Checks that a result is the reference's but for ids, local ports, times and what ours adds.
#[track_caller]
pub(crate) fn assert_same_form(name: &str, ours: Json, theirs: Json) {
    let stripped = ours.without(&|key| ADDITIVE.contains(&key));
    let (ours, theirs) = (by_form(stripped).render(), by_form(theirs).render());
    let difference = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
    assert_eq!(ours, theirs, "{name}: the first difference is {difference:?}");
}

/// Checks that numbers are in their shortest form.
#[track_caller]
pub(crate) fn assert_notation(json: Json) {
    json.map(&|place, leaf| {
        if let Json::Plain(number) = &leaf
            && let Ok(value) = number.parse::<f64>()
        {
            assert!(is_shortest(number, value), "{place}: {number}");
        }
        leaf
    });
}

/// Whether a number is in its shortest form, as a double or, for the loss, as a single.
fn is_shortest(text: &str, value: f64) -> bool {
    let single: f32 = text.parse().unwrap();
    // Rust's own form has no exponent. All our numbers are between 1e-6 and 1e21, or zero.
    text == format!("{value}") || text == format!("{single}")
}

/// The same result with ids, local ports and times replaced by words for what they are.
fn by_form(json: Json) -> Json {
    json.map(&|place, leaf| {
        let key = place.rsplit('.').next().unwrap();
        let is_time = matches!(place, "e2e_probe.rtts" | "e2e_probe.jitter" | "traceroute.runs.hops.rtt")
            || place.starts_with("e2e_probe.rtt.");
        match leaf {
            Json::Text(id) if ["test_run_id", "run_id"].contains(&key) => {
                let form = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                assert!(id.len() == 22 && id.chars().all(form), "{place}: {id}");
                Json::Text("id".into())
            }
            Json::Plain(port) if place == "traceroute.runs.source.port" => {
                assert_ne!(port.parse::<u16>().unwrap(), 0, "{place}");
                Json::Plain("port".into())
            }
            Json::Plain(time) if is_time && time != "0" && time != "null" => {
                assert!(time.parse::<f64>().unwrap() > 0.0, "{place}: {time}");
                Json::Plain("time".into())
            }
            leaf => leaf,
        }
    })
}
