//! The table as lines of a given width.

use std::time::Duration;

use super::picture::{LastProbe, Picture};
use super::table::{Cell, Group, Row, Table, loss_style};
use super::text::{Line, Span, Style, flow};
use super::words;

/// Below this everything is laid out as if there were so much room.
const MIN_WIDTH: usize = 40;
const GAP: usize = 2;
/// Of "hop" and the greatest TTL.
const TTL: usize = 3;
/// Of "loss" and "100%".
const LOSS: usize = 4;
/// Least width of a round trip; there are none of more than eight columns.
const RTT: usize = 5;

/// The lines of the whole table.
pub(crate) fn lines(table: &Table, width: usize) -> Vec<Line> {
    let width = width.max(MIN_WIDTH);
    let each_on_its_own = |spans: &[Span]| -> Vec<Line> {
        spans.chunks(1).flat_map(|span| flow(span, width, width, 0)).collect()
    };
    let mut lines = flow(&table.title, width, width, 0);
    if !table.rows.is_empty() {
        lines.extend(Columns::fit(table, width).lines(table));
    }
    lines.extend(each_on_its_own(&table.endings));
    lines.extend(flow(&table.summary, width, width, 0));
    lines.extend(each_on_its_own(&table.remarks));
    lines
}

/// How round trips are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Detail {
    /// Each run's.
    Each,
    /// The least, the mean and the greatest, and of how many.
    Spread,
    /// The mean.
    #[default]
    Mean,
}

/// The columns of the table.
struct Columns {
    detail: Detail,
    /// How much there is for address, names and notes beside the round trips.
    room: usize,
    /// How much there is for them in lines of their own.
    rest: usize,
    /// Where names begin, where they fit.
    tab: usize,
    /// How much of `room` is used.
    host: usize,
    /// The widths of those on the right, and their headings.
    right: Vec<(usize, String)>,
}

impl Columns {
    /// As much detail as leaves room for the longest address.
    fn fit(table: &Table, width: usize) -> Self {
        let groups = || table.rows.iter().flat_map(|row| &row.groups);
        let address = groups().filter_map(|group| group.pieces.first()).map(Span::width).max().unwrap_or(0);
        let candidates = [Detail::Each, Detail::Spread, Detail::Mean].map(|detail| {
            let right = Self::right(table, detail);
            let taken: usize = right.iter().map(|(width, _)| GAP + width).sum();
            let room = width.saturating_sub(TTL + GAP + taken);
            (detail, room, right)
        });
        let fits = |(_, room, _): &(Detail, usize, _)| *room >= address;
        let chosen = candidates.iter().position(fits).unwrap_or(candidates.len() - 1);
        let [each, spread, mean] = candidates;
        let (detail, room, right) = [each, spread, mean].into_iter().nth(chosen).unwrap_or_default();
        let room = room.max(1);
        let mut columns =
            Self { detail, room, rest: width - TTL - GAP, tab: address + GAP, host: room, right };
        let used = groups().filter_map(|group| columns.beside(group).first().map(Line::width)).max();
        columns.host = used.unwrap_or(0).max("address".len()).min(room);
        columns
    }

    /// Address, names and notes.
    fn beside(&self, group: &Group) -> Vec<Line> {
        flow(&group.pieces, self.room, self.rest, self.tab)
    }

    fn right(table: &Table, detail: Detail) -> Vec<(usize, String)> {
        let headings: Vec<String> = match detail {
            Detail::Each => table.columns.clone(),
            Detail::Spread => ["runs", "min", "avg", "max"].map(String::from).into(),
            Detail::Mean => vec!["avg".into()],
        };
        let mut right = vec![(LOSS, String::from("loss"))];
        right.extend(headings.into_iter().map(|heading| (RTT.max(heading.len()), heading)));
        for group in table.rows.iter().flat_map(|row| &row.groups) {
            for ((width, _), shown) in right[1..].iter_mut().zip(shown(group, detail)) {
                *width = shown.width().max(*width);
            }
        }
        right
    }

    fn lines(&self, table: &Table) -> Vec<Line> {
        let mut heading = Line::of(Span::new("hop", Style::Strong));
        heading.pad_to(TTL + GAP);
        heading.push(Span::new("address", Style::Strong));
        let mut column = TTL + GAP + self.host;
        for (width, text) in &self.right {
            column += GAP + width;
            heading.push_right(Span::new(text, Style::Strong), column);
        }
        let rows = table.rows.iter().flat_map(|row| self.row(row));
        [heading].into_iter().chain(rows).collect()
    }

    fn row(&self, row: &Row) -> Vec<Line> {
        let mut lines = Vec::new();
        for group in &row.groups {
            let mut host = self.beside(group).into_iter();
            let mut line = Line::default();
            if lines.is_empty() {
                line.push_right(Span::new(row.ttl.to_string(), Style::Faint), TTL);
            }
            line.pad_to(TTL + GAP);
            line.append(host.next().unwrap_or_default());
            let mut column = TTL + GAP + self.host + GAP + LOSS;
            if let Some((lost, of)) = row.lost.filter(|_| lines.is_empty()) {
                // A figure in whole numbers: there are few runs, and it is four columns wide.
                let loss = format!("{}%", (lost * 100 + of / 2) / of);
                line.push_right(Span::new(loss, loss_style(lost, of)), column);
            }
            for ((width, _), shown) in self.right[1..].iter().zip(shown(group, self.detail)) {
                column += GAP + width;
                line.push_right(shown, column);
            }
            lines.push(line);
            for more in host {
                let mut line = Line::default();
                line.pad_to(TTL + GAP);
                line.append(more);
                lines.push(line);
            }
        }
        lines
    }
}

/// What stands in the columns of round trips.
fn shown(group: &Group, detail: Detail) -> Vec<Span> {
    if detail == Detail::Each {
        return group.cells.iter().map(cell).collect();
    }
    let rtts = group.cells.iter().filter_map(|cell| match cell {
        Cell::Rtt { ms, user } => Some((*ms, *user)),
        _ => None,
    });
    let (rtts, users): (Vec<f64>, Vec<bool>) = rtts.unzip();
    let rtt = |ms: f64| Span::plain(words::milliseconds(ms)).and(mark(users.contains(&true)));
    let spread = traceroute::Spread::of(rtts.iter().copied());
    match (detail, rtts.len()) {
        (Detail::Spread, 0) => vec![Span::new("0", Style::Faint)],
        (Detail::Spread, count) => {
            vec![Span::plain(count.to_string()), rtt(spread.min), rtt(spread.avg), rtt(spread.max)]
        }
        (_, 0) => Vec::new(),
        (_, _) => vec![rtt(spread.avg)],
    }
}

fn cell(cell: &Cell) -> Span {
    match cell {
        Cell::Blank => Span::plain(""),
        Cell::Pending => Span::new("...", Style::Faint),
        Cell::Silent => Span::new("*", Style::Faint),
        Cell::Rtt { ms, user } => Span::plain(words::milliseconds(*ms)).and(mark(*user)),
    }
}

const fn mark(user: bool) -> &'static str {
    if user { "u" } else { "" }
}

/// How far the request is, `elapsed` after its start.
pub(crate) fn progress(picture: &Picture, elapsed: Duration, width: usize) -> Line {
    const BAR: usize = 20;
    let (done, all) = (picture.probes_ended(), picture.probes);
    let mut pieces = Vec::new();
    if picture.ends.is_none() {
        pieces.push(Span::plain(format!("looking up {}", picture.target)));
    } else if picture.runs_ended() < picture.runs.len() {
        pieces.push(Span::plain(format!(
            "tracing, {} of {} runs done",
            picture.runs_ended(),
            picture.runs.len()
        )));
    }
    if let Some(what) = picture.waits_for() {
        pieces.push(Span::plain(format!("{what}; Ctrl-C does without")));
    } else if picture.ends.is_some() && all > 0 {
        let filled = (done * BAR).checked_div(all).unwrap_or(BAR).min(BAR);
        let bar = format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled));
        pieces.push(Span::plain(format!("end to end {bar} {done}/{all}")));
        match picture.last_probe() {
            Some(LastProbe::Answered(rtt)) => {
                pieces.push(Span::plain(format!("last {} ms", words::milliseconds(rtt.as_secs_f64() * 1e3))));
            }
            Some(LastProbe::Lost) => pieces.push(Span::new("last lost", Style::Odd)),
            None => {}
        }
        if let Some(left) = left(done, all, elapsed) {
            pieces.push(Span::new(format!("about {left} s left"), Style::Faint));
        }
    }
    // What does not fit into the line is not needed.
    flow(&pieces, width, width, 0).into_iter().next().unwrap_or_default().clipped(width)
}

/// How many seconds the other probes take if they go on at the pace of those that have ended: the first starts at once.
fn left(done: usize, all: usize, elapsed: Duration) -> Option<u64> {
    let intervals = u32::try_from(done).ok()?.checked_sub(1).filter(|intervals| *intervals > 0)?;
    let left = u32::try_from(all.saturating_sub(done)).ok()?;
    Some((elapsed / intervals * left + Duration::from_nanos(999_999_999)).as_secs())
}
