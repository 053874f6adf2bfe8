//! The `datadog-traceroute-server` command.

mod advice;
mod args;
mod log;
mod signals;

use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use traceroute_server::{Service, keep_only_what_tracing_needs, listen, serve};
use tracing::{info, warn};

use crate::advice::{LIMIT, with_advice};
use crate::args::{Args, Settings, one_line, unknown_variables};

fn main() -> ExitCode {
    let args = match Args::read(env::args_os()) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => return fail(&one_line(&error)),
        Err(help) => return finish(&write!(io::stdout(), "{}", help.render())),
    };
    match args.settings().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    }
}

/// Serves until a signal ends it.
fn run(settings: Settings) -> Result<(), String> {
    let Settings { address, log, options, connections, tracer } = settings;
    let listener = listen(&address).map_err(|error| format!("cannot listen at {address:?}: {error}"))?;
    let bound = listener.local_addr().map_or(address, |bound| bound.to_string());
    let tracer = tracer.prepare().map_err(|error| with_advice(&error))?;
    // Before there are other threads, and after what may need more: a port below 1024, a file with a token, a large buffer. Its
    // log has a thread, too.
    keep_only_what_tracing_needs().map_err(|error| format!("cannot give up privileges: {error}"))?;
    let _log = log::begin(log);
    for name in unknown_variables(env::vars_os().map(|(name, _)| name)) {
        warn!(name, "no flag has this environment variable, which has no effect; --help lists the flags");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("{error}; {LIMIT}"))?;
    runtime.block_on(async {
        let service = Service::open(options, tracer).await.map_err(|error| with_advice(&error))?;
        let end = signals::first().map_err(|error| format!("cannot listen to signals: {error}"))?;
        info!(address = bound, version = env!("VERSION"), "listening");
        serve(listener, service, connections, end).await.map_err(|error| error.to_string())
    })?;
    info!("ended");
    Ok(())
}

/// The exit status after writing to standard output. A reader that has seen enough is a normal end.
fn finish(written: &io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&format!("failed to write: {error}")),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(reason: &str) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    writeln!(io::stderr(), "Error: {reason}").unwrap_or_default();
    ExitCode::FAILURE
}
