//! Many processes of another program.

use std::io;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Answer, Failure, nanos, raise_descriptor_limit};
use crate::bed::first_missing;

pub(super) fn measure(line: &[String], path: &[IpAddr], processes: usize) -> Result<Answer, Failure> {
    let [program, arguments @ ..] = line else { return Err(Failure::NoOrder) };
    // Each has a pipe.
    raise_descriptor_limit()?;
    let started = Instant::now();
    let start = || Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let children = (0..processes).map(|_| start()).collect::<io::Result<Vec<Child>>>()?;
    let mut right = 0;
    for child in children {
        let output = child.wait_with_output()?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        right += usize::from(output.status.success() && first_missing(&stdout, path).is_none());
    }
    let wall = nanos(started.elapsed());
    Ok(Answer { traces: processes, right, wall, round_trips: Vec::new() })
}
