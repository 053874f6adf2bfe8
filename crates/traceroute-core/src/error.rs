//! What can go wrong, and the code that the HTTP interface gives it.

use core::fmt;
use core::net::IpAddr;

use serde::Serialize;

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
        })
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
    #[error("{target} is link-local: name its interface, as in {target}%eth0")]
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
    #[error("{operation}: the limit of {limit} open file descriptors is reached (raise it with `ulimit -n`)")]
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
    /// The capture ended while runs needed it.
    #[error("the packet capture ended")]
    CaptureEnded,
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
                | Self::System { operation: Operation::Capture | Operation::ReservePort, .. }
        )
    }

    /// The code that the HTTP interface gives this error.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotPermitted { .. } | Self::SendRejected { .. } => ErrorCode::Denied,
            Self::NetworkUnreachable { .. }
            | Self::NoSourceAddress { .. }
            | Self::SourceAddressGone { .. } => ErrorCode::NetUnreach,
            Self::HostUnreachable { .. } => ErrorCode::HostUnreach,
            Self::ScopeMissing { .. } | Self::Broadcast { .. } => ErrorCode::InvalidRequest,
            Self::MessageTooLong { .. }
            | Self::DescriptorsExhausted { .. }
            | Self::IdentitiesExhausted { .. }
            | Self::CaptureEnded
            | Self::Unsupported { .. }
            | Self::System { .. } => ErrorCode::Unknown,
        }
    }
}

/// What grants the permission that an operation needs.
const fn remedy(operation: Operation) -> &'static str {
    match operation {
        Operation::EnterNamespace => "run as root, or with the CAP_SYS_ADMIN capability",
        _ => {
            "run as root, or grant the CAP_NET_RAW capability with \
             `sudo setcap cap_net_raw+ep $(command -v datadog-traceroute)`"
        }
    }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
