//! A BPF device, bpf(4).

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use traceroute_wire::bpf::Program;

use super::capture::Device;
use super::devices::{self, Controls, Settings, Unusable};
use super::sys;
use crate::filter::Base;
use crate::platform::unix;

/// A device that captures the packets of an interface.
#[derive(Debug)]
pub(super) struct BpfDevice(AsyncFd<OwnedFd>);

impl BpfDevice {
    /// Opens the first device that is free for an interface. Needs a tokio runtime.
    pub(super) fn open(
        interface: &CStr,
        filter: impl FnOnce(Base) -> Program,
    ) -> Result<(Self, Settings), Unusable> {
        devices::open(
            |number| open(number).map(Unregistered),
            interface,
            filter,
            |device| unix::register(device.0, Interest::READABLE).map(Self),
        )
    }

    /// Whether its interface is still there.
    pub(super) fn has_interface(&self) -> bool {
        sys::link_type(self.0.as_fd()).is_ok()
    }
}

impl Device for BpfDevice {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(result) = readable.try_io(|_| self.try_read(buffer)) {
                return Poll::Ready(result);
            }
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match sys::read(self.0.as_fd(), buffer) {
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            result => result,
        }
    }

    fn drops(&self) -> io::Result<u32> {
        sys::packet_drops(self.0.as_fd())
    }
}

fn open(number: usize) -> io::Result<OwnedFd> {
    let path = format!("/dev/bpf{number}");
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.into())
}

/// A device that the runtime does not know yet.
struct Unregistered(OwnedFd);

impl Controls for Unregistered {
    fn set_buffer_length(&self, length: u32) -> io::Result<()> {
        sys::set_buffer_length(self.0.as_fd(), length)
    }

    fn buffer_length(&self) -> io::Result<u32> {
        sys::buffer_length(self.0.as_fd())
    }

    fn set_interface(&self, name: &CStr) -> io::Result<()> {
        sys::set_interface(self.0.as_fd(), name)
    }

    fn link_type(&self) -> io::Result<u32> {
        sys::link_type(self.0.as_fd())
    }

    fn set_filter(&self, filter: &Program) -> io::Result<()> {
        sys::set_filter(self.0.as_fd(), filter)
    }

    fn set_immediate(&self) -> io::Result<()> {
        sys::set_immediate(self.0.as_fd())
    }

    fn set_see_sent(&self) -> io::Result<()> {
        sys::set_see_sent(self.0.as_fd())
    }
}
