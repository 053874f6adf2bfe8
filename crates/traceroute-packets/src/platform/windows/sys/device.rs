//! Devices: opening, controlling, writing.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::{mem, ptr};

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_WRITE_FAULT, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, DeviceIoControl, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{CreateEventW, WaitForSingleObject};

use super::{check, number, wide};

/// How calls on a handle go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Operation {
    /// A call returns when it is done.
    Synchronous,
    /// Reads end at a completion port.
    Overlapped,
}

/// Opens an existing device for reading and writing.
pub(in super::super) fn open(path: &str, operation: Operation) -> io::Result<OwnedHandle> {
    let path = wide(path);
    let flags = match operation {
        Operation::Synchronous => 0,
        Operation::Overlapped => FILE_FLAG_OVERLAPPED,
    };
    // SAFETY: the path is a string that ends with zero and lives through the call; the other pointers may be null.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            ptr::null(),
            OPEN_EXISTING,
            flags,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Does a control operation and waits for its end, on a handle whose reads end at a completion port.
///
/// Such a handle needs an OVERLAPPED with an event (`DeviceIoControl`). The lowest bit of the event keeps the end of this operation
/// away from the port (`GetQueuedCompletionStatus`), where it would be taken for a read.
pub(in super::super) fn control(
    device: BorrowedHandle<'_>,
    code: u32,
    input: &[u8],
    output: &mut [u8],
) -> io::Result<()> {
    // SAFETY: all pointers may be null; the event is set by hand and not set yet.
    let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
    if event.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new and nobody else's.
    let event = unsafe { OwnedHandle::from_raw_handle(event) };
    let mut controlled = Box::new(Controlled {
        overlapped: OVERLAPPED {
            hEvent: event.as_raw_handle().map_addr(|event| event | 1),
            ..OVERLAPPED::default()
        },
        returned: 0,
        input: input.to_vec(),
        output: vec![0; output.len()],
    });
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let Controlled { overlapped, returned, input, output: written } = &mut *controlled;
    // SAFETY: input, output and OVERLAPPED live until the operation has ended: that is waited for, or else they are leaked.
    let started = check(unsafe {
        DeviceIoControl(
            device.as_raw_handle(),
            code,
            input.as_ptr().cast::<c_void>(),
            length(input.len()),
            written.as_mut_ptr().cast::<c_void>(),
            length(written.len()),
            &raw mut *returned,
            &raw mut *overlapped,
        )
    });
    match started {
        Err(error) if number(&error) == ERROR_IO_PENDING => {
            // SAFETY: the event is open.
            if unsafe { WaitForSingleObject(event.as_raw_handle(), PATIENCE) } != WAIT_OBJECT_0 {
                // SAFETY: the handle and the OVERLAPPED of the operation are there.
                unsafe { CancelIoEx(device.as_raw_handle(), &raw const *overlapped) };
                // SAFETY: the event is open.
                if unsafe { WaitForSingleObject(event.as_raw_handle(), PATIENCE) } != WAIT_OBJECT_0 {
                    // The driver may still write to it, and set the event.
                    mem::forget((controlled, event));
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            // SAFETY: the operation has ended, so its OVERLAPPED is not written to any more.
            check(unsafe {
                GetOverlappedResult(device.as_raw_handle(), &raw const *overlapped, &raw mut *returned, 0)
            })?;
        }
        other => other?,
    }
    output.copy_from_slice(written);
    Ok(())
}

/// How long a control operation may take, and to be cancelled, in milliseconds.
const PATIENCE: u32 = 5000;

/// What a control operation reads and writes.
struct Controlled {
    overlapped: OVERLAPPED,
    returned: u32,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Writes bytes, all of them at once, to a device that was opened for synchronous operation.
pub(in super::super) fn write(device: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut written = 0;
    // SAFETY: the bytes live through the call, which returns when it is done with them.
    check(unsafe {
        WriteFile(device.as_raw_handle(), bytes.as_ptr(), length, &raw mut written, ptr::null_mut())
    })?;
    if written == length {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(ERROR_WRITE_FAULT.cast_signed()))
    }
}
