//! What can go wrong, and the code that the HTTP interface gives it.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::Family;

/// The class of an error, as the HTTP interface names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// A name could not be resolved.
    Dns,
    /// Something took too long, or was cancelled.
    Timeout,
    /// The target refused a connection.
    #[serde(rename = "CONNREFUSED")]
    ConnRefused,
    /// No way to the host.
    #[serde(rename = "HOSTUNREACH")]
    HostUnreach,
    /// No way to the network.
    #[serde(rename = "NETUNREACH")]
    NetUnreach,
    /// The system denied an operation.
    Denied,
    /// The request itself is wrong.
    InvalidRequest,
    /// Whoever asks has not shown who they are.
    Unauthorized,
    /// A policy forbids it.
    Forbidden,
    /// Too many requests from this client, or for this target.
    RateLimited,
    /// There is more to do than can be done at one time.
    Overloaded,
    /// The result could not be written.
    FailedEncoding,
    /// Anything else.
    Unknown,
}

/// What was being done when the system refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening or reading the capture.
    Capture,
    /// Opening a raw socket to send probes.
    OpenRawSocket,
    /// Sending a probe.
    SendProbe,
    /// Looking up the route and source address of a target.
    FindRoute,
    /// Reserving a local port.
    ReservePort,
    /// Entering a network namespace.
    EnterNamespace,
    /// Starting a thread.
    StartThread,
    /// Connecting to the target.
    Connect,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "capturing packets",
            Self::OpenRawSocket => "opening a raw socket",
            Self::SendProbe => "sending a probe",
            Self::FindRoute => "finding a route",
            Self::ReservePort => "reserving a local port",
            Self::EnterNamespace => "entering the network namespace",
            Self::StartThread => "starting a thread",
            Self::Connect => "connecting",
        })
    }
}

/// Why the SACK method does not work toward a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SackRefusal {
    /// There is no connection.
    NotConnected(ConnectFailure),
    /// This host does not ask for selective acknowledgements.
    NotAsked,
    /// The target does not offer selective acknowledgements.
    NotOffered,
    /// The target offers selective acknowledgements, but sends none.
    NotUsed,
    /// The target sends data before it is asked for any, and acknowledges no probe.
    SpeaksFirst,
    /// Sequence numbers do not arrive as they are sent: a carrier-grade NAT or a firewall on the way shifts them.
    SequenceShifted,
}

/// Why the network let no connection be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// The target, or somebody in its name, refused it.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// Somebody on the way said that a filter or policy forbids it.
    Prohibited,
    /// A router said that there is no way to the host.
    HostUnreachable,
    /// A router said that there is no way to the network.
    NetworkUnreachable,
    /// Anything else, by the system's number.
    Other(i32),
}

impl ConnectFailure {
    /// The code that the HTTP interface gives this failure.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Refused => ErrorCode::ConnRefused,
            Self::TimedOut => ErrorCode::Timeout,
            Self::Prohibited => ErrorCode::Denied,
            Self::HostUnreachable => ErrorCode::HostUnreach,
            Self::NetworkUnreachable => ErrorCode::NetUnreach,
            Self::Other(_) => ErrorCode::Unknown,
        }
    }
}

/// Why a trace, or a part of one, could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TracerouteError {
    /// The process may not do this.
    #[error("{operation} is not permitted: {}", remedy(*operation))]
    NotPermitted {
        /// What was tried.
        operation: Operation,
    },
    /// This host refuses to send to the target.
    #[error("sending to {target} is not permitted: a firewall or routing rule of this host forbids it")]
    SendRejected {
        /// The target of the probe.
        target: IpAddr,
    },
    /// The address is that of all hosts of a network.
    #[error("{target} is a broadcast address, not that of a host")]
    Broadcast {
        /// The target.
        target: IpAddr,
    },
    /// The address that the probes carry as their source has been taken from this host.
    #[error("this host no longer has the address {source_address}, from which it reached {target}")]
    SourceAddressGone {
        /// The address.
        source_address: IpAddr,
        /// The target.
        target: IpAddr,
    },
    /// The address to send from that was asked for is not this host's.
    #[error("this host has no address {source_address} to send from")]
    ForeignSource {
        /// The address.
        source_address: IpAddr,
    },
    /// The routing table has no way to the network of the target.
    #[error("no route to {target}: network is unreachable")]
    NetworkUnreachable {
        /// The target.
        target: IpAddr,
    },
    /// The routing table says that the target cannot be reached.
    #[error("no route to {target}: host is unreachable")]
    HostUnreachable {
        /// The target.
        target: IpAddr,
    },
    /// This host has no address to send from.
    #[error("this host has no {} address to reach {target} from", family(target))]
    NoSourceAddress {
        /// The target.
        target: IpAddr,
    },
    /// A link-local address without its interface.
    #[error("{target} is link-local: name its interface, as in {target}%{INTERFACE}")]
    ScopeMissing {
        /// The target.
        target: IpAddr,
    },
    /// The probe does not fit the interface.
    #[error("a probe of {size} bytes to {target} is longer than the interface can send (MTU)")]
    MessageTooLong {
        /// The target.
        target: IpAddr,
        /// The length of the datagram in bytes.
        size: usize,
    },
    /// No more file descriptors.
    #[error("{operation}: {}", exhausted(*limit))]
    DescriptorsExhausted {
        /// What was tried.
        operation: Operation,
        /// The limit in force.
        limit: u64,
    },
    /// Every local port or echo id of the block is taken for this target.
    #[error("all {limit} local ports or echo ids that may trace {target} at one time are in use")]
    IdentitiesExhausted {
        /// The target.
        target: IpAddr,
        /// The number of identities in the block.
        limit: u16,
    },
    /// The SACK method does not work toward this target, or from this host.
    #[error("SACK not supported for this target/source: {}", refusal(*target, *reason))]
    SackNotSupported {
        /// The target and its port.
        target: SocketAddr,
        /// Why not.
        reason: SackRefusal,
    },
    /// The connection of a SACK run was made, but not seen being made.
    #[error(
        "the packet capture has missed how the connection to {target} was made: does this host rewrite \
         addresses or ports (masquerading, a proxy)?"
    )]
    HandshakeMissed {
        /// The target and its port.
        target: SocketAddr,
    },
    /// The capture ended while runs needed it.
    #[error("the packet capture ended")]
    CaptureEnded,
    /// The way in which this host lets packets be sent and captured does not know the method.
    #[error("{technique} over {family} is not possible here: {remedy}")]
    NotCapable {
        /// The method.
        technique: &'static str,
        /// The family of the target's address.
        family: Family,
        /// What to do instead.
        remedy: Remedy,
    },
    /// The network driver of the Datadog Agent cannot be used.
    #[error("the Windows network driver (ddnpm) cannot be used: {step} failed with error {errno}: {remedy}")]
    DriverUnavailable {
        /// What was tried.
        step: &'static str,
        /// The number that the system gave.
        errno: i32,
        /// What to do.
        remedy: Remedy,
    },
    /// All capture devices are taken.
    #[error(
        "all {count} BPF devices (/dev/bpf0 and so on) are in use by other programs: end one of them, as a packet \
         capture or a virtual machine"
    )]
    CaptureDevicesBusy {
        /// How many there are.
        count: usize,
    },
    /// The packets of an interface have a link header that is not known.
    #[error(
        "the packets of interface {interface} cannot be captured: they are neither Ethernet's nor loopback's nor raw, \
         but of link type {link_type} (DLT)"
    )]
    UnknownLinkType {
        /// The name of the interface.
        interface: InterfaceName,
        /// The number of the link type, `DLT_` in net/bpf.h.
        link_type: u32,
    },
    /// The platform has no packet I/O.
    #[error("{operation} is not supported on this platform")]
    Unsupported {
        /// What was tried.
        operation: Operation,
    },
    /// Any other refusal of the system.
    #[error("{operation} failed: system error {errno}")]
    System {
        /// What was tried.
        operation: Operation,
        /// The number that the system gave.
        errno: i32,
    },
}

/// What to do about an error. It takes eight bytes: errors are part of every run, and runs are many.
pub type Remedy = &'static &'static str;

/// The name of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName([u8; Self::LONGEST]);

impl InterfaceName {
    /// `IFNAMSIZ` of net/if.h, with the zero at the end.
    const LONGEST: usize = 16;

    /// A name; of one that is longer than names are, the first bytes.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; Self::LONGEST];
        bytes.iter_mut().zip(name.bytes()).for_each(|(byte, of_name)| *byte = of_name);
        Self(bytes)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        write!(f, "{}", name.escape_ascii())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TracerouteError {
    /// Whether this process is at fault, for want of ports or descriptors or of its capture. Such an error says nothing about
    /// the network.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(
            self,
            Self::DescriptorsExhausted { .. }
                | Self::IdentitiesExhausted { .. }
                | Self::CaptureEnded
                | Self::CaptureDevicesBusy { .. }
                | Self::DriverUnavailable { .. }
                | Self::UnknownLinkType { .. }
                | Self::HandshakeMissed { .. }
                | Self::System { operation: Operation::Capture | Operation::ReservePort, .. }
        )
    }

    /// The code that the HTTP interface gives this error.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotPermitted { .. } | Self::SendRejected { .. } | Self::DriverUnavailable { .. } => {
                ErrorCode::Denied
            }
            Self::NetworkUnreachable { .. }
            | Self::NoSourceAddress { .. }
            | Self::SourceAddressGone { .. } => ErrorCode::NetUnreach,
            Self::HostUnreachable { .. } => ErrorCode::HostUnreach,
            Self::ScopeMissing { .. }
            | Self::Broadcast { .. }
            | Self::ForeignSource { .. }
            | Self::NotCapable { .. }
            | Self::MessageTooLong { .. } => ErrorCode::InvalidRequest,
            Self::SackNotSupported { reason: SackRefusal::NotConnected(failure), .. } => failure.code(),
            Self::DescriptorsExhausted { .. }
            | Self::IdentitiesExhausted { .. }
            | Self::SackNotSupported { .. }
            | Self::HandshakeMissed { .. }
            | Self::CaptureEnded
            | Self::CaptureDevicesBusy { .. }
            | Self::UnknownLinkType { .. }
            | Self::Unsupported { .. }
            | Self::System { .. } => ErrorCode::Unknown,
        }
    }
}

/// What grants the permission that an operation needs.
const fn remedy(operation: Operation) -> &'static str {
    match operation {
        Operation::EnterNamespace => "run as root, or with the CAP_SYS_ADMIN capability",
        _ => RAW_PACKETS,
    }
}

/// What there is no more of, where so many descriptors are allowed; 0 if nobody knows how many.
fn exhausted(limit: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| match limit {
        0 => f.write_str("the system has no more sockets or memory for them"),
        limit => {
            write!(f, "the limit of {limit} open file descriptors is reached (raise it with `ulimit -n`)")
        }
    })
}

/// What an interface may be called.
#[cfg(not(any(target_os = "macos", windows)))]
const INTERFACE: &str = "eth0";
/// What an interface may be called.
#[cfg(target_os = "macos")]
const INTERFACE: &str = "en0";
/// What an interface may be called: by its index.
#[cfg(windows)]
const INTERFACE: &str = "12";

/// What grants the permission to send and to capture packets.
#[cfg(not(any(target_os = "macos", windows)))]
const RAW_PACKETS: &str = "run as root, or with the CAP_NET_RAW capability";
/// What grants the permission to send and to capture packets.
#[cfg(target_os = "macos")]
const RAW_PACKETS: &str = "run as root";
/// What grants the permission to send and to capture packets.
#[cfg(windows)]
const RAW_PACKETS: &str = "run as Administrator";

/// What a SACK run found of its target.
fn refusal(target: SocketAddr, reason: SackRefusal) -> impl fmt::Display {
    fmt::from_fn(move |f| match reason {
        SackRefusal::NotConnected(ConnectFailure::Refused) => {
            write!(f, "the connection to {target} was refused")
        }
        SackRefusal::NotConnected(ConnectFailure::TimedOut) => {
            write!(f, "{target} did not answer the connection within the time-out")
        }
        SackRefusal::NotConnected(ConnectFailure::Prohibited) => {
            write!(f, "a router or firewall on the way forbids connections to {target}")
        }
        SackRefusal::NotConnected(ConnectFailure::HostUnreachable) => {
            write!(f, "a router says that the host of {target} is unreachable, or may not be reached")
        }
        SackRefusal::NotConnected(ConnectFailure::NetworkUnreachable) => {
            write!(f, "a router says that the network of {target} is unreachable")
        }
        SackRefusal::NotConnected(ConnectFailure::Other(errno)) => {
            write!(f, "connecting to {target} failed: system error {errno}")
        }
        SackRefusal::NotAsked => write!(
            f,
            "this host does not ask {target} for selective acknowledgements (Linux: `sysctl net.ipv4.tcp_sack=1`)"
        ),
        SackRefusal::NotOffered => write!(f, "{target} does not offer selective acknowledgements"),
        SackRefusal::NotUsed => {
            write!(f, "{target} offers selective acknowledgements, but acknowledges without them")
        }
        SackRefusal::SpeaksFirst => {
            write!(f, "{target} sends data before it is asked for any, and acknowledges no probe")
        }
        SackRefusal::SequenceShifted => write!(
            f,
            "something on the way to {target}, a carrier-grade NAT or a firewall, shifts sequence numbers"
        ),
    })
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
