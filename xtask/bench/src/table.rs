//! What is printed: the same table as text and as Markdown.

use crate::experiment::{Limit, Measured, Row, Unit, Verdict};
use crate::statistics::Summary;

const HEADINGS: [&str; 5] = ["what", "ours", "others", "limit", "verdict"];

/// One line of the table.
pub(crate) type Line = [String; 5];

/// The line of a row that was measured.
pub(crate) fn line(name: String, row: &Row, measured: &Measured, verdict: Verdict) -> Line {
    let peer = measured.peers.first().map_or("-", |(name, _)| name);
    let bound = row.limit.value(measured).map_or("-".to_owned(), |bound| figure(bound, row.unit));
    let limit = match row.limit {
        Limit::AtMost(_) | Limit::None => bound,
        Limit::AtLeast(_) => format!("at least {bound}"),
        Limit::AbovePeer(above) => format!("{peer} + {} = {bound}", figure(above, row.unit)),
        Limit::TimesPeer(times) => format!("{times} × {peer} = {bound}"),
    };
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Missed => "MISSED",
        Verdict::TooNoisy => "too noisy",
        Verdict::Shown => "",
    };
    let peers = measured.peers.iter().map(|(peer, figure)| format!("{peer} {}", summary(*figure, row.unit)));
    [name, summary(measured.ours, row.unit), peers.collect::<Vec<_>>().join("; "), limit, verdict.to_owned()]
}

/// The line of a row that could not be measured.
pub(crate) fn failed(name: String) -> Line {
    let [ours, others, limit, verdict] = ["-", "-", "-", "FAILED"].map(str::to_owned);
    [name, ours, others, limit, verdict]
}

/// Columns under each other.
pub(crate) fn text(lines: &[Line]) -> String {
    let all: Vec<Line> = [HEADINGS.map(str::to_owned)].into_iter().chain(lines.iter().cloned()).collect();
    let width = |column: usize| all.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    let rendered = all.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    });
    rendered.collect()
}

/// The same for docs/performance.md.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let rendered = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: String = lines.iter().map(|line| rendered(line)).collect();
    rendered(&HEADINGS.map(str::to_owned)) + "|---|---|---|---|---|\n" + &rows
}

/// The figure, and how far the samples spread in brackets.
fn summary(summary: Summary, unit: Unit) -> String {
    let Summary { lower, figure: value, upper } = summary;
    format!("{} ({}..{})", figure(value, unit), number(lower, unit), number(upper, unit))
}

fn figure(value: f64, unit: Unit) -> String {
    let name = match unit {
        Unit::Milliseconds => " ms",
        Unit::Microseconds => " µs",
        Unit::Nanoseconds => " ns",
        Unit::Megabytes => " MB",
        Unit::Kibibytes => " KiB",
        Unit::Percent => " %",
        Unit::Count | Unit::Rate => "",
    };
    number(value, unit) + name
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        _ if value.is_nan() => "-".to_owned(),
        // Medians of an even number of counts may have halves.
        Unit::Count if value.fract() == 0.0 => format!("{value:.0}"),
        Unit::Count | Unit::Percent => format!("{value:.1}"),
        Unit::Rate | Unit::Nanoseconds => format!("{value:.0}"),
        _ if value < 9.95 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Statistic;

    fn row(what: &'static str, unit: Unit, limit: Limit) -> Row {
        Row { what, unit, statistic: Statistic::Median, limit }
    }

    fn measured(ours: f64, peers: &[(&'static str, f64)]) -> Measured {
        let around = |figure| Summary { lower: figure - 0.5, figure, upper: figure + 1.0 };
        let peers = peers.iter().map(|&(name, figure)| (name, around(figure))).collect();
        Measured { ours: around(ours), peers, enough: true }
    }

    fn lines() -> [Line; 4] {
        let time = row("time", Unit::Milliseconds, Limit::AbovePeer(5.0));
        let packets = row("packets sent", Unit::Count, Limit::AtMost(11.0));
        let right = row("right", Unit::Count, Limit::AtLeast(200.0));
        [
            line("time, a trace".into(), &time, &measured(4.25, &[("a", 2.0), ("b", 30.0)]), Verdict::Ok),
            line("packets sent, a trace".into(), &packets, &measured(12.5, &[]), Verdict::Missed),
            line("right, a trace".into(), &right, &measured(200.0, &[]), Verdict::Ok),
            failed("time, a trace".into()),
        ]
    }

    #[test]
    fn text_has_its_columns_under_each_other() {
        assert_eq!(
            text(&lines()),
            "\
what                   ours                  others                                          limit                  verdict
time, a trace          4.25 ms (3.75..5.25)  a 2.00 ms (1.50..3.00); b 30.0 ms (29.5..31.0)  a + 5.00 ms = 7.00 ms  ok
packets sent, a trace  12.5 (12..13.5)                                                       11                     MISSED
right, a trace         200 (199.5..201)                                                      at least 200           ok
time, a trace          -                     -                                               -                      FAILED
"
        );
    }

    #[test]
    fn markdown_is_a_table() {
        assert_eq!(
            markdown(&lines()),
            "\
| what | ours | others | limit | verdict |
|---|---|---|---|---|
| time, a trace | 4.25 ms (3.75..5.25) | a 2.00 ms (1.50..3.00); b 30.0 ms (29.5..31.0) | a + 5.00 ms = 7.00 ms | ok |
| packets sent, a trace | 12.5 (12..13.5) |  | 11 | MISSED |
| right, a trace | 200 (199.5..201) |  | at least 200 | ok |
| time, a trace | - | - | - | FAILED |
"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        assert_eq!(number(f64::NAN, Unit::Count), "-");
        assert_eq!(number(f64::NAN, Unit::Milliseconds), "-");
    }
}
