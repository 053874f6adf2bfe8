//! The system calls that neither the standard library nor `socket2` wraps.

pub(super) mod completion;
pub(super) mod device;
pub(super) mod echo;
pub(super) mod edition;
pub(super) mod interfaces;
pub(super) mod services;
pub(super) mod sockets;

use std::io;
use std::os::windows::io::{AsRawSocket, BorrowedSocket};

use windows_sys::Win32::Networking::WinSock::SOCKET;
use windows_sys::core::BOOL;

/// What a function of Win32 says that returns whether it has succeeded.
fn check(succeeded: BOOL) -> io::Result<()> {
    if succeeded == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of an error that the system gave.
fn number(error: &io::Error) -> u32 {
    error.raw_os_error().unwrap_or_default().cast_unsigned()
}

/// A socket as Winsock knows it: a number as wide as a pointer.
#[expect(clippy::cast_possible_truncation, reason = "the standard library has made it wider")]
fn winsock(socket: BorrowedSocket<'_>) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

/// A string as the wide functions of Win32 want it.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
