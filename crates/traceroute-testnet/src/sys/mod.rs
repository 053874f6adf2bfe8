//! The system calls that the standard library lacks, as safe functions.

pub(crate) mod interface;
pub(crate) mod packet;
pub(crate) mod poll;
pub(crate) mod tun;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Turns a result of -1 into the error that `errno` names.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns a negative length into the error that `errno` names.
fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The size of `T` as socket calls want it.
fn socklen_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// Moves the calling thread into a network namespace of its own.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare takes flags only; CLONE_NEWNET touches no memory of this process.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the calling thread into a network namespace. Async-signal-safe.
pub(crate) fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open, and setns touches no memory of this process.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Shuts a socket down both ways; who waits for connections to it waits no more.
pub(crate) fn shut_down(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open, and shutdown touches no memory of this process.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) }).map(drop)
}

/// Lets so many connections to a listening socket wait to be accepted, as far as the system allows.
pub(crate) fn set_backlog(socket: BorrowedFd<'_>, connections: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and listen touches no memory of this process.
    check(unsafe { libc::listen(socket.as_raw_fd(), connections) }).map(drop)
}

/// Sets a socket option whose value is an `int`.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = socklen_of::<libc::c_int>();
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) })
        .map(drop)
}
