//! Programs that serve until they are ended.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::error::Error;

/// A program that serves, and is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts a program and waits until it has written `ready` to standard error. What it writes there afterwards is read, and
    /// thrown away: unread, it would fill the pipe.
    pub fn start(mut command: Command, ready: &str) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |what: &str| Error::system(format!("{what} {program}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed("starting"))?;
        let log = child.stderr.take();
        let daemon = Self(child);
        let mut log = BufReader::new(
            log.ok_or_else(|| io::ErrorKind::BrokenPipe.into()).map_err(failed("listening to"))?,
        );
        let mut said = String::new();
        while !said.contains(ready) {
            if log.read_line(&mut said).map_err(failed("listening to"))? == 0 {
                return Err(Error::Ended { program, said });
            }
        }
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(daemon)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A child that has ended already is none to kill, and can be waited for all the same.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn it_is_there_from_when_it_is_ready_until_it_is_dropped() {
        // More than a pipe holds.
        let daemon = Daemon::start(
            shell("echo first >&2; echo ready >&2; head -c 1000000 /dev/zero >&2; exec sleep 1000"),
            "ready",
        );
        let daemon = daemon.expect("it is ready");
        let process = format!("/proc/{}", daemon.id());
        assert!(Path::new(&process).exists());
        drop(daemon);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn what_it_said_is_told_if_it_ends_before() {
        let error = Daemon::start(shell("echo no such thing >&2"), "ready").expect_err("it ends");
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
