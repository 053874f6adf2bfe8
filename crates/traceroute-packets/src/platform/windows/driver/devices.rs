//! What the driver and its service are asked by: tests can be both.

use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::thread;
use std::time::Duration;

use datadog_driver_sys::{DATA_DEVICE, SERVICE, SET_DATA_FILTER};
use windows_sys::Win32::System::Services::SERVICE_RUNNING;

use super::super::sys::device::{self, Operation};
use super::super::sys::services;
use super::filters::FilterBytes;
use super::service::{ServiceControl, State};

/// Handles of a driver. The calls may take their time.
pub(super) trait Devices: Send + Sync {
    /// Opens one, to be read from or written to.
    fn open(&self, operation: Operation) -> io::Result<OwnedHandle>;
    /// Lets it be given the packets of one more filter.
    fn add_filter(&self, handle: BorrowedHandle<'_>, filter: &FilterBytes) -> io::Result<()>;
    /// Sends a packet.
    fn write(&self, handle: BorrowedHandle<'_>, packet: &[u8]) -> io::Result<()>;
}

/// The driver of this system.
pub(super) struct Ddnpm;

impl Devices for Ddnpm {
    fn open(&self, operation: Operation) -> io::Result<OwnedHandle> {
        device::open(DATA_DEVICE, operation)
    }

    fn add_filter(&self, handle: BorrowedHandle<'_>, filter: &FilterBytes) -> io::Result<()> {
        let mut number = [0; size_of::<i64>()];
        device::control(handle, SET_DATA_FILTER, filter, &mut number)
    }

    fn write(&self, handle: BorrowedHandle<'_>, packet: &[u8]) -> io::Result<()> {
        device::write(handle, packet)
    }
}

impl ServiceControl for Ddnpm {
    fn state(&self) -> io::Result<State> {
        Ok(if services::state(SERVICE)? == SERVICE_RUNNING { State::Running } else { State::Other })
    }

    fn is_disabled(&self) -> io::Result<bool> {
        services::is_disabled(SERVICE)
    }

    fn enable(&self) -> io::Result<()> {
        services::enable(SERVICE)
    }

    fn start(&self) -> io::Result<()> {
        services::start(SERVICE)
    }

    fn pause(&self) {
        thread::sleep(Duration::from_millis(100));
    }
}
