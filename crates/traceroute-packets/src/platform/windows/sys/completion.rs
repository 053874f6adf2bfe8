//! Reads under way, and the port at which they end.

use std::io;
use std::os::windows::io::{
    AsRawHandle, AsRawSocket, BorrowedHandle, BorrowedSocket, FromRawHandle, OwnedHandle, RawHandle,
};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_NOT_FOUND, INVALID_HANDLE_VALUE, WAIT_TIMEOUT,
};
use windows_sys::Win32::Networking::WinSock::{WSABUF, WSAEMSGSIZE, WSARecv};
use windows_sys::Win32::Storage::FileSystem::ReadFile;
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use super::{check, number, winsock};

/// Room for a packet of Ethernet's with a header of the driver's.
const BUFFER_LEN: u32 = 2048;

/// A buffer that is read into. While a read is under way the kernel has the box; the port gives it back.
#[repr(C)]
pub(in super::super) struct Read {
    overlapped: OVERLAPPED,
    buffer: [u8; BUFFER_LEN as usize],
}

// SAFETY: an OVERLAPPED is plain data, of which its pointer is none that anybody follows here: events are not used.
unsafe impl Send for Read {}

impl Read {
    pub(in super::super) fn new() -> Box<Self> {
        Box::new(Self { overlapped: OVERLAPPED::default(), buffer: [0; BUFFER_LEN as usize] })
    }

    /// The bytes that a read has given.
    pub(in super::super) fn bytes(&self, length: usize) -> &[u8] {
        &self.buffer[..length.min(self.buffer.len())]
    }

    /// Begins to read from a file that was opened for overlapped operation and is associated with a [`Port`].
    pub(in super::super) fn from_file(self: Box<Self>, file: BorrowedHandle<'_>) -> io::Result<()> {
        let read = self.given_to_the_kernel();
        // SAFETY: `read` is a live allocation that nobody else refers to until the kernel has ended the read.
        let buffer = unsafe { (&raw mut (*read).buffer).cast() };
        // SAFETY: buffer and OVERLAPPED stay where they are until the port gives their box back.
        let started =
            unsafe { ReadFile(file.as_raw_handle(), buffer, BUFFER_LEN, ptr::null_mut(), read.cast()) };
        Self::started(check(started), read)
    }

    /// Begins to receive from a socket that is associated with a [`Port`].
    pub(in super::super) fn from_socket(self: Box<Self>, socket: BorrowedSocket<'_>) -> io::Result<()> {
        let read = self.given_to_the_kernel();
        // SAFETY: as in `from_file`.
        let buffer = unsafe { (&raw mut (*read).buffer).cast() };
        let part = WSABUF { len: BUFFER_LEN, buf: buffer };
        let socket = winsock(socket);
        let mut flags = 0;
        // SAFETY: as in `from_file`; the list of buffers and the flags are read before the call returns.
        let failed = unsafe {
            WSARecv(socket, &raw const part, 1, ptr::null_mut(), &raw mut flags, read.cast(), None)
        };
        Self::started(if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }, read)
    }

    /// The box as a pointer, whose first field is the OVERLAPPED that names it.
    fn given_to_the_kernel(mut self: Box<Self>) -> *mut Self {
        self.overlapped = OVERLAPPED::default();
        Box::into_raw(self)
    }

    /// What becomes of the box when the call has returned: a read that ended at once ends at the port too, unless it failed.
    fn started(started: io::Result<()>, read: *mut Self) -> io::Result<()> {
        match started {
            Err(error) if !is_under_way(&error) => {
                // SAFETY: the pointer is of `Box::into_raw`, and the kernel has refused the read.
                drop(unsafe { Box::from_raw(read) });
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// Whether a call that has failed in name has begun a read. One whose packet is longer than the buffer ends with a warning of
/// the kernel's (`STATUS_BUFFER_OVERFLOW`), which is an error of Win32 but comes to the port.
fn is_under_way(error: &io::Error) -> bool {
    [ERROR_IO_PENDING, ERROR_MORE_DATA, WSAEMSGSIZE.cast_unsigned()].contains(&number(error))
}

/// What comes to a port.
pub(in super::super) enum Completion {
    /// A read has ended, of the file or socket with this key: with so many bytes, or an error.
    Read { key: usize, read: Box<Read>, ended: io::Result<usize> },
    /// Somebody has posted this key.
    Posted { key: usize },
}

/// An I/O completion port.
#[derive(Debug)]
pub(in super::super) struct Port(OwnedHandle);

impl Port {
    pub(in super::super) fn new() -> io::Result<Self> {
        // SAFETY: without a file a new port is made.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is new and nobody else's.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(port) }))
    }

    /// Lets the reads of a file end here. Nobody may begin anything else on it that ends at a port.
    pub(in super::super) fn associate(&self, file: BorrowedHandle<'_>, key: usize) -> io::Result<()> {
        // SAFETY: both handles are open.
        let port = unsafe { CreateIoCompletionPort(file.as_raw_handle(), self.0.as_raw_handle(), key, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets `key` come behind all that has come.
    pub(in super::super) fn post(&self, key: usize) -> io::Result<()> {
        // SAFETY: the handle is open, and no OVERLAPPED is given.
        check(unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, key, ptr::null()) })
    }

    /// Waits for what comes next; `None` if nothing comes in time.
    pub(in super::super) fn wait(&self, patience: Option<Duration>) -> io::Result<Option<Completion>> {
        let (mut length, mut key, mut overlapped) = (0, 0, ptr::null_mut());
        let patience =
            patience.map_or(INFINITE, |patience| u32::try_from(patience.as_millis()).unwrap_or(INFINITE));
        // SAFETY: the handle is open and the pointers are to live variables.
        let status = unsafe {
            GetQueuedCompletionStatus(
                self.0.as_raw_handle(),
                &raw mut length,
                &raw mut key,
                &raw mut overlapped,
                patience,
            )
        };
        let ended = check(status).map(|()| length as usize);
        if !overlapped.is_null() {
            // SAFETY: only reads are begun on what is associated with the port, each with the OVERLAPPED that is the first field
            // of its box, and this one has ended.
            let read = unsafe { Box::from_raw(overlapped.cast::<Read>()) };
            return Ok(Some(Completion::Read { key, read, ended }));
        }
        match ended {
            Ok(_) => Ok(Some(Completion::Posted { key })),
            Err(error) if number(&error) == WAIT_TIMEOUT => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Lets all reads of a file or socket end soon.
pub(in super::super) fn cancel(file: BorrowedHandle<'_>) -> io::Result<()> {
    // SAFETY: the handle is open; without an OVERLAPPED all operations are meant.
    match check(unsafe { CancelIoEx(file.as_raw_handle(), ptr::null()) }) {
        Err(error) if number(&error) == ERROR_NOT_FOUND => Ok(()),
        cancelled => cancelled,
    }
}

/// A socket as the file that it is to the kernel.
pub(in super::super) fn file_of(socket: BorrowedSocket<'_>) -> BorrowedHandle<'_> {
    let handle = socket.as_raw_socket() as RawHandle;
    // SAFETY: sockets are handles of files, and this one is open as long as it is borrowed.
    unsafe { BorrowedHandle::borrow_raw(handle) }
}
