//! What systems do differently about connections.

use std::io;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Resource, getrlimit};
use socket2::{SockRef, Socket};

/// How many descriptors the process may have.
#[cfg(unix)]
pub(crate) fn descriptors() -> Option<usize> {
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
}

/// There is no limit to tell.
#[cfg(not(unix))]
pub(crate) fn descriptors() -> Option<usize> {
    None
}

/// Ends a connection whose client takes nothing that is sent to it for so long (`TCP_USER_TIMEOUT`, tcp(7)).
#[cfg(target_os = "linux")]
pub(crate) fn give_up_who_does_not_read(socket: &SockRef<'_>, time: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(time))
}

/// The system's own time-out counts.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
pub(crate) fn give_up_who_does_not_read(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Lets an address be listened at though connections of a process before have not been forgotten yet.
#[cfg(unix)]
pub(crate) fn bind_again(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// They are in nobody's way here, where the option would let another program listen at the same address.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
pub(crate) fn bind_again(_: &Socket) -> io::Result<()> {
    Ok(())
}
