//! Anonymous network namespaces.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, panic, thread};

use crate::error::Error;
use crate::sys;

const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const CLOSED_RETRY: Duration = Duration::from_millis(1);

/// A network namespace that exists as long as this value, a process inside it, or another descriptor of it.
///
/// Its loopback interface is up.
#[derive(Clone)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes an empty namespace.
    pub fn new() -> Result<Self, Error> {
        on_new_thread(|| {
            sys::unshare_network().map_err(Error::privileged("making a network namespace"))?;
            sys::interface::bring_up("lo").map_err(Error::system("bringing lo up"))?;
            let file = File::open("/proc/thread-self/ns/net")
                .map_err(Error::system("opening /proc/thread-self/ns/net"))?;
            Ok(Self { fd: Arc::new(file.into()) })
        })
    }

    /// Runs a closure on a new thread inside the namespace and returns its result, or panics as it did.
    ///
    /// Sockets made inside stay in the namespace and can be used anywhere.
    ///
    /// # Panics
    ///
    /// When the namespace cannot be entered, which takes root.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        on_new_thread(|| {
            if let Err(error) = sys::enter_network(self.fd.as_fd()) {
                panic!("entering the network namespace: {error}");
            }
            f()
        })
    }

    /// A command that, wherever it is spawned, runs inside the namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let fd = Arc::clone(&self.fd);
        let enter = move || -> io::Result<()> { sys::enter_network(fd.as_fd()) };
        // SAFETY: between fork and exec the closure only calls setns, which is async-signal-safe.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// The same, with other files in the place of some of the system's: ours, and those that they stand for.
    #[must_use]
    pub fn command_with_files(&self, program: &str, files: &[(&str, &str)]) -> Command {
        let mut command = self.command("unshare");
        let mounts = files
            .iter()
            .fold(String::new(), |script, (ours, place)| script + &format!("mount --bind {ours} {place}; "));
        command.args(["--mount", "sh", "-euc"]).arg(mounts + "exec \"$0\" \"$@\"").arg(program);
        command
    }

    /// The number of packet sockets in the namespace: its captures.
    ///
    /// # Panics
    ///
    /// Without procfs.
    #[must_use]
    pub fn packet_sockets(&self) -> usize {
        let lines = self.run(|| fs::read_to_string("/proc/thread-self/net/packet"));
        // The first line is the heading.
        lines.unwrap_or_else(|error| panic!("/proc/thread-self/net/packet: {error}")).lines().count() - 1
    }

    /// Waits until the namespace has no packet socket. The kernel may close one some time after its last descriptor.
    pub fn await_no_packet_sockets(&self) -> Result<(), Error> {
        let start = Instant::now();
        while start.elapsed() < CLOSED_WITHIN {
            if self.packet_sockets() == 0 {
                return Ok(());
            }
            thread::sleep(CLOSED_RETRY);
        }
        let what = format!("{} packet sockets are still open", self.packet_sockets());
        Err(Error::NotReady { what, waited: CLOSED_WITHIN })
    }

    /// A path that names the namespace to every process on this machine that may look into this one.
    ///
    /// It is good as long as this value (or a clone) lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.path()).finish()
    }
}

fn on_new_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(f).join()).unwrap_or_else(|payload| panic::resume_unwind(payload))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn namespaces_are_separate_and_their_loopback_is_up() {
        let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let bind = || UdpSocket::bind("127.0.0.1:4242").unwrap();
        let (in_a, _in_b) = (a.run(bind), b.run(bind));
        in_a.send_to(b"x", in_a.local_addr().unwrap()).unwrap();
        assert_eq!(in_a.recv(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn a_command_runs_inside() {
        let namespace = Namespace::new().unwrap();
        namespace.ip("link add inside type veth peer name other").unwrap();
        let output = namespace.command("ip").args(["-brief", "link"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("inside"));
        let outside = Command::new("ip").args(["-brief", "link"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&outside.stdout).contains("inside"));
    }

    #[test]
    fn the_path_can_be_entered() {
        let namespace = Namespace::new().unwrap();
        let file = File::open(namespace.path()).unwrap();
        on_new_thread(|| {
            sys::enter_network(file.as_fd()).unwrap();
            let inside = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            assert_eq!(inside, namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()));
        });
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn a_panic_inside_is_a_panic_outside() {
        Namespace::new().unwrap().run(|| panic!("inside"));
    }
}
