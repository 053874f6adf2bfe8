//! Options of sockets.

use std::io;
use std::os::windows::io::BorrowedSocket;
use std::ptr;

use windows_sys::Win32::Networking::WinSock::{
    SIO_TCP_INITIAL_RTO, SOCKET_ERROR, TCP_INITIAL_RTO_PARAMETERS, WSAIoctl, getsockopt, setsockopt,
};

use super::winsock;

/// Sets a socket option of four bytes.
pub(in super::super) fn set_option(
    socket: BorrowedSocket<'_>,
    level: i32,
    name: i32,
    value: u32,
) -> io::Result<()> {
    let value = value.to_ne_bytes();
    let length = i32::try_from(value.len()).unwrap_or_default();
    // SAFETY: the socket is open, and the value is of the length that is said.
    let result = unsafe { setsockopt(winsock(socket), level, name, value.as_ptr(), length) };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a socket send the SYN of its connection once, and wait for its answer longer than most probes are waited for.
pub(in super::super) fn send_syns_once(socket: BorrowedSocket<'_>) -> io::Result<()> {
    // Milliseconds: what is best, and what connections are given anyway.
    let [best, usual] = [20_000, 3000];
    send_syns_once_and_wait(socket, best).or_else(|_| send_syns_once_and_wait(socket, usual))
}

fn send_syns_once_and_wait(socket: BorrowedSocket<'_>, wait: u16) -> io::Result<()> {
    /// `TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS` (mstcpip.h): -2 as an unsigned byte.
    const NONE: u8 = 0xfe;
    let parameters = TCP_INITIAL_RTO_PARAMETERS { Rtt: wait, MaxSynRetransmissions: NONE };
    let length = u32::try_from(size_of_val(&parameters)).unwrap_or_default();
    let mut returned = 0;
    // SAFETY: the socket is open, the parameters are of the length that is said, and the call returns when it is done.
    let result = unsafe {
        WSAIoctl(
            winsock(socket),
            SIO_TCP_INITIAL_RTO,
            (&raw const parameters).cast(),
            length,
            ptr::null_mut(),
            0,
            &raw mut returned,
            ptr::null_mut(),
            None,
        )
    };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The bytes of a socket option, at most `LENGTH`.
pub(in super::super) fn option<const LENGTH: usize>(
    socket: BorrowedSocket<'_>,
    level: i32,
    name: i32,
) -> io::Result<Vec<u8>> {
    let mut value = [0_u8; LENGTH];
    let mut length = i32::try_from(LENGTH).unwrap_or_default();
    // SAFETY: the socket is open, and the buffer has the room that is said.
    let result = unsafe { getsockopt(winsock(socket), level, name, value.as_mut_ptr(), &raw mut length) };
    if result == SOCKET_ERROR {
        return Err(io::Error::last_os_error());
    }
    Ok(value[..usize::try_from(length).unwrap_or_default().min(LENGTH)].to_vec())
}
