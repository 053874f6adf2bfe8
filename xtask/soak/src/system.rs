//! What the system says of this process, and of others.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;

/// Resident memory in bytes.
pub(crate) fn resident() -> Result<u64, Error> {
    resident_of("self")
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_of(process: &str) -> Result<u64, Error> {
    const READING: &str = "reading /proc/PID/status";
    let status = fs::read_to_string(format!("/proc/{process}/status")).map_err(Error::system(READING))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes = kilobytes.and_then(|number| number.parse::<u64>().ok());
    let unknown = || Error::system(READING)(io::ErrorKind::InvalidData.into());
    kilobytes.map(|number| number * 1024).ok_or_else(unknown)
}

/// Open descriptors, without the one that this takes.
pub(crate) fn descriptors() -> Result<u64, Error> {
    Ok(descriptors_of("self")?.saturating_sub(1))
}

/// Open descriptors of a process.
pub(crate) fn descriptors_of(process: &str) -> Result<u64, Error> {
    count(&format!("/proc/{process}/fd"))
}

/// Threads of a process.
pub(crate) fn threads_of(process: &str) -> Result<u64, Error> {
    count(&format!("/proc/{process}/task"))
}

fn count(directory: &str) -> Result<u64, Error> {
    Ok(fs::read_dir(directory).map_err(Error::system("counting what a process has"))?.count() as u64)
}

/// Lets what the command starts end when the thread that starts it does, however that ends.
pub(crate) fn end_with_this_process(command: &mut Command) {
    let end = || {
        // SAFETY: the call takes a number and changes nothing but what becomes of this process.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    };
    // SAFETY: between fork and exec the closure only calls prctl, which is async-signal-safe.
    unsafe { command.pre_exec(end) };
}

/// Packet sockets in this network namespace: captures.
pub(crate) fn captures() -> Result<usize, Error> {
    let table = fs::read_to_string("/proc/net/packet").map_err(Error::system("reading /proc/net/packet"))?;
    Ok(table.lines().skip(1).count())
}

/// Takes away all descriptors above `limit`, for good.
pub(crate) fn limit_descriptors(limit: u32) -> Result<(), Error> {
    let limit = libc::rlimit { rlim_cur: limit.into(), rlim_max: limit.into() };
    // SAFETY: the pointer is to a whole `rlimit`, which setrlimit only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        return Ok(());
    }
    Err(Error::system("limiting descriptors")(io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted() {
        // Other tests open few, these are many.
        let before = descriptors().unwrap();
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors().unwrap() >= before + 150);
        drop(files);
        assert!(descriptors().unwrap() < before + 50);
    }

    #[test]
    fn other_processes_are_looked_at_and_end_with_the_thread_that_started_them() {
        let mut other = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            end_with_this_process(command.arg("60"));
            let other = command.spawn().unwrap();
            let process = other.id().to_string();
            assert_eq!(threads_of(&process).unwrap(), 1);
            assert!(descriptors_of(&process).unwrap() >= 3);
            assert!(resident_of(&process).unwrap() > 0);
            other
        })
        .join()
        .unwrap();
        assert!(!other.wait().unwrap().success());
    }

    #[test]
    fn memory_is_read() {
        assert!(resident().unwrap() > 1 << 20);
        captures().unwrap();
    }
}
