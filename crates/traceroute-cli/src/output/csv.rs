//! The result as comma-separated values (RFC 4180): a row for each run and hop.

use std::io::{self, Write};

use traceroute::{EndToEnd, Hop, Mode, Results, RunResult};

use super::text::escaped;
use super::words;

/// What is the same in every row.
const OF_REQUEST: [&str; 4] = ["test_run_id", "target", "protocol", "public_ip"];
const OF_HOP: [&str; 21] = [
    "run",
    "run_id",
    "source",
    "source_port",
    "destination",
    "destination_port",
    "reached",
    "end_reason",
    "port_state",
    "method",
    "mode",
    "ttl",
    "ip_address",
    "names",
    "rtt_ms",
    "rtt_source",
    "unreachable",
    "mtu",
    "mpls",
    "nat_source",
    "interface",
];
/// The same in every row, too.
const OF_PROBES: [&str; 7] = [
    "e2e_sent",
    "e2e_received",
    "e2e_loss",
    "e2e_rtt_min_ms",
    "e2e_rtt_avg_ms",
    "e2e_rtt_max_ms",
    "e2e_jitter_ms",
];

/// Writes the results. What there is nothing to say of is an empty cell, never a zero. Without runs there is a row for what the
/// end-to-end probes have measured.
pub(crate) fn write(results: &Results, mut writer: impl Write) -> io::Result<()> {
    let (request, probes) = (of_request(results), of_probes(&results.e2e_probe));
    let mut row = |request: &[String], hop: &[String], probes: &[String]| {
        let cells: Vec<String> = request.iter().chain(hop).chain(probes).map(|cell| quoted(cell)).collect();
        write!(writer, "{}\r\n", cells.join(","))
    };
    row(&OF_REQUEST.map(String::from), &OF_HOP.map(String::from), &OF_PROBES.map(String::from))?;
    let runs = results.traceroute.runs.as_deref().unwrap_or_default();
    for (number, run) in (1..).zip(runs) {
        for hop in &run.hops {
            row(&request, &of_hop(number, run, hop), &probes)?;
        }
    }
    if runs.is_empty() && results.e2e_probe.packets_sent > 0 {
        row(&request, &OF_HOP.map(|_| String::new()), &probes)?;
    }
    Ok(())
}

fn of_request(results: &Results) -> [String; OF_REQUEST.len()] {
    [
        results.test_run_id.clone(),
        harmless(&results.destination.hostname),
        results.protocol.to_string(),
        results.source.public_ip.clone(),
    ]
}

fn of_hop(number: usize, run: &RunResult, hop: &Hop) -> [String; OF_HOP.len()] {
    [
        number.to_string(),
        run.run_id.clone(),
        run.source.ip_address.to_string(),
        run.source.port.to_string(),
        run.destination.ip_address.to_string(),
        run.destination.port.to_string(),
        run.reached.to_string(),
        words::end_reason(run.end_reason).into(),
        run.port_state.map_or("", words::port_state).into(),
        run.method.map(|method| method.to_string()).unwrap_or_default(),
        run.mode.map_or("", Mode::as_str).into(),
        hop.ttl.to_string(),
        hop.ip_address.map(|address| address.to_string()).unwrap_or_default(),
        harmless(&hop.reverse_dns.join(" ")),
        if hop.reachable { hop.rtt.to_string() } else { String::new() },
        hop.rtt_source.unwrap_or_default().into(),
        hop.unreachable.map(|reason| reason.to_string()).unwrap_or_default(),
        hop.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
        words::mpls(&hop.mpls),
        hop.nat.as_ref().map(|nat| nat.source.to_string()).unwrap_or_default(),
        hop.interface.as_ref().map(|interface| harmless(&words::interface(interface))).unwrap_or_default(),
    ]
}

fn of_probes(probes: &EndToEnd) -> [String; OF_PROBES.len()] {
    let EndToEnd { packets_sent, packets_received, packet_loss_percentage, jitter, rtt, .. } = probes;
    let answered = |figure: f64| if *packets_received > 0 { figure.to_string() } else { String::new() };
    [
        packets_sent.to_string(),
        packets_received.to_string(),
        if *packets_sent > 0 { packet_loss_percentage.to_string() } else { String::new() },
        answered(rtt.min),
        answered(rtt.avg),
        answered(rtt.max),
        answered(*jitter),
    ]
}

/// Text from the network: no control characters, and what a spreadsheet would take for a formula behind an apostrophe.
fn harmless(text: &str) -> String {
    let text = escaped(text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        assert_eq!(quoted("10.71.0.2"), "10.71.0.2");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"a\""), "\"say \"\"a\"\"\"");
        assert_eq!(quoted("two\r\nlines"), "\"two\r\nlines\"");
    }

    #[test]
    fn nothing_from_the_network_is_a_formula_or_a_command() {
        for (text, cell) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "'+1"),
            ("-1+1", "'-1+1"),
            ("a=b", "a=b"),
            ("\t=1", "\\u{9}=1"),
        ] {
            assert_eq!(harmless(text), cell);
        }
    }
}
