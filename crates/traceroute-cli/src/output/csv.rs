//! The result as comma-separated values (RFC 4180): a row for each run and hop.

use std::io::{self, Write};

use traceroute::Results;

use super::text::escaped;
use super::words;

const COLUMNS: &str = "test_run_id,target,protocol,run,run_id,source,source_port,public_ip,destination,destination_port,\
                       reached,end_reason,port_state,method,ttl,ip_address,names,rtt_ms,rtt_source,unreachable,mtu,\
                       mpls,nat_source,interface,e2e_sent,e2e_received,e2e_loss,e2e_rtt_min_ms,e2e_rtt_avg_ms,\
                       e2e_rtt_max_ms,e2e_jitter_ms";

/// Writes the results. What there is nothing to say of is an empty cell, never a zero.
pub(crate) fn write(results: &Results, mut writer: impl Write) -> io::Result<()> {
    write!(writer, "{COLUMNS}\r\n")?;
    let e2e = &results.e2e_probe;
    let answered = |figure: f64| if e2e.packets_received > 0 { figure.to_string() } else { String::new() };
    let loss = if e2e.packets_sent > 0 { e2e.packet_loss_percentage.to_string() } else { String::new() };
    for (number, run) in (1_usize..).zip(results.traceroute.runs.iter().flatten()) {
        for hop in &run.hops {
            let cells = [
                results.test_run_id.clone(),
                harmless(&results.destination.hostname),
                results.protocol.to_string(),
                number.to_string(),
                run.run_id.clone(),
                run.source.ip_address.to_string(),
                run.source.port.to_string(),
                results.source.public_ip.clone(),
                run.destination.ip_address.to_string(),
                run.destination.port.to_string(),
                run.reached.to_string(),
                words::end_reason(run.end_reason).into(),
                run.port_state.map_or("", words::port_state).into(),
                run.method.map(|method| method.to_string()).unwrap_or_default(),
                hop.ttl.to_string(),
                hop.ip_address.map(|address| address.to_string()).unwrap_or_default(),
                harmless(&hop.reverse_dns.join(" ")),
                if hop.reachable { hop.rtt.to_string() } else { String::new() },
                hop.rtt_source.unwrap_or_default().into(),
                hop.unreachable.map(|reason| reason.to_string()).unwrap_or_default(),
                hop.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
                words::mpls(&hop.mpls),
                hop.nat.as_ref().map(|nat| nat.source.to_string()).unwrap_or_default(),
                hop.interface
                    .as_ref()
                    .map(|interface| harmless(&words::interface(interface)))
                    .unwrap_or_default(),
                e2e.packets_sent.to_string(),
                e2e.packets_received.to_string(),
                loss.clone(),
                answered(e2e.rtt.min),
                answered(e2e.rtt.avg),
                answered(e2e.rtt.max),
                answered(e2e.jitter),
            ];
            write!(writer, "{}\r\n", cells.map(|cell| quoted(&cell)).join(","))?;
        }
    }
    Ok(())
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
