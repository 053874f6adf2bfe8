//! The `datadog-traceroute` command.

mod args;
mod signals;
mod usage;

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::net::UdpSocket;
use std::process::ExitCode;

use clap::Parser;
use traceroute::{Error, InvalidRequest, Request, Results, Style, Tracer, write_json};
use tracing::{Level, trace};

use crate::args::{Args, Command};
use crate::signals::Signals;

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
    match args.command {
        Some(Command::Version) => return finish(writeln!(io::stdout(), "{}", env!("VERSION_LINE"))),
        Some(Command::Completion { .. }) => {
            return fail(&InvalidRequest::NotAvailable { what: "completion".into() }.to_string());
        }
        None => {}
    }
    if args.verbose {
        log_everything();
    }
    let request = match args.request() {
        Ok(request) => request,
        Err(reason) => return fail(&format!("failed to run traceroute: {reason}")),
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match enough_descriptors().and_then(|()| runtime()) {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&format!(
                "failed to run traceroute: {error}; `ulimit -n` shows and raises the limit"
            ));
        }
    };
    // Where the kernel does not close the capture in the background, it takes some 10 ms: not before the results.
    let mut tracer = None;
    match runtime.block_on(run(request, &mut tracer)) {
        Outcome::Complete(Ok(results)) => finish(write_results(&results)),
        Outcome::Complete(Err(error)) => fail(&format!("failed to run traceroute: {error}")),
        Outcome::Interrupted(signal, outcome) => {
            if let Ok(results) = outcome {
                report("interrupted: these results are incomplete");
                finish(write_results(&results));
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
async fn run(request: Request, tracer: &mut Option<Tracer>) -> Outcome {
    let building = async { tracer.insert(Tracer::builder().build().await?).start(request) };
    let mut trace = match building.await {
        Ok(trace) => trace,
        Err(error) => return Outcome::Complete(Err(error)),
    };
    // Only now: where descriptors are short, the tracer says so, and the runtime's signals would panic.
    let mut signals = Signals::listen();
    loop {
        tokio::select! {
            event = trace.next_event() => match event {
                Some(event) => trace!(?event),
                None => return Outcome::Complete(trace.finish().await),
            },
            signal = signals.next() => return Outcome::Interrupted(signal, trace.stop().await),
        }
    }
}

fn write_results(results: &Results) -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    write_json(results, Style::Pretty, &mut output)?;
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

fn log_everything() {
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // Otherwise it tells standard error that it cannot write to standard error, and panics.
        .log_internal_errors(false)
        .init();
}
