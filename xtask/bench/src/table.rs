//! What is printed: the same table as text and as Markdown.

use crate::row::{Limit, Measured, Row, Unit, Verdict};
use crate::statistics::Summary;

const HEADINGS: [&str; 5] = ["what", "ours", "traceroute", "limit", "verdict"];

/// One line of the table.
pub(crate) type Line = [String; 5];

/// The line of a row that was measured.
pub(crate) fn line(row: &Row, measured: &Measured, verdict: Verdict) -> Line {
    let bound = figure(row.limit.value(measured.peer), row.unit);
    let limit = match row.limit {
        Limit::AtMost(_) => bound,
        Limit::AbovePeer(above) => format!("traceroute + {} = {bound}", figure(above, row.unit)),
    };
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Missed => "MISSED",
        Verdict::TooNoisy => "too noisy",
    };
    [
        row.name.clone(),
        summary(measured.ours, row.unit),
        summary(measured.peer, row.unit),
        limit,
        verdict.to_owned(),
    ]
}

/// The line of a row that could not be measured.
pub(crate) fn failed(row: &Row) -> Line {
    [row.name.as_str(), "-", "-", "-", "FAILED"].map(str::to_owned)
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

/// The median, and the quartiles in brackets.
fn summary(summary: Summary, unit: Unit) -> String {
    let Summary { lower, median, upper } = summary;
    format!("{} ({}..{})", figure(median, unit), number(lower, unit), number(upper, unit))
}

fn figure(value: f64, unit: Unit) -> String {
    let name = match unit {
        Unit::Milliseconds => " ms",
        Unit::Megabytes => " MB",
        Unit::Packets => "",
    };
    number(value, unit) + name
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        _ if value.is_nan() => "-".to_owned(),
        // Medians of an even number of counts may have halves.
        Unit::Packets if value.fract() == 0.0 => format!("{value:.0}"),
        Unit::Milliseconds | Unit::Megabytes | Unit::Packets => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, unit: Unit, limit: Limit) -> Row {
        Row { name: name.into(), unit, ours: Box::new(|| Ok(0.0)), peer: Box::new(|| Ok(0.0)), limit }
    }

    fn measured(ours: f64, peer: f64) -> Measured {
        let around = |median| Summary { lower: median - 0.5, median, upper: median + 1.0 };
        Measured { ours: around(ours), peer: around(peer), disturbed: 0, enough: true }
    }

    fn lines() -> [Line; 3] {
        let time = row("time", Unit::Milliseconds, Limit::AbovePeer(5.0));
        let packets = row("packets sent", Unit::Packets, Limit::AtMost(11.0));
        [
            line(&time, &measured(4.25, 2.0), Verdict::Ok),
            line(&packets, &measured(12.5, 18.0), Verdict::Missed),
            failed(&time),
        ]
    }

    #[test]
    fn text_has_its_columns_under_each_other() {
        assert_eq!(
            text(&lines()),
            "\
what          ours               traceroute         limit                         verdict
time          4.2 ms (3.8..5.2)  2.0 ms (1.5..3.0)  traceroute + 5.0 ms = 7.0 ms  ok
packets sent  12.5 (12..13.5)    18 (17.5..19)      11                            MISSED
time          -                  -                  -                             FAILED
"
        );
    }

    #[test]
    fn markdown_is_a_table() {
        assert_eq!(
            markdown(&lines()),
            "\
| what | ours | traceroute | limit | verdict |
|---|---|---|---|---|
| time | 4.2 ms (3.8..5.2) | 2.0 ms (1.5..3.0) | traceroute + 5.0 ms = 7.0 ms | ok |
| packets sent | 12.5 (12..13.5) | 18 (17.5..19) | 11 | MISSED |
| time | - | - | - | FAILED |
"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        assert_eq!(number(f64::NAN, Unit::Packets), "-");
        assert_eq!(number(f64::NAN, Unit::Milliseconds), "-");
    }
}
