//! The `datadog-traceroute` command.

mod advice;
mod args;
mod completion;
mod examples;
mod man;
mod output;
mod signals;
mod system;
mod usage;

use std::io::{self, ErrorKind, Write};
use std::net::UdpSocket;
use std::process::ExitCode;

use clap::Parser;
use traceroute::{Error, Request, Results, Tracer, TracerBuilder};
use tracing::{Level, trace};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::advice::with_advice;
use crate::args::{Args, Command};
use crate::output::{Live, Output, Screen};
use crate::signals::Signals;
use crate::system::LIMIT;

/// What a shell reports of a process that a signal has ended: 128 and the signal's number.
const ENDED_BY_SIGNAL: u8 = 128;

/// How a trace came to its end.
enum Outcome {
    Complete(Result<Results, Error>),
    /// By the signal with this number.
    Interrupted(u8, Result<Results, Error>),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => return fail(&usage::one_line(&error)),
        Err(help) => return finish(write!(io::stdout(), "{}", help.render())),
    };
    match args.wanted() {
        Some(Command::Version) => {
            return finish(writeln!(io::stdout(), "datadog-traceroute {}", env!("VERSION")));
        }
        Some(Command::Completion { shell }) => {
            return finish(write_whole(|script| script.write_all(completion::script(shell).as_bytes())));
        }
        Some(Command::Man) => return finish(write_whole(|page| man::write(page))),
        None => {}
    }
    let output = Output::new(args.format());
    if args.verbose {
        log_everything(output.screen());
    }
    let request = match args.request() {
        Ok(request) => request,
        Err(reason) => return fail(&format!("failed to run traceroute: {reason}")),
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match enough_descriptors().and_then(|()| runtime()) {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&format!("failed to run traceroute: {error}; {LIMIT}"));
        }
    };
    let mut live = output.live(&request);
    // Where the kernel does not close the capture in the background, it takes some 10 ms: not before the results.
    let mut tracer = None;
    let outcome = runtime.block_on(run(args.tracer(), request, &mut tracer, &mut live));
    live.erase();
    let write = |mut results: Results, live: &mut Live| {
        results.warnings.extend(args.other_ports(&results));
        let results = &results;
        output.unsaid(results).iter().for_each(|warning| report(&format!("warning: {warning}")));
        finish(output.write(results, live))
    };
    match outcome {
        Outcome::Complete(Ok(results)) => write(results, &mut live),
        Outcome::Complete(Err(error)) => {
            let said = match args.advice_on_ports(&error) {
                Some(advice) => format!("{error}; {advice}"),
                None => with_advice(&error),
            };
            fail(&format!("failed to run traceroute: {said}"))
        }
        Outcome::Interrupted(signal, outcome) => {
            if let Ok(results) = outcome {
                report("interrupted: these results are incomplete");
                write(results, &mut live);
            } else {
                report("interrupted before anything was learnt");
            }
            ExitCode::from(ENDED_BY_SIGNAL + signal)
        }
    }
}

/// Whether the runtime can have the handful of descriptors that it needs: it panics where it cannot.
fn enough_descriptors() -> io::Result<()> {
    const NEEDED: usize = 8;
    (0..NEEDED).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<io::Result<Vec<_>>>().map(drop)
}

/// Traces to the end, or until the first signal. Leaves the tracer to the caller to drop.
async fn run(
    builder: TracerBuilder,
    request: Request,
    tracer: &mut Option<Tracer>,
    live: &mut Live,
) -> Outcome {
    let building = async { tracer.insert(builder.build().await?).start(request) };
    let mut trace = match building.await {
        Ok(trace) => trace,
        Err(error) => return Outcome::Complete(Err(error)),
    };
    // Only now: where descriptors are short, the tracer says so, and the runtime's signals would panic.
    let mut signals = Signals::listen();
    loop {
        tokio::select! {
            event = trace.next_event() => {
                let Some(event) = event else { break };
                trace!(?event);
                live.take(&event);
            }
            signal = signals.next() => {
                live.erase();
                return Outcome::Interrupted(signal, trace.stop().await);
            }
            () = live.due() => live.draw(),
        }
    }
    let outcome = trace.finish().await;
    // What is left is to write the results, to somebody who perhaps does not read.
    signals.end_by_the_next();
    Outcome::Complete(outcome)
}

/// Writes to standard output at once what is made in memory.
fn write_whole(make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut text = Vec::new();
    make(&mut text)?;
    let mut output = io::stdout();
    output.write_all(&text)?;
    output.flush()
}

/// The exit status after writing to standard output. A reader that has seen enough is a normal end.
fn finish(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format!("failed to write the results: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn fail(reason: &str) -> ExitCode {
    report(&format!("Error: {reason}"));
    ExitCode::FAILURE
}

/// Where standard error is closed there is nobody to tell.
fn report(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Logs to standard error, above what is drawn on the terminal.
fn log_everything(screen: Option<&Screen>) {
    let writer = match screen.cloned() {
        Some(screen) => BoxMakeWriter::new(move || screen.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        // It would need another crate for colours, and panics where it is asked for them without.
        .with_ansi(false)
        .with_writer(writer)
        // Otherwise it tells standard error that it cannot write to standard error, and panics.
        .log_internal_errors(false)
        .init();
}
