//! TUN devices.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::{check, interface};

/// Creates a TUN device without packet information in the calling thread's namespace. It is gone when the file,
/// which does not block, is closed.
pub(crate) fn create(name: &str) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = interface::request(name)?;
    #[allow(clippy::cast_possible_truncation, reason = "both flags fit; the kernel's field is a short")]
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}
