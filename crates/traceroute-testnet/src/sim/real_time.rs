//! A simulated network in real time, behind a network device of a real client.
//!
//! A thread plays the network at the far end of a veth pair or behind a TUN device. Delays are kept to about a tenth of
//! a millisecond, counted from the moment at which the kernel saw the datagram.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use traceroute_core::Direction;
use traceroute_wire::Timestamp;

use super::message;
use super::network::{Arrival, Network};
use super::packet;
use super::recorder::{Record, Recorder};
use super::topology::Topology;
use super::wire::Wire;
use crate::address_plan::DualStack;
use crate::error::Error;
use crate::kernel::Namespace;
use crate::sys;

const READY_WITHIN: Duration = Duration::from_secs(5);
const READY_RETRY: Duration = Duration::from_millis(5);
/// Longer than any datagram that the client's device lets through.
const BUFFER: usize = 1 << 16;

/// A client in a namespace of its own, with a simulated network behind its only device.
///
/// The client has the topology's client addresses and default routes of both families. All ends when this is dropped.
#[derive(Debug)]
pub struct SimulatedLink {
    client: Namespace,
    interface: &'static str,
    target: DualStack,
    recorder: Recorder,
    stop: UnixStream,
    engine: Option<JoinHandle<io::Result<()>>>,
}

impl SimulatedLink {
    /// The network at the far end of a veth pair, whose near end `eth0` is an Ethernet device without ARP and NDP.
    pub fn veth(topology: Topology, seed: u64) -> Result<Self, Error> {
        Self::start("eth0", Wire::veth, topology, seed)
    }

    /// The network behind the TUN device `tun0`, which has no link-layer header.
    pub fn tun(topology: Topology, seed: u64) -> Result<Self, Error> {
        Self::start("tun0", Wire::tun, topology, seed)
    }

    fn start(
        interface: &'static str,
        wire: impl FnOnce(&Namespace, &str) -> Result<Wire, Error>,
        topology: Topology,
        seed: u64,
    ) -> Result<Self, Error> {
        let network = Network::new(topology, seed);
        let client = Namespace::new()?;
        client.sysctl(&[
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_ra", "0"),
        ])?;
        let wire = wire(&client, interface)?;
        let DualStack { v4, v6 } = network.client();
        client.ip(&format!(
            "address add {v4}/24 dev {interface}\n\
             address add {v6}/64 dev {interface} nodad\n\
             link set {interface} up\n\
             route add 0.0.0.0/0 dev {interface} src {v4}\n\
             route add ::/0 dev {interface} src {v6}\n"
        ))?;
        await_passage(&client, &wire, v4.into(), network.target().v4.into())?;
        await_passage(&client, &wire, v6.into(), network.target().v6.into())?;

        let (stop, stopped) = UnixStream::pair().map_err(Error::system("making a socket pair"))?;
        let recorder = Recorder::default();
        let target = network.target();
        let engine = Engine { network, wire, recorder: recorder.clone(), origin: Instant::now(), stopped };
        let engine = thread::Builder::new()
            .name("simulated-network".to_owned())
            .spawn(move || engine.run())
            .map_err(Error::system("starting a thread"))?;
        Ok(Self { client, interface, target, recorder, stop, engine: Some(engine) })
    }

    /// The host from which to trace.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The name of the client's device.
    #[must_use]
    pub fn interface(&self) -> &str {
        self.interface
    }

    /// The target's own addresses.
    #[must_use]
    pub fn target(&self) -> DualStack {
        self.target
    }

    /// What passed the device, with times counted from when the link was made.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Drop for SimulatedLink {
    fn drop(&mut self) {
        // An error means that the engine has ended already; why is said below.
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        let outcome = self.engine.take().map(JoinHandle::join);
        if thread::panicking() {
            return;
        }
        match outcome {
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            Some(Ok(Err(error))) => panic!("the simulated network failed: {error}"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// The thread that plays the network.
struct Engine {
    network: Network,
    wire: Wire,
    recorder: Recorder,
    origin: Instant,
    stopped: UnixStream,
}

impl Engine {
    fn run(mut self) -> io::Result<()> {
        sys::poll::make_thread_prompt()?;
        let mut buffer = vec![0; BUFFER];
        loop {
            while let Some((len, age)) = self.wire.receive(&mut buffer)? {
                let at = self.origin.elapsed().saturating_sub(age);
                self.take(Timestamp::ZERO + at, &buffer[..len]);
            }
            while let Some(arrival) = self.network.poll(self.now()) {
                self.deliver(arrival);
            }
            let timeout = self.network.next_event().map(|next| next.saturating_since(self.now()));
            let [_, stopped] = sys::poll::wait_readable([self.wire.as_fd(), self.stopped.as_fd()], timeout)?;
            if stopped {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn take(&mut self, at: Timestamp, datagram: &[u8]) {
        if packet::is_local_talk(datagram) {
            return;
        }
        let fault = self.network.inject(at, datagram).err().map(|malformed| malformed.to_string());
        self.recorder.record(Record { at, direction: Direction::Sent, datagram: datagram.to_vec(), fault });
    }

    /// Whoever reads the record because the datagram has come finds it there.
    fn deliver(&mut self, Arrival { at, datagram }: Arrival) {
        let Self { recorder, wire, .. } = self;
        recorder.record_after(|| {
            // A full queue of the client's device is a loss like any other.
            let fault = wire.send(&datagram).err().map(|error| error.to_string());
            Record { at, direction: Direction::Received, datagram, fault }
        });
    }
}

/// Sends a datagram there and back until one makes it: carrier and IPv6 addresses come up a moment after the commands
/// that order them.
fn await_passage(client: &Namespace, wire: &Wire, source: IpAddr, target: IpAddr) -> Result<(), Error> {
    let start = Instant::now();
    let mut buffer = vec![0; BUFFER];
    while start.elapsed() < READY_WITHIN {
        let passed = round_trip(client, wire, source, target, &mut buffer);
        // Nothing of this may reach the network that is yet to start.
        while let Ok(Some(_)) = wire.receive(&mut buffer) {}
        if matches!(passed, Ok(true)) {
            return Ok(());
        }
    }
    Err(Error::NotReady {
        what: format!("no datagram went from {source} to the engine and back"),
        waited: READY_WITHIN,
    })
}

fn round_trip(
    client: &Namespace,
    wire: &Wire,
    source: IpAddr,
    target: IpAddr,
    buffer: &mut [u8],
) -> io::Result<bool> {
    let socket = client.run(|| UdpSocket::bind((source, 0)))?;
    socket.connect((target, 9))?;
    socket.send(b"ready?")?;
    socket.set_read_timeout(Some(READY_RETRY))?;
    let (_unused, other) = UnixStream::pair()?;
    while sys::poll::wait_readable([wire.as_fd(), other.as_fd()], Some(READY_RETRY))?[0] {
        let Some((len, _)) = wire.receive(buffer)? else { continue };
        let datagram = &buffer[..len];
        if packet::check(datagram).is_ok_and(|h| h.destination == target && h.protocol == packet::UDP) {
            wire.send(&message::udp_answer(target, 64, datagram, b"ready"))?;
            return Ok(socket.recv(&mut [0; 16]).is_ok());
        }
    }
    Ok(false)
}
