//! Running the service in a namespace, and asking it.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

pub(crate) mod http;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_getfd,
    pidfd_open, setrlimit,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use traceroute_core::Direction;
use traceroute_testnet::CapturedPacket;
use traceroute_testnet::kernel::{Chain, Namespace};

pub(crate) use self::http::*;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_datadog-traceroute-server");
/// The reference's port.
const ADDRESS: &str = "127.0.0.1:3765";
/// No answer takes longer in these networks, unless it is to.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nothing that is to happen by itself takes longer.
const SOON: Duration = Duration::from_secs(10);
/// How often somebody looks whether it has happened.
const LOOK: Duration = Duration::from_millis(2);

/// The service, which is killed when this is dropped.
pub(crate) struct Server<'a> {
    namespace: &'a Namespace,
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

/// What the service has written so far.
#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
    /// Whether there will be no more.
    ended: AtomicBool,
}

impl Log {
    /// Waits until the log has a line with `part`.
    #[track_caller]
    fn wait_for(&self, part: &str) {
        let text = self.text.lock().unwrap();
        let missing = |text: &mut String| !text.contains(part) && !self.ended.load(Ordering::Relaxed);
        let (text, _) = self.grown.wait_timeout_while(text, PATIENCE, missing).unwrap();
        assert!(text.contains(part), "no {part:?} in the log: {text}");
    }
}

impl<'a> Server<'a> {
    /// Starts the service and waits until it listens.
    #[track_caller]
    pub(crate) fn start(namespace: &'a Namespace, arguments: &[&str]) -> Self {
        let mut command = namespace.command(PROGRAM);
        command.args(arguments);
        Self::run(namespace, command)
    }

    /// The same, of a command that runs it.
    #[track_caller]
    pub(crate) fn run(namespace: &'a Namespace, mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::<Log>::default();
        let writer = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in lines {
                *writer.text.lock().unwrap() += &(line.unwrap() + "\n");
                writer.grown.notify_all();
            }
            // Under the lock, so that nobody who has just looked misses it.
            let _text = writer.text.lock().unwrap();
            writer.ended.store(true, Ordering::Relaxed);
            writer.grown.notify_all();
        });
        log.wait_for("listening");
        Self { namespace, child, log, reader: Some(reader) }
    }

    /// Starts the service, whose log nobody reads while it is there, and waits until it can be connected to.
    #[track_caller]
    pub(crate) fn unread(namespace: &'a Namespace, arguments: &[&str]) -> Self {
        let mut command = namespace.command(PROGRAM);
        let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let server = Self { namespace, child, log: Arc::default(), reader: None };
        let connects = || namespace.run(|| TcpStream::connect(ADDRESS)).is_ok();
        server.await_value("a connection", connects, |connects| *connects);
        server
    }

    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Waits until the log has a line with `part`.
    #[track_caller]
    pub(crate) fn wait_for(&self, part: &str) {
        self.log.wait_for(part);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn proc(&self) -> PathBuf {
        format!("/proc/{}", self.pid()).into()
    }

    /// How many descriptors, and how many threads, it has.
    pub(crate) fn resources(&self) -> (usize, usize) {
        let count = |directory: &str| fs::read_dir(self.proc().join(directory)).unwrap().count();
        (count("fd"), count("task"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; its status, as a shell reports it, and its log.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.code().or(status.signal().map(|signal| 128 + signal)).unwrap(), self.log())
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = self.namespace.run(|| TcpStream::connect(ADDRESS)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        Asked::on(self.connect(), method, path, headers).answer()
    }

    /// So many connections to it, of four clients in turn: one may not have them all.
    pub(crate) fn connections(&self, count: usize) -> Vec<TcpStream> {
        self.connections_of((2..6).cycle().take(count))
    }

    /// So many connections of the client at this address of 127.0.0.0/24.
    pub(crate) fn connections_as(&self, client: u8, count: usize) -> Vec<TcpStream> {
        self.connections_of(std::iter::repeat_n(client, count))
    }

    pub(crate) fn connect_as(&self, client: u8) -> TcpStream {
        self.connections_as(client, 1).remove(0)
    }

    fn connections_of(&self, clients: impl Iterator<Item = u8> + Send) -> Vec<TcpStream> {
        let connect = |client| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, client], 0)).into()).unwrap();
            socket.connect(&ADDRESS.parse::<SocketAddr>().unwrap().into()).unwrap();
            TcpStream::from(socket)
        };
        let streams: Vec<TcpStream> = self.namespace.run(|| clients.map(connect).collect());
        for stream in &streams {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        streams
    }

    /// Sends the head of a request, on a connection that stays open after its answer.
    pub(crate) fn send(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(head(path).as_bytes()).unwrap();
        stream
    }

    /// A client that does not read its answer, which is there and is more than the buffers of a connection take.
    pub(crate) fn deaf_client(&self) -> TcpStream {
        small_buffers(self.namespace);
        // Some 400 KiB.
        let path = "/traceroute?target=127.0.0.1&traceroute-queries=1000&e2e-queries=0";
        let asked = Asked::on(self.connect(), "GET", path, &[("x-request-id", "deaf")]);
        self.wait_for("id=deaf");
        asked.stream
    }

    /// Its end of a client's connection.
    #[track_caller]
    pub(crate) fn end_of(&self, client: &TcpStream) -> Socket {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let client = client.local_addr().unwrap();
        let mut ends = fs::read_dir(self.proc().join("fd")).unwrap().filter_map(|entry| {
            let number = entry.unwrap().file_name().to_str()?.parse().ok()?;
            Some(Socket::from(pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?))
        });
        let of_client = |end: &Socket| {
            let peer = end.peer_addr().ok().and_then(|peer| peer.as_socket());
            peer.is_some_and(|peer| (peer.ip().to_canonical(), peer.port()) == (client.ip(), client.port()))
        };
        ends.find(of_client).unwrap()
    }

    /// The value of one of its metrics.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.get("/metrics").metric(name)
    }

    /// Waits until one of its metrics is as it should be.
    #[track_caller]
    pub(crate) fn await_metric(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        self.await_value(name, || self.metric(name), |value| wanted(*value));
    }

    /// Waits until it has as many descriptors and threads as it had.
    #[track_caller]
    pub(crate) fn await_resources(&self, before: (usize, usize)) {
        self.await_value("descriptors and threads", || self.resources(), |now| *now == before);
    }

    #[track_caller]
    fn await_value<T: std::fmt::Debug>(
        &self,
        what: &str,
        value: impl Fn() -> T,
        wanted: impl Fn(&T) -> bool,
    ) {
        let started = Instant::now();
        loop {
            let now = value();
            if wanted(&now) {
                return;
            }
            if started.elapsed() > SOON {
                let log: Vec<_> =
                    self.log().lines().filter(|line| !line.contains("/metrics")).map(str::to_owned).collect();
                panic!("{what} stay {now:?}: {log:#?}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Its memory in KiB that no other process has a part of.
    pub(crate) fn private_memory(&self) -> u64 {
        let text = std::fs::read_to_string(self.proc().join("smaps_rollup")).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("Private_"));
        lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Lets connections in a namespace hold little that nobody reads.
pub(crate) fn small_buffers(namespace: &Namespace) {
    let small = "65536 65536 65536";
    namespace.sysctl(&[("net.ipv4.tcp_wmem", small), ("net.ipv4.tcp_rmem", small)]).unwrap();
}

/// A command that runs the service in `namespace` with other files in the place of some of the system's.
pub(crate) fn with_files(namespace: &Namespace, files: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = namespace.command_with_files(PROGRAM, files);
    command.args(arguments);
    command
}

/// Status and standard error of a service that is not to start.
#[track_caller]
pub(crate) fn refusal(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    // Line by line: one that did start would not come to an end.
    let stderr = BufReader::new(child.stderr.take().unwrap());
    for line in stderr.lines() {
        said += &(line.unwrap() + "\n");
        if said.contains("listening") {
            child.kill().unwrap();
        }
    }
    (child.wait().unwrap().code(), said)
}

/// The addresses of the hops of a run.
pub(crate) fn addresses(run: &Value) -> Vec<&str> {
    run["hops"].as_array().unwrap().iter().map(|hop| hop["ip_address"].as_str().unwrap()).collect()
}

/// Lets this process open as many descriptors as it may allow itself: both ends of connections are not in one process, but
/// thousands of one end are.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// The addresses of routers and target, of the family of `target`.
pub(crate) fn path(chain: &Chain, target: IpAddr) -> Vec<String> {
    chain.path(target).iter().map(IpAddr::to_string).collect()
}

/// Where captured packets went that left, except for those that IPv6 sends to its neighbours by itself.
pub(crate) fn sent_to(packets: &[CapturedPacket]) -> Vec<IpAddr> {
    let sent = packets.iter().filter(|packet| packet.direction == Direction::Sent);
    sent.map(|packet| destination(&packet.datagram)).filter(|address| !address.is_multicast()).collect()
}

/// The destination of a datagram (RFC 791 section 3.1, RFC 8200 section 3).
pub(crate) fn destination(datagram: &[u8]) -> IpAddr {
    if datagram[0] >> 4 == 4 {
        IpAddr::from(*datagram[16..].first_chunk::<4>().unwrap())
    } else {
        IpAddr::from(*datagram[24..].first_chunk::<16>().unwrap())
    }
}
