//! From the command line to the exit status.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::arguments::{Arguments, USAGE};
use crate::codecs::{self, Codec};
use crate::error::Error;
use crate::experiment::Verdict;
use crate::noise::{self, Probe};
use crate::statistics::Statistic;
use crate::tool::{self, Tool};
use crate::{experiments, launch, load, machine, server, table};

/// A launcher or the whole benchmark, as the arguments ask.
pub(crate) fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).peekable();
    if words.next_if(|word| word == launch::LAUNCHER).is_some() {
        return launch::launcher(words);
    }
    if words.next_if(|word| word == load::LOAD).is_some() {
        return load::main(words);
    }
    match bench(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints all rows; whether all are within their limits.
fn bench(words: impl Iterator<Item = OsString>) -> Result<bool, Error> {
    let Some(Arguments { program, runs, only, markdown }) = Arguments::parse(words)? else {
        println!("{USAGE}");
        return Ok(true);
    };
    let ours = Tool::Ours(program.clone());
    tool::ensure_peers()?;
    let mut experiments = experiments::all(&ours, &program.with_file_name(server::PROGRAM))?;
    experiments.retain(|experiment| experiment.name.contains(&only));
    let with_codecs = codecs::NAME.contains(&only);
    if experiments.is_empty() && !with_codecs {
        return Err(Error::NoSuchExperiment(only));
    }
    let about = machine::describe(&ours)?;

    let mut probe = Probe::calibrate();
    let (mut lines, mut verdicts, mut failures, mut disturbed) = (Vec::new(), Vec::new(), 0, 0);
    for experiment in &mut experiments {
        eprintln!("{}", experiment.name);
        match experiment.measure(runs, &mut || probe.is_quiet()) {
            Ok((measured, noise)) => {
                disturbed += noise;
                for (row, measured) in experiment.rows.iter().zip(&measured) {
                    let verdict = row.limit.judge(measured);
                    lines.push(table::line(experiment.name_of(row), row, measured, verdict));
                    verdicts.push(verdict);
                }
            }
            Err(error) => {
                eprintln!("  {error}");
                lines.extend(experiment.rows.iter().map(|row| table::failed(experiment.name_of(row))));
                failures += 1;
            }
        }
    }

    if with_codecs {
        eprintln!("{}", codecs::NAME);
        for Codec { name, row, measured } in codecs::measure(&program.with_file_name("criterion"))? {
            let verdict = row.limit.judge(&measured);
            lines.push(table::line(name, &row, &measured, verdict));
            verdicts.push(verdict);
        }
    }

    let (rendered, bullet) =
        if markdown { (table::markdown(&lines), "* ") } else { (table::text(&lines), "") };
    println!("{rendered}");
    let statistics = [Statistic::Median, Statistic::Percentile99, Statistic::Least].map(Statistic::in_words);
    println!("{bullet}figures, of up to {runs} turns: {}", statistics.join(", "));
    for line in about {
        println!("{bullet}{line}");
    }
    println!("{bullet}noise: {disturbed} times no turn was counted, because {}", noise::bounds());
    let missed = verdicts.iter().filter(|&&verdict| verdict == Verdict::Missed).count();
    if verdicts.contains(&Verdict::TooNoisy) {
        println!("\ntoo noisy to conclude: run this again on a quiet machine");
    }
    if missed + failures > 0 {
        println!("\n{missed} limits missed, {failures} experiments failed");
    }
    Ok(failures == 0 && verdicts.iter().all(|verdict| matches!(verdict, Verdict::Ok | Verdict::Shown)))
}
