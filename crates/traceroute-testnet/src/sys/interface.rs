//! Interfaces of the calling thread's network namespace.

use std::ffi::CString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::check;

const ETHTOOL_STXCSUM: u32 = 0x17;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// The index of an interface.
pub(crate) fn index(name: &str) -> io::Result<libc::c_int> {
    let name = CString::new(name)?;
    // SAFETY: the name is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => libc::c_int::try_from(index).map_err(io::Error::other),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "musl has 32 bits for what needs 16")]
const SET_FLAGS: libc::Ioctl = libc::SIOCSIFFLAGS as libc::Ioctl;
#[allow(clippy::cast_possible_truncation, reason = "musl has 32 bits for what needs 16")]
const SET_BY_ETHTOOL: libc::Ioctl = libc::SIOCETHTOOL as libc::Ioctl;

/// Brings an interface up.
pub(crate) fn bring_up(name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    #[allow(clippy::cast_possible_truncation, reason = "the flag is 1; the kernel's field is a short")]
    let flags = libc::IFF_UP as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    let socket = control_socket()?;
    // SAFETY: SIOCSIFFLAGS reads the name and the flags of an ifreq, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SET_FLAGS, &raw const request) }).map(drop)
}

/// Makes the kernel fill in transport checksums before a packet leaves through this interface.
///
/// A veth device leaves them to the hardware that it does not have.
pub(crate) fn disable_checksum_offload(name: &str) -> io::Result<()> {
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = control_socket()?;
    // SAFETY: SIOCETHTOOL reads the name and the ethtool_value that ifru_data points to; both outlive the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SET_BY_ETHTOOL, &raw const request) }).map(drop)
}

/// An interface request that carries a name.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    if name.is_empty() || name.len() >= ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("bad interface name {name:?}")));
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } })
}

/// Any socket of the namespace: interface requests need one.
fn control_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind("0.0.0.0:0")
}
