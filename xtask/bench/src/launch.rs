//! One run of a program: what it printed, and its time, CPU time and memory.
//!
//! A program is started by a launcher, which is this program again. What the kernel counts as a process's peak memory
//! begins with that of the process that forked it, and a launcher is as small as a process can be; besides, it forks
//! faster.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use traceroute_testnet::kernel::Namespace;

use crate::error::Error;

/// The first argument that makes this program a launcher.
pub(crate) const LAUNCHER: &str = "launch";

/// What one run of a program took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// From before the fork to after the exit.
    pub(crate) wall: Duration,
    /// Of user and system together.
    pub(crate) cpu: Duration,
    /// Peak resident memory in bytes.
    pub(crate) memory: u64,
}

/// What a program printed and took.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) usage: Usage,
}

/// Runs a command line, in a namespace if one is given.
pub(crate) fn run(namespace: Option<&Namespace>, line: &[OsString]) -> Result<Outcome, Error> {
    let program = || line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let cannot_start = |source| Error::CannotStart { program: program(), source };
    let launcher = std::env::current_exe().map_err(cannot_start)?;
    let mut command = match namespace {
        Some(namespace) => namespace.command(&launcher.to_string_lossy()),
        None => Command::new(launcher),
    };
    let output = command.arg(LAUNCHER).args(line).stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } = output.map_err(cannot_start)?;
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        return Err(Error::Failed { program: program(), status, stderr });
    }
    let stdout = String::from_utf8_lossy(&stdout);
    let (printed, last) = stdout.trim_end().rsplit_once('\n').unwrap_or(("", stdout.trim_end()));
    let usage = Usage::parse(last);
    let usage = usage.ok_or_else(|| Error::Unmeasured { program: program(), line: last.to_owned() })?;
    Ok(Outcome { stdout: printed.to_owned(), usage })
}

/// The launcher: runs a command line and then prints, on a line of its own, what it took.
pub(crate) fn launcher(mut line: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = line.next() else {
        eprintln!("no program to launch");
        return ExitCode::FAILURE;
    };
    let start = Instant::now();
    let status = Command::new(&program).args(line).status();
    let wall = start.elapsed();
    match (status, usage_of_children(wall)) {
        (Ok(status), Ok(usage)) if status.success() => {
            println!("\n{}", usage.line());
            ExitCode::SUCCESS
        }
        (Ok(status), Ok(_)) => {
            eprintln!("{status}");
            ExitCode::FAILURE
        }
        (Err(error), _) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::FAILURE
        }
        (_, Err(error)) => {
            eprintln!("getrusage: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What all children that have been waited for took.
fn usage_of_children(wall: Duration) -> io::Result<Usage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which is all that getrusage writes.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `rusage` consists of integers, for which zeros are values, and getrusage has filled it in.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        let micros =
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_micros(micros)
    };
    Ok(Usage {
        wall,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    })
}

impl Usage {
    fn line(self) -> String {
        format!("took {} {} {}", self.wall.as_nanos(), self.cpu.as_nanos(), self.memory)
    }

    /// Reads what [`line`](Self::line) has written.
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix("took ")?.split(' ').map(|word| word.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let (wall, cpu, memory) = (next()?, next()?, next()?);
        Some(Self { wall: Duration::from_nanos(wall), cpu: Duration::from_nanos(cpu), memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_survives_the_pipe() {
        let usage = Usage {
            wall: Duration::from_nanos(12_345_678),
            cpu: Duration::from_micros(4567),
            memory: 5 << 20,
        };
        assert_eq!(Usage::parse(&usage.line()), Some(usage));
        for line in ["", "took", "took 1 2", "took 1 2 x", "8  10.71.8.2  0.1 ms"] {
            assert_eq!(Usage::parse(line), None, "{line}");
        }
    }

    #[test]
    fn children_are_counted() {
        assert!(Command::new("true").status().unwrap().success());
        let usage = usage_of_children(Duration::ZERO).unwrap();
        assert!(usage.memory > 100_000, "{usage:?}");
    }
}
