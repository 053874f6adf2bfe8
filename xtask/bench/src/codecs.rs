//! What it takes to encode, parse and match a packet, to find its runs and to lend identities: the benchmarks `codecs`
//! of the pure crates, which criterion runs and evaluates.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use crate::error::Error;
use crate::experiment::{Limit, Measured, Row, Unit};
use crate::statistics::{Statistic, Summary};

const PACKAGES: [&str; 6] = [
    "traceroute-wire",
    "traceroute-core",
    "traceroute-udp",
    "traceroute-icmp",
    "traceroute-tcp",
    "traceroute-sack",
];

/// A second and a half for each benchmark: a minute and a half for all.
const CRITERION: [&str; 7] = [
    "--noplot",
    "--quiet",
    "--warm-up-time=0.3",
    "--measurement-time=1",
    "--nresamples=2000",
    "--sample-size=50",
    "--color=never",
];

/// What all of this is called.
pub(crate) const NAME: &str = "codecs";
/// How many nanoseconds a call may take.
const LIMIT: f64 = 200.0;
/// And how many times as long among many as among one, whose entries are all in the nearest cache.
const FLAT: f64 = 2.0;

/// A row of the table.
pub(crate) struct Codec {
    pub(crate) name: String,
    pub(crate) row: Row,
    pub(crate) measured: Measured,
}

/// The time of one call, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    /// What is called, such as `encode/udp/ipv4`.
    name: String,
    /// The median, between the ends of the interval that it lies in with a confidence of 95 %.
    time: Summary,
}

/// Builds and runs the benchmarks, and returns a row for each, by name. What is measured among many runs or identities
/// stands beside the same among one. `directory` is where criterion writes: what was there before is removed.
pub(crate) fn measure(directory: &Path) -> Result<Vec<Codec>, Error> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(Error::Unreadable { path: directory.into(), source });
        }
        _ => {}
    }
    run(directory)?;
    Ok(rows(&read(directory)?))
}

fn rows(figures: &[Figure]) -> Vec<Codec> {
    let among_one = |name: &str| {
        let one = name.strip_suffix("/10000").map(|what| format!("{what}/1"))?;
        figures.iter().find(|figure| figure.name == one).map(|figure| ("among 1", figure.time))
    };
    let row = |figure: &Figure| {
        let among_one = among_one(&figure.name);
        let limit = among_one.map_or(LIMIT, |(_, one)| LIMIT.min(FLAT * one.figure));
        let (unit, statistic) = (Unit::Nanoseconds, Statistic::Median);
        Codec {
            name: format!("{NAME}, {}", figure.name),
            row: Row { what: NAME, unit, statistic, limit: Limit::AtMost(limit) },
            measured: Measured { ours: figure.time, peers: among_one.into_iter().collect(), enough: true },
        }
    };
    figures.iter().map(row).collect()
}

fn run(directory: &Path) -> Result<(), Error> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "--quiet", "--locked", "--bench", "codecs"]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.arg("--").args(CRITERION);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    command.env("CRITERION_HOME", directory).stdin(Stdio::null());
    let program = "cargo bench --bench codecs".to_owned();
    match command.output() {
        Err(source) => Err(Error::CannotStart { program, source }),
        Ok(Output { status, stderr, .. }) if !status.success() => {
            Err(Error::Failed { program, status, stderr: String::from_utf8_lossy(&stderr).into_owned() })
        }
        Ok(_) => Ok(()),
    }
}

/// The figures of all benchmarks below a directory of criterion's, by name.
fn read(directory: &Path) -> Result<Vec<Figure>, Error> {
    let unreadable = |source| Error::Unreadable { path: directory.into(), source };
    let mut figures = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let newest = entry.map_err(unreadable)?.path().join("new");
        if newest.is_dir() {
            figures
                .push(figure(&text(newest.join("benchmark.json"))?, &text(newest.join("estimates.json"))?)?);
        }
    }
    figures.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(figures)
}

fn text(path: PathBuf) -> Result<String, Error> {
    fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })
}

/// One benchmark's figures, from the two files that criterion writes about it.
fn figure(benchmark: &str, estimates: &str) -> Result<Figure, Error> {
    let Benchmark { full_id: name } = serde_json::from_str(benchmark)?;
    let Estimates { median } = serde_json::from_str(estimates)?;
    let Interval { lower_bound: lower, upper_bound: upper } = median.confidence_interval;
    Ok(Figure { name, time: Summary { lower, figure: median.point_estimate, upper } })
}

/// `benchmark.json`, as far as it is of interest.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

/// `estimates.json`, as far as it is of interest.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Interval,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Verdict;

    const BENCHMARK: &str = r#"{"group_id":"encode/udp/ipv4","function_id":null,"value_str":null,"throughput":null,
        "full_id":"encode/udp/ipv4","directory_name":"encode_udp_ipv4","title":"encode/udp/ipv4"}"#;
    const ESTIMATES: &str = r#"{
        "mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":54.7,"upper_bound":60.5},
            "point_estimate":57.6,"standard_error":1.5},
        "median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":48.25,"upper_bound":60.5},
            "point_estimate":56.0,"standard_error":3.0},
        "slope":null}"#;

    fn expected() -> Figure {
        let time = Summary { lower: 48.25, figure: 56.0, upper: 60.5 };
        Figure { name: "encode/udp/ipv4".to_owned(), time }
    }

    #[test]
    fn many_stand_beside_one() {
        let figure = |name: &str, time| Figure {
            name: name.to_owned(),
            time: Summary { lower: time, figure: time, upper: time },
        };
        let figures = [figure("lease/1", 80.0), figure("lease/10000", 170.0), figure("parse", 30.0)];
        let [one, many, parse] = <[Codec; 3]>::try_from(rows(&figures)).ok().unwrap();
        assert_eq!(many.name, "codecs, lease/10000");
        assert_eq!(many.measured.peers, [("among 1", figures[0].time)]);
        assert!(one.measured.peers.is_empty() && parse.measured.peers.is_empty());
        let verdicts = [one, many, parse].map(|codec| codec.row.limit.judge(&codec.measured));
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Missed, Verdict::Ok]);
    }

    #[test]
    fn the_median_and_its_interval_are_taken() {
        assert_eq!(figure(BENCHMARK, ESTIMATES).unwrap(), expected());
    }

    #[test]
    fn what_is_not_criterions_is_an_error() {
        assert!(matches!(figure(BENCHMARK, "{}"), Err(Error::Estimates(_))));
        assert!(matches!(figure("", ESTIMATES), Err(Error::Estimates(_))));
    }

    #[test]
    fn every_benchmark_of_a_directory_is_read_by_name() {
        let directory = env::temp_dir().join(format!("xtask-bench-codecs-{}", std::process::id()));
        let newest = |name: &str| directory.join(name).join("new");
        // Criterion's report is not a benchmark.
        fs::create_dir_all(directory.join("report")).unwrap();
        for (name, id) in [("b", "encode/udp/ipv6"), ("a", "encode/udp/ipv4")] {
            fs::create_dir_all(newest(name)).unwrap();
            fs::write(newest(name).join("benchmark.json"), BENCHMARK.replace("encode/udp/ipv4", id)).unwrap();
            fs::write(newest(name).join("estimates.json"), ESTIMATES).unwrap();
        }
        let codecs = read(&directory);
        fs::remove_file(newest("a").join("estimates.json")).unwrap();
        let missing = read(&directory);
        fs::remove_dir_all(&directory).unwrap();
        let second = Figure { name: "encode/udp/ipv6".to_owned(), ..expected() };
        assert_eq!(codecs.unwrap(), [expected(), second]);
        assert!(
            matches!(missing, Err(Error::Unreadable { path, .. }) if path.ends_with("a/new/estimates.json"))
        );
    }
}
