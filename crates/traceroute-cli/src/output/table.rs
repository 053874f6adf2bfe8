//! The table as data: rows of what answered at each TTL, and what is said above and below them.

use std::net::IpAddr;

use traceroute::{EndToEnd, Hop, Protocol, RunResult, Ttl};

use super::picture::{Picture, RunEnd, Spot};
use super::text::{Span, Style};
use super::words;

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// Pieces of the first line.
    pub(crate) title: Vec<Span>,
    /// What each column of round trips is of.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Lines about the runs.
    pub(crate) endings: Vec<Span>,
    /// Pieces of the line that sums up.
    pub(crate) summary: Vec<Span>,
    /// Lines of what else there is to know.
    pub(crate) remarks: Vec<Span>,
}

/// A TTL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) ttl: Ttl,
    /// How many of how many runs were not answered.
    pub(crate) lost: Option<(usize, usize)>,
    /// One for each address.
    pub(crate) groups: Vec<Group>,
}

/// An address at a TTL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// First the address, then its names and what it says.
    pub(crate) pieces: Vec<Span>,
    /// What each run has of it.
    pub(crate) cells: Vec<Cell>,
}

/// What a run has of an address at a TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Cell {
    /// Nothing.
    #[default]
    Blank,
    /// A probe is on its way.
    Pending,
    /// No answer came.
    Silent,
    /// A round trip.
    Rtt {
        ms: f64,
        /// Whether it is by the program's own clock.
        user: bool,
    },
}

impl Table {
    pub(crate) fn of(picture: &Picture) -> Self {
        let ttls = picture.ttls().into_iter();
        let ttls = ttls.flat_map(|(first, last)| (first.get()..=last.get()).filter_map(Ttl::new));
        let rows: Vec<Row> = ttls.map(|ttl| row(picture, ttl)).collect();
        Self {
            title: title(picture),
            columns: match picture.runs.as_slice() {
                [_] => vec!["ms".into()],
                runs => runs.iter().map(|run| format!("run {}", run.number)).collect(),
            },
            endings: endings(picture),
            summary: summary(picture),
            remarks: remarks(picture, &rows),
            rows,
        }
    }
}

fn title(picture: &Picture) -> Vec<Span> {
    let Picture { target, protocol, port, ends, public_ip, runs, .. } = picture;
    let mut to = format!("traceroute to {target}");
    if let Some((address, _)) = ends
        && address.to_string() != *target
    {
        to.extend([" (", &address.to_string(), ")"]);
    }
    let mut title = vec![Span::new(to, Style::Strong)];
    let mut known: Vec<&str> = Vec::new();
    let of_runs = picture.results_of_runs().flat_map(|(_, run)| &run.destination.reverse_dns);
    let told = ends.map(|(address, _)| picture.names_of(address, &[])).unwrap_or_default();
    for name in of_runs.chain(told) {
        let name = without_root(name);
        if !known.contains(&name) {
            known.push(name);
        }
    }
    title.extend(known.into_iter().map(Span::plain));
    title.push(Span::plain(match protocol {
        Protocol::Icmp => protocol.to_string(),
        _ => format!("{protocol} port {port}"),
    }));
    title.extend(ends.map(|(_, source)| Span::plain(format!("from {source}"))));
    if !public_ip.is_empty() {
        title.push(Span::plain(format!("public address {public_ip}")));
    }
    if runs.len() != 1 && !picture.none_begun {
        title.push(Span::plain(format!("{} runs", runs.len())));
    }
    title
}

fn row(picture: &Picture, ttl: Ttl) -> Row {
    let spots: Vec<Spot<'_>> = picture.runs.iter().map(|run| run.at(ttl)).collect();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for spot in &spots {
        if let Spot::Answered(Hop { ip_address: Some(address), .. }) = spot
            && !addresses.contains(address)
        {
            addresses.push(*address);
        }
    }
    let mut groups: Vec<Group> =
        addresses.into_iter().map(|address| group(picture, &spots, address)).collect();
    let silent = spots.iter().filter(|spot| matches!(spot, Spot::Silent)).count();
    let answered = spots.iter().filter(|spot| matches!(spot, Spot::Answered(_))).count();
    if groups.is_empty() {
        let cells = vec![Cell::Blank; spots.len()];
        let mark = if silent > 0 { "*" } else { "" };
        groups.push(Group { pieces: vec![Span::new(mark, Style::Faint)], cells });
    }
    for (cell, spot) in groups[0].cells.iter_mut().zip(&spots) {
        match spot {
            Spot::Pending => *cell = Cell::Pending,
            Spot::Silent => *cell = Cell::Silent,
            Spot::Blank | Spot::Answered(_) => {}
        }
    }
    let known = silent + answered;
    Row { ttl, lost: (known > 0).then_some((silent, known)), groups }
}

/// The runs of a row that one address answered.
fn group(picture: &Picture, spots: &[Spot<'_>], address: IpAddr) -> Group {
    let hops: Vec<Option<&Hop>> = spots
        .iter()
        .map(|spot| match spot {
            Spot::Answered(hop) if hop.ip_address == Some(address) => Some(*hop),
            _ => None,
        })
        .collect();
    let cell = |hop: Option<&Hop>| {
        hop.map_or(Cell::Blank, |hop| Cell::Rtt { ms: hop.rtt, user: hop.rtt_source.is_some() })
    };
    let mut pieces = vec![Span::plain(address.to_string())];
    // What only some of its answers say is said with their runs.
    let said: Vec<(usize, Vec<Span>)> = picture
        .runs
        .iter()
        .zip(&hops)
        .filter_map(|(run, hop)| hop.map(|hop| (run.number, notes(picture, hop))))
        .collect();
    let mut distinct: Vec<&Span> = Vec::new();
    for note in said.iter().flat_map(|(_, notes)| notes) {
        if !distinct.contains(&note) {
            distinct.push(note);
        }
    }
    for note in distinct {
        let by = said.iter().filter(|(_, notes)| notes.contains(note)).map(|(number, _)| *number);
        let by: Vec<usize> = by.collect();
        let note = note.clone();
        pieces.push(if by.len() == said.len() { note } else { note.and(&format!(" ({})", runs(&by))) });
    }
    Group { pieces, cells: hops.iter().copied().map(cell).collect() }
}

/// What there is to say of a hop besides its address and its round trip.
fn notes(picture: &Picture, hop: &Hop) -> Vec<Span> {
    let names = hop.ip_address.map(|address| picture.names_of(address, &hop.reverse_dns));
    let names = names.unwrap_or_default().iter();
    let mut notes: Vec<Span> = names.map(|name| Span::plain(without_root(name))).collect();
    notes.extend(
        hop.unreachable.map(|reason| Span::new(format!("!{}", words::unreachable(reason)), Style::Bad)),
    );
    if !hop.mpls.is_empty() {
        notes.push(Span::new(format!("MPLS {}", words::mpls(&hop.mpls)), Style::Note));
    }
    notes.extend(hop.nat.as_ref().map(|nat| Span::new(format!("NAT, seen as {}", nat.source), Style::Note)));
    notes.extend(hop.interface.as_ref().map(|interface| Span::new(words::interface(interface), Style::Note)));
    notes
}

/// A name as people write it, without the dot that stands for the root of all names.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Why the runs ended, once where several agree, and what else befell them.
fn endings(picture: &Picture) -> Vec<Span> {
    let mut distinct: Vec<(String, Style, Vec<usize>)> = Vec::new();
    let mut say = |number: usize, text: String, style: Style| match distinct
        .iter_mut()
        .find(|(known, ..)| *known == text)
    {
        Some((.., numbers)) => numbers.push(number),
        None => distinct.push((text, style, vec![number])),
    };
    for run in &picture.runs {
        match &run.end {
            Some(RunEnd::Finished(result)) => say(run.number, words::ending(result), style(result)),
            Some(RunEnd::Failed(reason)) => say(run.number, format!("failed: {reason}"), Style::Bad),
            None => {}
        }
    }
    for (number, result) in picture.results_of_runs() {
        for incident in words::incidents(result) {
            say(number, incident, Style::Odd);
        }
    }
    let all = picture.runs.len();
    let ending = |(text, style, numbers): (String, Style, Vec<usize>)| match numbers.len() {
        1 if all == 1 => Span::new(text, style),
        some if some == all => Span::new(format!("all runs: {text}"), style),
        _ => Span::new(format!("{}: {text}", runs(&numbers)), style),
    };
    let nothing = picture.none_begun.then(|| Span::new("interrupted before any run had begun", Style::Odd));
    nothing.into_iter().chain(distinct.into_iter().map(ending)).collect()
}

fn style(run: &RunResult) -> Style {
    if run.reached { Style::Good } else { Style::Odd }
}

/// "run 2", "runs 1, 3", "runs 1 to 4, 7".
fn runs(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    format!("{} {}", if numbers.len() == 1 { "run" } else { "runs" }, parts.join(", "))
}

fn summary(picture: &Picture) -> Vec<Span> {
    let mut summary = Vec::new();
    if let Some(hops) = picture.hop_count().filter(|_| picture.has_answers()) {
        #[expect(clippy::float_cmp, reason = "whole numbers")]
        let same = hops.min == hops.max;
        summary.push(Span::plain(match hops.max {
            1.0 => "1 hop".into(),
            max if same => format!("{max} hops"),
            max => format!("{} to {max} hops", hops.min),
        }));
    }
    let EndToEnd { packets_sent, packets_received, jitter, rtt, .. } = picture.end_to_end();
    if packets_sent > 0 {
        let lost = packets_sent - packets_received;
        let said = format!("e2e loss {} of {packets_sent}", words::percentage(lost, packets_sent));
        summary.push(Span::new(said, loss_style(lost, packets_sent)));
    }
    if packets_received > 0 {
        let [min, avg, max, jitter] = [rtt.min, rtt.avg, rtt.max, jitter].map(words::brief);
        summary.push(Span::plain(format!("rtt min/avg/max {min}/{avg}/{max}")));
        // One round trip differs from none.
        if packets_received > 1 {
            summary.push(Span::plain(format!("jitter {jitter} ms")));
        }
    }
    summary
}

/// How a loss looks.
pub(crate) const fn loss_style(lost: usize, of: usize) -> Style {
    match lost {
        0 => Style::Plain,
        lost if lost == of => Style::Bad,
        _ => Style::Odd,
    }
}

fn remarks(picture: &Picture, rows: &[Row]) -> Vec<Span> {
    let mut cells = rows.iter().flat_map(|row| &row.groups).flat_map(|group| &group.cells);
    let mut remarks = Vec::new();
    if cells.any(|cell| matches!(cell, Cell::Rtt { user: true, .. })) {
        let meaning = "u: by the program's clock, because a time stamp of the kernel's is missing";
        remarks.push(Span::new(meaning, Style::Faint));
    }
    if picture.hides_private && rows.iter().any(|row| row.lost.is_some_and(|(lost, _)| lost > 0)) {
        let meaning = "*: no answer, or a private address, which is not shown";
        remarks.push(Span::new(meaning, Style::Faint));
    }
    remarks
        .extend(picture.warnings.iter().map(|warning| Span::new(format!("warning: {warning}"), Style::Odd)));
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_briefly() {
        assert_eq!(runs(&[2]), "run 2");
        assert_eq!(runs(&[1, 3]), "runs 1, 3");
        assert_eq!(runs(&[1, 2]), "runs 1, 2");
        assert_eq!(runs(&[1, 2, 3, 4, 7]), "runs 1 to 4, 7");
    }
}
