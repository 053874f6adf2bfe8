//! On what is measured.

use std::fs;
use std::thread;

use crate::error::Error;
use crate::tool::{PEERS, Tool};

/// The machine and the programs, a line each.
pub(crate) fn describe(ours: &Tool) -> Result<Vec<String>, Error> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(model).unwrap_or("unknown processor").to_owned();
    let mut lines = vec![
        format!("machine: {cores} cores of {processor}, Linux {}", kernel.trim()),
        format!("ours: {}", ours.name_and_version()?),
    ];
    for (tool, package, _) in PEERS {
        lines.push(format!("{package}: {}", tool.name_and_version()?));
    }
    Ok(lines)
}

/// The processor's name, from a line of /proc/cpuinfo.
fn model(line: &str) -> Option<&str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == "model name").then_some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(model("model name\t: AMD EPYC 7B13"), Some("AMD EPYC 7B13"));
        assert_eq!(model("model\t\t: 1"), None);
        assert_eq!(model(""), None);
    }
}
