//! What `cargo xtask bench` runs: one table of the product's figures, each beside its limit or a peer's figure.
//!
//! A package of its own, because `cargo xtask lint` has to build, and fast, also while the crates that this one uses
//! do not. The method is in `docs/performance.md`.
//!
//! | module | subject |
//! |---|---|
//! | `experiments` | what is measured: the place to add an experiment |
//! | `experiment` | what an experiment is, how it is measured and its rows judged |
//! | `noise` | whether the machine is quiet enough to conclude |
//! | `statistics` | medians and quartiles |
//! | `table` | what is printed |
//! | `bed` | the networks |
//! | `tool` | the programs and their command lines |
//! | `codecs` | the benchmarks of the pure crates |
//! | `launch` | one run of a program: its time, CPU time and memory |
//! | `load` | this program as a load: many traces in one process, or many requests to the service |
//! | `server` | the service: its CPU time and memory |
//! | `hops` | the hops of our JSON |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod bed;
#[cfg(target_os = "linux")]
mod codecs;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod experiment;
#[cfg(target_os = "linux")]
mod experiments;
#[cfg(target_os = "linux")]
mod hops;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod noise;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod statistics;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod tool;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("bench: the test networks need Linux");
    std::process::ExitCode::FAILURE
}
