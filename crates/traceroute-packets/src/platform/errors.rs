//! What refusals of the system mean. The kinds of the standard library name most of them on every system, and [`imp::sockets`] knows
//! the numbers of the others.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use traceroute_core::{Destination, Operation, TracerouteError};

use super::imp;

/// The kind of an error.
pub(super) fn kind(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(imp::sockets::HOST_DOWN) => ErrorKind::HostUnreachable,
        _ => error.kind(),
    }
}

/// Why something could not be done that has nothing to do with a target.
pub(super) fn refused(operation: Operation, error: &io::Error) -> TracerouteError {
    match error.raw_os_error() {
        _ if error.kind() == ErrorKind::PermissionDenied => TracerouteError::NotPermitted { operation },
        Some(errno) if imp::sockets::DESCRIPTORS_EXHAUSTED.contains(&errno) => {
            TracerouteError::DescriptorsExhausted { operation, limit: imp::sockets::descriptor_limit() }
        }
        errno => TracerouteError::System { operation, errno: errno.unwrap_or_default() },
    }
}

/// Why a probe was not sent.
pub(super) fn not_sent(error: &io::Error, target: IpAddr, size: usize) -> TracerouteError {
    match (kind(error), error.raw_os_error()) {
        (ErrorKind::PermissionDenied, _) => TracerouteError::SendRejected { target },
        (ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown, _) => {
            TracerouteError::NetworkUnreachable { target }
        }
        (ErrorKind::HostUnreachable, _) => TracerouteError::HostUnreachable { target },
        (ErrorKind::AddrNotAvailable, _) => TracerouteError::NoSourceAddress { target },
        (_, Some(imp::sockets::MESSAGE_TOO_LONG)) => TracerouteError::MessageTooLong { target, size },
        _ => refused(Operation::SendProbe, error),
    }
}

/// Why there is no way to a target.
pub(super) fn no_route(error: &io::Error, to: Destination) -> TracerouteError {
    let target = to.address;
    let link_local = matches!(target, IpAddr::V6(address) if address.is_unicast_link_local());
    if let (ErrorKind::AddrNotAvailable, Some(source_address)) = (error.kind(), to.source) {
        return TracerouteError::ForeignSource { source_address };
    }
    match (kind(error), error.raw_os_error()) {
        (ErrorKind::InvalidInput, _) if link_local && to.interface == 0 => {
            TracerouteError::ScopeMissing { target }
        }
        // A `blackhole` route of Linux is invalid input.
        (ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::InvalidInput, _) => {
            TracerouteError::NetworkUnreachable { target }
        }
        (ErrorKind::HostUnreachable, _) => TracerouteError::HostUnreachable { target },
        (ErrorKind::AddrNotAvailable, _) | (_, Some(imp::sockets::FAMILY_NOT_SUPPORTED)) => {
            TracerouteError::NoSourceAddress { target }
        }
        // A `prohibit` route of Linux.
        (ErrorKind::PermissionDenied, _) => TracerouteError::SendRejected { target },
        _ => refused(Operation::FindRoute, error),
    }
}
