//! From the command line to the exit status.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::arguments::{Arguments, USAGE};
use crate::error::Error;
use crate::noise::{self, Probe};
use crate::row::Verdict;
use crate::tool::{self, Tool};
use crate::{launch, load, machine, rows, table};

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
    let ours = Tool::Ours(program);
    let mut rows = rows::rows(&ours)?;
    rows.retain(|row| row.name.contains(&only));
    if rows.is_empty() {
        return Err(Error::NoSuchRow(only));
    }
    tool::ensure_peer()?;
    let about = machine::describe(&ours)?;

    let mut probe = Probe::calibrate();
    let (mut lines, mut verdicts, mut failures, mut disturbed) = (Vec::new(), Vec::new(), 0, 0);
    for row in &mut rows {
        eprintln!("{}", row.name);
        match row.measure(runs, &mut || probe.is_quiet()) {
            Ok(measured) => {
                let verdict = row.limit.judge(&measured);
                disturbed += measured.disturbed;
                lines.push(table::line(row, &measured, verdict));
                verdicts.push(verdict);
            }
            Err(error) => {
                eprintln!("  {error}");
                lines.push(table::failed(row));
                failures += 1;
            }
        }
    }

    let (rendered, bullet) =
        if markdown { (table::markdown(&lines), "* ") } else { (table::text(&lines), "") };
    println!("{rendered}");
    println!("{bullet}figures: median (lower..upper quartile) of {runs} runs of each");
    for line in about {
        println!("{bullet}{line}");
    }
    println!("{bullet}noise: {disturbed} times no turn was counted, because {}", noise::bounds());
    let missed = verdicts.iter().filter(|&&verdict| verdict == Verdict::Missed).count();
    if verdicts.contains(&Verdict::TooNoisy) {
        println!("\ntoo noisy to conclude: run this again on a quiet machine");
    }
    if missed + failures > 0 {
        println!("\n{missed} limits missed, {failures} rows failed");
    }
    Ok(failures == 0 && verdicts.iter().all(|&verdict| verdict == Verdict::Ok))
}
