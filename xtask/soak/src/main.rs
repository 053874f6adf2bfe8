//! What `cargo xtask soak` runs: the library and the service under load for minutes, and whether all that it claims holds to the end.
//!
//! A package of its own for the reason that `xtask-bench` is one. The method is in `docs/performance.md`.
//!
//! There are two processes. The first plays the network and watches what passes on the wire; it starts the second, the
//! *worker*, which is this program again, inside the client's network namespace. The worker holds the library and
//! nothing else of size, so that its memory is the library's.
//!
//! | module | subject |
//! |---|---|
//! | `plan` | the scenarios: which request is started when |
//! | `bed` | the network, the paths and the delays that are right |
//! | `claim` | what is printed |
//! | `parent` | the first process |
//! | `wire`, `probe` | what it sees on the wire |
//! | `quarantine`, `pace`, `fairness` | what it concludes |
//! | `worker` | the second process |
//! | `load` | starts the requests and waits for them |
//! | `results` | whether what they gave is right |
//! | `endurance` | whether memory and descriptors stay flat, and what is left |
//! | `sample`, `system`, `slope` | how that is measured |
//! | `service` | the same for the service |
//! | `server` | its process, which the worker starts, and what that holds |
//! | `visit`, `http`, `answer` | what its clients do, how they ask, and whether what they get is right |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

#[cfg(target_os = "linux")]
mod answer;
#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod bed;
#[cfg(target_os = "linux")]
mod claim;
#[cfg(target_os = "linux")]
mod endurance;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod fairness;
#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod quarantine;
#[cfg(target_os = "linux")]
mod results;
#[cfg(target_os = "linux")]
mod sample;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod service;
#[cfg(target_os = "linux")]
mod slope;
#[cfg(target_os = "linux")]
mod system;
#[cfg(target_os = "linux")]
mod visit;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == worker::WORKER).is_some() {
        return worker::main(words);
    }
    parent::main(words)
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("soak: the test networks need Linux");
    std::process::ExitCode::FAILURE
}
