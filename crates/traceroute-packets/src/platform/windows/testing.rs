//! What the tests of several modules need.

use std::io;
use std::net::Ipv4Addr;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use tokio::net::windows::named_pipe::{NamedPipeServer, PipeMode, ServerOptions};
use tokio::time::timeout;
use traceroute_core::{Captured, Destination, Source};
use traceroute_wire::{Endpoints, IpHeader, TcpFlags, TcpSegment, icmp, protocol, tcp};
use windows_sys::Win32::System::Pipes::{PIPE_READMODE_MESSAGE, SetNamedPipeHandleState};

use super::sys::device;

/// Long enough for anything that is to happen.
pub(super) const SOON: Duration = Duration::from_secs(20);

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// This host.
pub(super) fn loopback() -> Destination {
    Destination::routed(LOOPBACK.into())
}

/// The header of a probe or an answer.
pub(super) fn header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> IpHeader {
    IpHeader {
        endpoints: Endpoints::V4 { source, destination },
        ttl: 9,
        protocol,
        label: 1,
        dont_fragment: true,
        traffic_class: 0,
    }
}

/// The header of a probe to this host.
pub(super) fn loopback_header(protocol: u8) -> IpHeader {
    header(LOOPBACK, LOOPBACK, protocol)
}

/// An echo request to this host, of the id 0x4321 and with `payload`.
pub(super) fn echo_request(sequence: u16) -> Vec<u8> {
    let mut datagram = vec![0; 64];
    let header = loopback_header(protocol::ICMP);
    let length = icmp::write_echo_request(&header, 0x4321, sequence, b"payload", &mut datagram);
    datagram.truncate(length);
    datagram
}

/// A SYN with this header.
pub(super) fn syn(header: &IpHeader, source_port: u16, destination_port: u16, sequence: u32) -> Vec<u8> {
    let segment = TcpSegment {
        source_port,
        destination_port,
        sequence,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 1024,
        options: &[],
        payload: &[],
    };
    let mut datagram = vec![0; header.endpoints.header_len() + tcp::HEADER_LEN];
    tcp::write_segment(header, &segment, &mut datagram);
    datagram
}

/// What a source tells next: a packet, or that there is none now.
pub(super) async fn told(source: &mut impl Source) -> Option<Captured<'_>> {
    timeout(SOON, source.recv()).await.expect("soon").expect("open")
}

/// The two ends of a pipe in the place of a device: what is written to the one at a time is read from the other at a time.
pub(super) fn pipe(name: &str, operation: device::Operation) -> io::Result<(NamedPipeServer, OwnedHandle)> {
    let path = format!(r"\\.\pipe\traceroute-{}-{name}", std::process::id());
    let server = ServerOptions::new().pipe_mode(PipeMode::Message).create(&path)?;
    let client = device::open(&path, operation)?;
    let mode = PIPE_READMODE_MESSAGE;
    // SAFETY: the handle is open, and the mode is read before the call returns.
    let set =
        unsafe { SetNamedPipeHandleState(client.as_raw_handle(), &raw const mode, ptr::null(), ptr::null()) };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok((server, client)) }
}
