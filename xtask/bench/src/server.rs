//! The service as a process in a network, and what it has taken so far.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use traceroute_testnet::kernel::{Daemon, Namespace};

use crate::error::Error;

/// The program's name, beside the command's.
pub(crate) const PROGRAM: &str = "datadog-traceroute-server";
/// Where it listens.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3765);

/// How long requests whose answers have been read may take to end.
const SOON: Duration = Duration::from_secs(10);

/// The service, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    namespace: Namespace,
    daemon: Daemon,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(namespace: &Namespace, program: &Path, options: &[&str]) -> Result<Self, Error> {
        let mut command = namespace.command(&program.to_string_lossy());
        command.args(["--addr", &ADDRESS.to_string()]).args(options);
        Ok(Self { namespace: namespace.clone(), daemon: Daemon::start(command, "listening")? })
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Result<TcpStream, Error> {
        self.namespace
            .run(|| TcpStream::connect(ADDRESS))
            .map_err(|source| Error::System { what: "connecting to the service", source })
    }

    /// The time that it has spent on all processors, of user and system together.
    ///
    /// This is what /proc/PID/stat has, which is rounded to hundredths of a second there.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Error> {
        clock_of(self.daemon.id())
            .map_err(|source| Error::System { what: "reading the service's CPU time", source })
    }

    /// The most resident memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64, Error> {
        let path = format!("/proc/{}/status", self.daemon.id());
        let unreadable = |source| Error::System { what: "reading the service's peak memory", source };
        let status = fs::read_to_string(path).map_err(unreadable)?;
        peak(&status).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> Result<usize, Error> {
        let directory = fs::read_dir(format!("/proc/{}/fd", self.daemon.id()));
        let directory = directory
            .map_err(|source| Error::System { what: "reading the service's descriptors", source })?;
        Ok(directory.count())
    }

    /// Waits until it has no more descriptors than that.
    pub(crate) fn await_descriptors(&self, wanted: usize) -> Result<(), Error> {
        let started = Instant::now();
        while self.descriptors()? > wanted {
            if started.elapsed() > SOON {
                let source = io::ErrorKind::TimedOut.into();
                return Err(Error::System { what: "waiting for the end of the service's requests", source });
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// The memory that is its own and nobody else's, in bytes.
    pub(crate) fn private_memory(&self) -> Result<u64, Error> {
        let path = format!("/proc/{}/smaps_rollup", self.daemon.id());
        let unreadable = |source| Error::System { what: "reading the service's memory", source };
        private(&fs::read_to_string(path).map_err(unreadable)?)
            .ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))
    }

    /// Ends it and waits until the kernel has closed its captures, which would delay the packets of the next.
    pub(crate) fn stop(self) -> Result<(), Error> {
        let namespace = self.namespace.clone();
        drop(self);
        Ok(namespace.await_no_packet_sockets()?)
    }
}

/// The CPU time of another process.
fn clock_of(process: u32) -> io::Result<Duration> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    let (mut clock, mut time) = (0, MaybeUninit::<libc::timespec>::zeroed());
    // SAFETY: the pointer is to a live clock id, which is all that clock_getcpuclockid writes.
    let error = unsafe { libc::clock_getcpuclockid(process, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the pointer is to a whole `timespec`, which is all that clock_gettime writes.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `timespec` consists of integers, for which zeros are values, and clock_gettime has filled it in.
    let time = unsafe { time.assume_init() };
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
}

/// What `/proc/PID/smaps_rollup` says of memory that is nobody else's, in bytes.
fn private(rollup: &str) -> Option<u64> {
    let lines = rollup.lines().filter_map(|line| line.strip_prefix("Private_"));
    let kilobytes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.reduce(|sum, more| sum + more).map(|sum| sum * 1024)
}

/// What /proc/PID/status says of the peak of resident memory, in bytes.
fn peak(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Some(kilobytes?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_peak_is_found_among_the_lines_of_a_status() {
        assert_eq!(peak("VmPeak:\t   9000 kB\nVmHWM:\t    1500 kB\nVmRSS:\t    1000 kB\n"), Some(1_536_000));
        assert_eq!(peak("VmHWM:\tmuch\n"), None);
        assert_eq!(peak(""), None);
    }

    #[test]
    fn what_is_private_is_added_up() {
        let rollup =
            "Pss:  9 kB\nPrivate_Clean:  4 kB\nPrivate_Dirty:  1000 kB\nPrivate_Hugetlb:  0 kB\nSwap: 1 kB\n";
        assert_eq!(private(rollup), Some(1_028_096));
        assert_eq!(private("Pss:  9 kB\n"), None);
    }

    #[test]
    fn the_time_of_another_process_grows_while_it_works() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let started = Instant::now();
        while clock_of(busy.id()).unwrap() < Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(30));
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(clock_of(busy.id()).is_err());
    }
}
