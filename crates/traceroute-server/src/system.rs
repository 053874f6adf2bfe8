//! What systems do differently about connections and memory.

#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::time::Duration;

    use rustix::process::{Resource, getrlimit};
    use socket2::SockRef;

    /// How many descriptors the process may have.
    pub(crate) fn descriptors() -> Option<usize> {
        getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
    }

    /// Ends a connection whose client takes nothing that is sent to it for so long (`TCP_USER_TIMEOUT`, tcp(7)).
    pub(crate) fn give_up_who_does_not_read(socket: &SockRef<'_>, time: Duration) -> io::Result<()> {
        socket.set_tcp_user_timeout(Some(time))
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::time::Duration;

    use socket2::SockRef;

    /// It is not known.
    pub(crate) fn descriptors() -> Option<usize> {
        None
    }

    /// The system's own time-out counts.
    pub(crate) fn give_up_who_does_not_read(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod heap {
    /// Lets all threads share one heap: glibc would make one for each, of which every one keeps the most that it has ever needed.
    /// To be called before there are other threads.
    pub fn share_one_heap() {
        // SAFETY: the call sets a number of the allocator's, and no other thread allocates meanwhile. Where it fails the
        // default stays.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod heap {
    /// There is nothing to do about other allocators.
    pub fn share_one_heap() {}
}

use std::io;

use socket2::Socket;

pub use heap::share_one_heap;
pub(crate) use imp::{descriptors, give_up_who_does_not_read};

/// Lets an address be listened at though connections of a process before have not been forgotten yet.
#[cfg(unix)]
pub(crate) fn bind_again(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// They are in nobody's way here, where the option would let another program listen at the same address.
#[cfg(not(unix))]
pub(crate) fn bind_again(_: &Socket) -> io::Result<()> {
    Ok(())
}
