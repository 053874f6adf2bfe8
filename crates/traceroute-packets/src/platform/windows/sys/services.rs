//! The service control manager.

use std::io;
use std::ptr;

use windows_sys::Win32::System::Services::{
    ChangeServiceConfigW, CloseServiceHandle, OpenSCManagerW, OpenServiceW, QUERY_SERVICE_CONFIGW,
    QueryServiceConfigW, QueryServiceStatus, SC_HANDLE, SC_MANAGER_CONNECT, SERVICE_CHANGE_CONFIG,
    SERVICE_DEMAND_START, SERVICE_DISABLED, SERVICE_NO_CHANGE, SERVICE_QUERY_CONFIG, SERVICE_QUERY_STATUS,
    SERVICE_START, SERVICE_STATUS, StartServiceW,
};

use super::{check, wide};

/// A handle of the service control manager's, closed when it is dropped.
struct Handle(SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this is its only owner.
        unsafe { CloseServiceHandle(self.0) };
    }
}

fn owned(handle: SC_HANDLE) -> io::Result<Handle> {
    if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Handle(handle)) }
}

fn open(service: &str, rights: u32) -> io::Result<Handle> {
    // SAFETY: null is this machine, and its active database.
    let manager = owned(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT) })?;
    let service = wide(service);
    // SAFETY: the manager is open, and the name ends with zero and lives through the call.
    owned(unsafe { OpenServiceW(manager.0, service.as_ptr(), rights) })
}

/// What a service is doing: a `SERVICE_STATUS_CURRENT_STATE`.
pub(in super::super) fn state(service: &str) -> io::Result<u32> {
    let service = open(service, SERVICE_QUERY_STATUS)?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open and the pointer is to a live structure.
    check(unsafe { QueryServiceStatus(service.0, &raw mut status) })?;
    Ok(status.dwCurrentState)
}

/// A configuration with the strings that it points to. The system takes no larger buffer than 8 KiB (`QueryServiceConfigW`).
#[repr(C)]
struct Configuration {
    fields: QUERY_SERVICE_CONFIGW,
    strings: [u8; STRINGS],
}

const STRINGS: usize = 8192 - size_of::<QUERY_SERVICE_CONFIGW>();

/// Whether a service may not be started.
pub(in super::super) fn is_disabled(service: &str) -> io::Result<bool> {
    let service = open(service, SERVICE_QUERY_CONFIG)?;
    let mut configuration =
        Box::new(Configuration { fields: QUERY_SERVICE_CONFIGW::default(), strings: [0; STRINGS] });
    let mut needed = 0;
    let room = u32::try_from(size_of::<Configuration>()).unwrap_or(u32::MAX);
    let buffer: *mut Configuration = &raw mut *configuration;
    // SAFETY: the service is open, and the buffer has the room that is said and begins with the structure that is written.
    check(unsafe { QueryServiceConfigW(service.0, buffer.cast(), room, &raw mut needed) })?;
    Ok(configuration.fields.dwStartType == SERVICE_DISABLED)
}

/// Lets a service be started on demand.
pub(in super::super) fn enable(service: &str) -> io::Result<()> {
    let service = open(service, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG | SERVICE_CHANGE_CONFIG)?;
    // SAFETY: the service is open; null leaves what it stands for as it is.
    check(unsafe {
        ChangeServiceConfigW(
            service.0,
            SERVICE_NO_CHANGE,
            SERVICE_DEMAND_START,
            SERVICE_NO_CHANGE,
            ptr::null(),
            ptr::null(),
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
        )
    })
}

/// Starts a service.
pub(in super::super) fn start(service: &str) -> io::Result<()> {
    let service = open(service, SERVICE_START)?;
    // SAFETY: the service is open, and it gets no arguments.
    check(unsafe { StartServiceW(service.0, 0, ptr::null()) })
}
