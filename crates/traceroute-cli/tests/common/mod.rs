//! Running the program in a namespace, and reading what it prints.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use traceroute_testnet::kernel::{Chain, Namespace, Scratch};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_datadog-traceroute");
pub(crate) const METHODS: [&str; 3] = ["udp", "icmp", "tcp"];

/// A command line of the program, to be run in `namespace`.
pub(crate) fn program(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command(PROGRAM);
    command.args(arguments);
    command
}

/// Runs the program to its end.
pub(crate) fn trace(namespace: &Namespace, arguments: &[&str]) -> Outcome {
    start(&mut program(namespace, arguments)).wait()
}

/// Starts a command with its outputs captured.
pub(crate) fn start(command: &mut Command) -> Running {
    start_with(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Starts a command with its outputs as they are.
pub(crate) fn start_with(command: &mut Command) -> Running {
    Running { started: Instant::now(), child: command.spawn().unwrap() }
}

/// A process under way.
pub(crate) struct Running {
    started: Instant,
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn wait(self) -> Outcome {
        let output = self.child.wait_with_output().unwrap();
        Outcome {
            took: self.started.elapsed(),
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    /// `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The result of a trace that went well: status 0 and nothing on standard error.
    #[track_caller]
    pub(crate) fn report(&self) -> Report {
        assert_eq!((self.status, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.json()
    }

    /// What is on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Report {
        Report(serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}")))
    }

    /// The reason of a failure: status 1, nothing on standard output, one line on standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        assert_eq!((self.status, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr
            .strip_prefix("Error: ")
            .and_then(|rest| rest.strip_suffix('\n'))
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The reason of a failure, which has to name all of `parts`.
    #[track_caller]
    pub(crate) fn error_naming(&self, parts: &[&str]) {
        let reason = self.error();
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not name {part:?}");
        }
    }
}

/// The JSON of a trace.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn runs(&self) -> &[Value] {
        self.0["traceroute"]["runs"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The only run.
    #[track_caller]
    pub(crate) fn run(&self) -> &Value {
        let [run] = self.runs() else { panic!("one run expected: {}", self.0) };
        run
    }

    /// Checks that there are `runs` runs, that each has `path` as its hops and reached the destination, and that every
    /// round trip is one of kernel stamps.
    #[track_caller]
    pub(crate) fn assert_reached(&self, runs: usize, path: &[String]) {
        assert_eq!(self.runs().len(), runs, "{}", self.0);
        assert!(self.0.get("warnings").is_none(), "{}", self.0);
        for run in self.runs() {
            assert_eq!(addresses(run), path, "{run}");
            assert_eq!((&run["reached"], &run["end_reason"]), (&true.into(), &"destination".into()), "{run}");
            for hop in hops(run) {
                let answered = hop["ip_address"] != "";
                assert_eq!(hop["reachable"], answered, "{run}");
                assert_eq!(hop["rtt"].as_f64().unwrap() > 0.0, answered, "{run}");
                assert!(hop.get("rtt_source").is_none(), "a round trip without kernel stamps: {run}");
                assert!(hop.get("unreachable").is_none(), "{run}");
            }
        }
    }

    /// Checks that of `sent` end-to-end probes `received` were answered.
    #[track_caller]
    pub(crate) fn assert_end_to_end(&self, sent: u64, received: u64) {
        let probes = &self.0["e2e_probe"];
        assert_eq!(
            (probes["packets_sent"].as_u64(), probes["packets_received"].as_u64()),
            (Some(sent), Some(received)),
            "{probes}"
        );
    }
}

pub(crate) fn hops(run: &Value) -> &[Value] {
    run["hops"].as_array().unwrap()
}

/// The hops' addresses, checked to be in order and without gaps; "" where nothing answered.
#[track_caller]
pub(crate) fn addresses(run: &Value) -> Vec<&str> {
    let numbered = (1_u64..).zip(hops(run));
    numbered
        .map(|(ttl, hop)| {
            assert_eq!(hop["ttl"].as_u64(), Some(ttl), "{run}");
            hop["ip_address"].as_str().unwrap()
        })
        .collect()
}

/// Both addresses of the target.
pub(crate) fn targets(chain: &Chain) -> [IpAddr; 2] {
    let addresses = chain.target().addresses();
    [addresses.v4.into(), addresses.v6.into()]
}

/// Every method to both addresses of the target.
pub(crate) fn cases(chain: &Chain) -> impl Iterator<Item = (&'static str, IpAddr)> + Clone {
    let targets = targets(chain);
    METHODS.into_iter().flat_map(move |method| targets.map(|target| (method, target)))
}

/// The addresses of routers and target, of the family of `target`.
pub(crate) fn path(chain: &Chain, target: IpAddr) -> Vec<String> {
    chain.path(target).iter().map(IpAddr::to_string).collect()
}

/// A path with nothing where `silent` routers are, counted from 1.
pub(crate) fn silent_at(mut path: Vec<String>, silent: &[usize]) -> Vec<String> {
    for ttl in silent {
        path[ttl - 1].clear();
    }
    path
}

/// The program where everybody may run it.
pub(crate) fn installed(scratch: &Scratch) -> PathBuf {
    let copy = scratch.path().join("datadog-traceroute");
    // By another process: a child forked meanwhile by another test would hold a file open that is written here,
    // and the kernel runs no such file.
    let copied = Command::new("install").args(["-m", "755", PROGRAM]).arg(&copy).status().unwrap();
    assert!(copied.success());
    copy
}

/// A command line of the program, to be run in `namespace` with other files in the place of some of the system's.
pub(crate) fn program_with_files(
    namespace: &Namespace,
    files: &[(&str, &str)],
    arguments: &[&str],
) -> Command {
    let mut command = namespace.command_with_files(PROGRAM, files);
    command.args(arguments);
    command
}
