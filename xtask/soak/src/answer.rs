//! Whether what the service answered is right.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::bed;
use crate::plan::Order;

/// What stands in a run only when something went wrong.
const AMISS: [&str; 4] = ["late", "duplicates", "capture_drops", "send_errors"];

/// Whether a result has all that was ordered: each run with one of the paths that there are, each end-to-end probe
/// answered, every round trip as long as the network makes it, and no warning.
pub(crate) fn right(order: &Order, result: &Value) -> Result<(), String> {
    let target = order.target.address(order.family);
    let paths = bed::paths(target);
    let wrong = |what: &str| Err(format!("{what}: {result}"));
    let runs = runs(result);
    if runs.len() != order.runs as usize {
        return wrong("not as many runs as were asked for");
    }
    for run in runs {
        let hops: Vec<_> = hops(run).collect();
        let path = hops.iter().map(|(address, _)| *address);
        if run["reached"] != true
            || !paths.iter().any(|right| right.iter().copied().map(Some).eq(path.clone()))
        {
            return wrong("a path that does not exist");
        }
        if AMISS.iter().any(|what| run.get(what).is_some()) {
            return wrong("answers or probes that should not be");
        }
        if !(1..).zip(&hops).all(|(hop, (_, rtt))| is_possible(hop, *rtt)) {
            return wrong("a round trip that cannot be");
        }
    }
    let rtts = result["e2e_probe"]["rtts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let possible = rtts.iter().all(|rtt| is_possible(bed::HOPS as usize, rtt.as_f64().unwrap_or(0.0)));
    if result["e2e_probe"]["packets_received"] != order.probes
        || rtts.len() != order.probes as usize
        || !possible
    {
        return wrong("end-to-end probes that are lost or cannot be");
    }
    if result.get("warnings").is_some() { wrong("a warning") } else { Ok(()) }
}

/// Whether a result shows all routers of one path, and no target.
pub(crate) fn unreached(order: &Order, result: &Value) -> Result<(), String> {
    let paths = bed::paths(order.target.address(order.family));
    let runs = runs(result);
    let right = |run: &Value| {
        let answered = hops(run).filter_map(|(address, _)| address);
        let path: Vec<_> = answered.collect();
        run["reached"] == false && paths.iter().any(|right| right[..right.len() - 1] == path[..])
    };
    if runs.len() == order.runs as usize && runs.iter().all(right) {
        return Ok(());
    }
    Err(format!("not what is known of a target that is dead: {result}"))
}

fn runs(result: &Value) -> &[Value] {
    result["traceroute"]["runs"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The address of each hop, if it has answered, and its round trip in milliseconds.
fn hops(run: &Value) -> impl Iterator<Item = (Option<IpAddr>, f64)> {
    run["hops"].as_array().into_iter().flatten().map(|hop| {
        let address = hop["ip_address"].as_str().and_then(|address| address.parse().ok());
        (address, hop["rtt"].as_f64().unwrap_or(0.0))
    })
}

/// Whether a round trip to a hop, counted from 1, is one of this network.
fn is_possible(hop: usize, milliseconds: f64) -> bool {
    let round_trip = Duration::from_secs_f64(milliseconds.max(0.0) / 1e3);
    !bed::is_too_short(hop, round_trip) && !bed::is_too_long(round_trip)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use traceroute::Protocol;

    use super::*;
    use crate::bed::{Family, Number};

    type Change = fn(&mut Value);

    const ORDER: Order =
        Order { protocol: Protocol::Udp, family: Family::V4, target: Number(9), runs: 1, probes: 2 };

    /// As it should be: 16 ms to the first hop and 2 ms more to each other.
    fn result() -> Value {
        let path = bed::paths(ORDER.target.address(ORDER.family)).remove(2);
        let hops: Vec<_> = (0..)
            .zip(path)
            .map(|(place, address)| json!({"ip_address": address, "rtt": 16.1 + 2.0 * f64::from(place)}))
            .collect();
        json!({
            "traceroute": {"runs": [{"hops": hops, "reached": true}]},
            "e2e_probe": {"rtts": [28.1, 29.0], "packets_received": 2},
        })
    }

    #[test]
    fn what_is_as_ordered_is_right() {
        assert_eq!(right(&ORDER, &result()), Ok(()));
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let changes: [(&str, Change); 9] = [
            ("runs", |r| r["traceroute"]["runs"] = json!(null)),
            // The fourth hop of another branch.
            ("path", |r| r["traceroute"]["runs"][0]["hops"][3]["ip_address"] = json!("10.71.2.12")),
            ("path", |r| r["traceroute"]["runs"][0]["hops"][3]["ip_address"] = json!("")),
            ("path", |r| r["traceroute"]["runs"][0]["reached"] = json!(false)),
            ("answers", |r| r["traceroute"]["runs"][0]["duplicates"] = json!(1)),
            ("round trip", |r| r["traceroute"]["runs"][0]["hops"][6]["rtt"] = json!(27.9)),
            ("end-to-end", |r| r["e2e_probe"] = json!({"rtts": [28.1], "packets_received": 1})),
            ("end-to-end", |r| r["e2e_probe"]["rtts"][0] = json!(501.0)),
            ("warning", |r| r["warnings"] = json!(["1 of 2 runs failed: x"])),
        ];
        for (what, change) in changes {
            let mut result = result();
            change(&mut result);
            let said = right(&ORDER, &result).unwrap_err();
            assert!(said.split(':').next().is_some_and(|said| said.contains(what)), "{what}: {said}");
        }
    }

    #[test]
    fn a_dead_target_leaves_its_routers() {
        let mut result = result();
        assert!(unreached(&ORDER, &result).is_err());
        let run = &mut result["traceroute"]["runs"][0];
        run["reached"] = json!(false);
        run["hops"][6] = json!({"ip_address": "", "rtt": 0});
        assert_eq!(unreached(&ORDER, &result), Ok(()));
        result["traceroute"]["runs"][0]["hops"][5] = json!({"ip_address": "", "rtt": 0});
        assert!(unreached(&ORDER, &result).is_err());
    }
}
