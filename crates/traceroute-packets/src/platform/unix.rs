//! What Linux and macOS have in common: numbers of errors, descriptors, names of interfaces.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connection is being made.
pub(super) const CONNECTING: i32 = libc::EINPROGRESS;
pub(super) const HOST_DOWN: i32 = libc::EHOSTDOWN;
pub(super) const FAMILY_NOT_SUPPORTED: i32 = libc::EAFNOSUPPORT;
pub(super) const MESSAGE_TOO_LONG: i32 = libc::EMSGSIZE;
/// Ports that nobody may have are errors of their own.
pub(super) const PORT_WITHHELD: Option<i32> = None;
/// Of the process, and of the host.
pub(super) const DESCRIPTORS_EXHAUSTED: [i32; 2] = [libc::EMFILE, libc::ENFILE];

/// Makes a non-blocking descriptor known to the runtime.
pub(super) fn register(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps its descriptor open, and names the same one, until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// Sets a socket option whose value is made of integers.
pub(super) fn set_option<const N: usize>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: [libc::c_int; N],
) -> io::Result<()> {
    // SAFETY: the option is passed as a pointer to live integers and their size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            socklen::<[libc::c_int; N]>(),
        )
    };
    check(result)
}

/// The index of the interface with this name or index; `None` if there is none.
pub(super) fn interface_index(zone: &str) -> Option<u32> {
    if let Ok(index) = zone.parse() {
        let mut name = [0; libc::IF_NAMESIZE];
        // SAFETY: the buffer is as long as the longest name with its terminator.
        let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
        return (!found.is_null()).then_some(index);
    }
    let name = CString::new(zone).ok()?;
    // SAFETY: the name is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    Some(index).filter(|index| *index != 0)
}

/// The number of descriptors this process may have open.
pub(super) fn descriptor_limit() -> u64 {
    limits().map_or(0, |limits| limits.rlim_cur)
}

/// Lets this process open as many descriptors as it may allow itself, of which the kernel gives it `most`.
pub(super) fn raise_descriptor_limit(most: u64) {
    if let Some(mut limits) = limits()
        && let Some(raised) = raised(limits.rlim_cur, limits.rlim_max, most)
    {
        limits.rlim_cur = raised;
        // SAFETY: the pointer is to a live rlimit. Where it fails the old limit stays.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    }
}

/// The limit to ask for, if that is more than there is. macOS refuses one that is more than it gives, infinity too (setrlimit(2),
/// "COMPATIBILITY").
fn raised(current: u64, allowed: u64, most: u64) -> Option<u64> {
    Some(allowed.min(most)).filter(|wanted| *wanted > current)
}

fn limits() -> Option<libc::rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };
    (result == 0).then_some(limits)
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_the_kernel_gives() {
        assert_eq!(raised(256, libc::RLIM_INFINITY, 10_240), Some(10_240));
        assert_eq!(raised(1024, 524_288, u64::MAX), Some(524_288));
        assert_eq!(raised(4096, 4096, u64::MAX), None);
        assert_eq!(raised(20_000, libc::RLIM_INFINITY, 10_240), None);
    }
}
