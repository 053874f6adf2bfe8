//! What is said in words or numbers.

use traceroute::{EndReason, Hop, Interface, MplsLabel, PortState, RunResult, Unreachable};

/// The word of the JSON.
pub(crate) const fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Destination => "destination",
        EndReason::DestinationTimeExceeded => "destination_time_exceeded",
        EndReason::Unreachable => "unreachable",
        EndReason::MaxTtl => "max_ttl",
        EndReason::Interrupted => "interrupted",
    }
}

/// The word of the JSON.
pub(crate) const fn port_state(state: PortState) -> &'static str {
    match state {
        PortState::Open => "open",
        PortState::Closed => "closed",
    }
}

pub(crate) fn unreachable(reason: Unreachable) -> String {
    match reason {
        Unreachable::Network => "network unreachable".into(),
        Unreachable::Host => "host unreachable".into(),
        Unreachable::Protocol => "protocol unreachable".into(),
        Unreachable::Port => "port unreachable".into(),
        Unreachable::AdminProhibited => "administratively prohibited".into(),
        Unreachable::FragmentationNeeded { mtu: 0 } => "fragmentation needed".into(),
        Unreachable::FragmentationNeeded { mtu } => format!("fragmentation needed, MTU {mtu}"),
        Unreachable::Code(code) => format!("unreachable, code {code}"),
    }
}

/// Labels with experimental bits and TTL, top first.
pub(crate) fn mpls(stack: &[MplsLabel]) -> String {
    let label = |MplsLabel { label, exp, ttl, .. }: &MplsLabel| format!("{label} exp {exp} ttl {ttl}");
    stack.iter().map(label).collect::<Vec<_>>().join(" / ")
}

pub(crate) fn interface(interface: &Interface) -> String {
    let Interface { role, index, address, name, mtu } = interface;
    let facts = [
        name.clone(),
        address.map(|address| address.to_string()),
        index.map(|index| format!("index {index}")),
        mtu.map(|mtu| format!("MTU {mtu}")),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    format!("{} interface {}", role.replace('_', " "), facts.join(", ")).trim_end().to_owned()
}

/// Why a run ended, and what it found of the port.
pub(crate) fn ending(run: &RunResult) -> String {
    let last_answer = run.hops.iter().rfind(|hop| hop.reachable);
    let mut text = match (run.end_reason, last_answer) {
        (EndReason::Destination, _) if run.hops.len() == 1 && last_ttl(&run.hops) > 1 => {
            format!(
                "destination reached at hop {} or before: it is the first that was probed",
                last_ttl(&run.hops)
            )
        }
        (EndReason::Destination, _) => format!("destination reached at hop {}", last_ttl(&run.hops)),
        (EndReason::DestinationTimeExceeded, _) => {
            format!("destination reached at hop {}, which says time exceeded only", last_ttl(&run.hops))
        }
        (EndReason::Unreachable, Some(hop)) => {
            let reason = hop.unreachable.map_or_else(|| "unreachable".into(), unreachable);
            format!("no way on from hop {}: {reason}", hop.ttl)
        }
        (EndReason::Unreachable, None) => "unreachable".into(),
        (EndReason::MaxTtl, Some(hop)) => {
            format!(
                "destination not reached within {} hops, last answer from hop {}",
                last_ttl(&run.hops),
                hop.ttl
            )
        }
        (EndReason::MaxTtl, None) => match run.hops.as_slice() {
            [hop] => format!("no answer from hop {}", hop.ttl),
            hops => format!("no answer from any of {} hops", hops.len()),
        },
        (EndReason::Interrupted, Some(hop)) if run.reached => {
            format!("interrupted, destination reached at hop {}", hop.ttl)
        }
        (EndReason::Interrupted, Some(hop)) => format!("interrupted, last answer from hop {}", hop.ttl),
        (EndReason::Interrupted, None) => "interrupted before any answer".into(),
    };
    if let Some(state) = run.port_state {
        text.extend([", port ", port_state(state)]);
    }
    if let Some(method) = run.method {
        text.extend([", by ", method.as_str(), " because sack did not work"]);
    }
    if let Some(mode) = run.mode {
        text.extend([", ", mode.as_str()]);
    }
    text
}

fn last_ttl(hops: &[Hop]) -> u8 {
    hops.last().map_or(0, |hop| hop.ttl.get())
}

/// What a run had besides its hops.
pub(crate) fn incidents(run: &RunResult) -> Vec<String> {
    let counted = [
        (u64::from(run.late), "late answer", "late answers"),
        (run.duplicates.into(), "duplicate answer", "duplicate answers"),
        (run.capture_drops, "packet lost by the capture", "packets lost by the capture"),
        (run.send_errors.into(), "probe not sent", "probes not sent"),
    ];
    let said = counted.into_iter().filter(|(count, ..)| *count > 0);
    said.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect()
}

/// Milliseconds in at most seven columns.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ..999.9995 => format!("{ms:.3}"),
        ..99_999.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// Milliseconds in at most six columns, for where there is little room.
pub(crate) fn brief(ms: f64) -> String {
    match ms {
        ..9.9995 => format!("{ms:.3}"),
        ..99.995 => format!("{ms:.2}"),
        ..9_999.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A part of a whole as a percentage, with a decimal only where there is one.
pub(crate) fn percentage(part: usize, whole: usize) -> String {
    let tenths = (part * 1_000 + whole / 2).checked_div(whole).unwrap_or(0);
    // What is neither nothing nor all must not look like it.
    let tenths = if part == 0 { 0 } else { tenths.max(1) };
    let tenths = if part == whole { tenths } else { tenths.min(999) };
    match tenths % 10 {
        0 => format!("{}%", tenths / 10),
        decimal => format!("{}.{decimal}%", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_their_room() {
        for (ms, text) in [
            (0.0004, "0.000"),
            (9.1234, "9.123"),
            (999.9991, "999.999"),
            (1_234.56, "1234.6"),
            (99_999.94, "99999.9"),
            (600_000.0, "600000"),
        ] {
            assert_eq!(milliseconds(ms), text);
            assert!(text.len() <= 7);
        }
    }

    #[test]
    fn brief_milliseconds_have_less_room() {
        for (ms, text) in [
            (9.1234, "9.123"),
            (23.2345, "23.23"),
            (123.46, "123.5"),
            (1_234.56, "1234.6"),
            (600_000.0, "600000"),
        ] {
            assert_eq!(brief(ms), text);
        }
    }

    #[test]
    fn percentages_do_not_round_something_to_nothing_or_all() {
        for (part, whole, text) in [
            (0, 50, "0%"),
            (1, 50, "2%"),
            (1, 3, "33.3%"),
            (3, 3, "100%"),
            (1, 10_000, "0.1%"),
            (9_999, 10_000, "99.9%"),
            (0, 0, "0%"),
        ] {
            assert_eq!(percentage(part, whole), text, "{part} of {whole}");
        }
    }
}
