//! Waiting for descriptors with a precise time-out.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::check;

/// Waits until one of two descriptors can be read or `timeout` is over, and says which can.
pub(crate) fn wait_readable(fds: [BorrowedFd<'_>; 2], timeout: Option<Duration>) -> io::Result<[bool; 2]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: libc::c_long::from(t.subsec_nanos().cast_signed()),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `polled` and, unless null, `timeout` live through the call, and 2 is the length of `polled`.
    match check(unsafe { libc::ppoll(polled.as_mut_ptr(), 2, timeout, std::ptr::null()) }) {
        Ok(_) => Ok(polled.map(|p| p.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; 2]),
        Err(error) => Err(error),
    }
}

/// Makes the calling thread's waits end on time: without timer slack (50 µs unless changed), and before ordinary threads
/// where the system allows it.
pub(crate) fn make_thread_prompt() -> io::Result<()> {
    let nanos: libc::c_ulong = 1;
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of this process.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanos) })?;
    // SAFETY: the parameters consist of numbers, for which zeros are values.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: the parameters outlive the call; 0 is the calling thread.
    let refused = check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) });
    // Where there are no real-time priorities to be had, an idle machine does without.
    drop(refused);
    Ok(())
}
