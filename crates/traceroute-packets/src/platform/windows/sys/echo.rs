//! Echo requests that the system sends, and its answers.
//!
//! One thread makes all requests and hears of all answers, by asynchronous procedure calls: a silent hop costs a buffer and no
//! thread.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::thread;

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY_LH, IP_OPTION_INFORMATION, Icmp6CreateFile, Icmp6ParseReplies,
    Icmp6SendEcho2, IcmpCloseHandle, IcmpCreateFile, IcmpParseReplies, IcmpSendEcho2Ex,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET6, IN6_ADDR, IN6_ADDR_0, SOCKADDR_IN6, SOCKADDR_IN6_0};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::Threading::{INFINITE, QueueUserAPC, SleepEx};

use super::number;

/// An echo request to send.
pub(in super::super) struct Request {
    pub(in super::super) from: IpAddr,
    /// Of the same family.
    pub(in super::super) to: IpAddr,
    /// The zone of a link-local IPv6 address.
    pub(in super::super) zone: u32,
    pub(in super::super) ttl: u8,
    /// Type of service or traffic class.
    pub(in super::super) traffic_class: u8,
    pub(in super::super) data: Vec<u8>,
    /// How long the system listens for an answer, in milliseconds.
    pub(in super::super) patience: u32,
    /// Is told what came of it.
    pub(in super::super) done: Done,
}

pub(in super::super) type Done = Box<dyn FnOnce(Reply) + Send>;

/// What came of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Reply {
    /// An `IP_STATUS` (ipexport.h), or another error of the system's.
    pub(in super::super) status: u32,
    pub(in super::super) from: IpAddr,
    /// The TTL with which it came, in IPv4; 0 where that is not known.
    pub(in super::super) ttl: u8,
}

/// The thread. It ends when this is dropped; requests under way are then nobody's.
#[derive(Debug)]
pub(in super::super) struct EchoThread(OwnedHandle);

impl EchoThread {
    pub(in super::super) fn start() -> io::Result<Self> {
        let thread = thread::Builder::new().name("echo".into()).spawn(run)?;
        Ok(Self(thread.into()))
    }

    /// Lets the thread send a request.
    pub(in super::super) fn send(&self, request: Request) -> io::Result<()> {
        let request = Box::into_raw(Box::new(request));
        // SAFETY: the thread is there as long as its handle, unless it was told to end, which only dropping does; `submit` takes
        // the box.
        let queued =
            unsafe { QueueUserAPC(Some(submit), self.0.as_raw_handle(), request.expose_provenance()) };
        if queued == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the pointer is of `Box::into_raw`, and nobody else has got it.
            drop(unsafe { Box::from_raw(request) });
            return Err(error);
        }
        Ok(())
    }
}

impl Drop for EchoThread {
    fn drop(&mut self) {
        // SAFETY: the thread's handle is open, and `stop` needs no data.
        unsafe { QueueUserAPC(Some(stop), self.0.as_raw_handle(), 0) };
    }
}

/// A handle of the echo functions; all requests of the thread share the one of their family.
struct Icmp(HANDLE);

impl Drop for Icmp {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this is its only owner.
        unsafe { IcmpCloseHandle(self.0) };
    }
}

#[derive(Default)]
struct Thread {
    v4: OnceCell<Icmp>,
    v6: OnceCell<Icmp>,
    stopped: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = Thread::default();
}

fn run() {
    while !THREAD.with(|thread| thread.stopped.get()) {
        // SAFETY: the call only waits; what is called meanwhile takes care of itself.
        unsafe { SleepEx(INFINITE, 1) };
    }
}

unsafe extern "system" fn stop(_: usize) {
    THREAD.with(|thread| thread.stopped.set(true));
}

/// A request under way. While it is, the system has the box, and writes to its buffer.
struct Pending {
    is_v6: bool,
    to: IpAddr,
    done: Done,
    data: Vec<u8>,
    options: IP_OPTION_INFORMATION,
    /// Aligned for the structures that are written to it.
    replies: Vec<u64>,
}

impl Pending {
    /// The length of the buffer in bytes.
    fn room(&self) -> u32 {
        u32::try_from(self.replies.len() * size_of::<u64>()).unwrap_or(u32::MAX)
    }

    fn finish(self, status: u32) {
        (self.done)(Reply { status, from: self.to, ttl: 0 });
    }
}

/// Sends a request, in the thread.
unsafe extern "system" fn submit(request: usize) {
    // SAFETY: `send` has given up this box for us.
    let request = unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Request>(request)) };
    let Request { from, to, zone, ttl, traffic_class, data, patience, done } = *request;
    let options = IP_OPTION_INFORMATION { Ttl: ttl, Tos: traffic_class, ..IP_OPTION_INFORMATION::default() };
    // One reply with the data of the request, or of an ICMP error, and what the documentation of `IcmpSendEcho2` adds.
    let room = size_of::<ICMPV6_ECHO_REPLY_LH>() + data.len() + 8 + size_of::<IO_STATUS_BLOCK>() + 128;
    let replies = vec![0_u64; room.div_ceil(size_of::<u64>())];
    let pending = Box::new(Pending { is_v6: to.is_ipv6(), to, done, data, options, replies });
    THREAD.with(|thread| match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => send_v4(thread, pending, from, to, patience),
        (IpAddr::V6(from), IpAddr::V6(to)) => send_v6(thread, pending, from, to, zone, patience),
        _ => pending.finish(0),
    });
}

fn send_v4(thread: &Thread, pending: Box<Pending>, from: Ipv4Addr, to: Ipv4Addr, patience: u32) {
    // SAFETY: the function takes nothing.
    let icmp = thread.v4.get_or_init(|| Icmp(unsafe { IcmpCreateFile() }));
    if icmp.0 == INVALID_HANDLE_VALUE {
        return pending.finish(number(&io::Error::last_os_error()));
    }
    let [from, to] = [from, to].map(|address| u32::from_ne_bytes(address.octets()));
    let (room, length) = (pending.room(), u16::try_from(pending.data.len()).unwrap_or(u16::MAX));
    let pending = Box::into_raw(pending);
    // SAFETY: `pending` is a live box that nobody else refers to until `answered` takes it or the call refuses it.
    let Pending { data, options, replies, .. } = unsafe { &mut *pending };
    // SAFETY: data, options and buffer live as long as the request, and the buffer has the room that is said.
    let sent = unsafe {
        IcmpSendEcho2Ex(
            icmp.0,
            ptr::null_mut(),
            Some(answered),
            pending.cast(),
            from,
            to,
            data.as_ptr().cast(),
            length,
            &raw const *options,
            replies.as_mut_ptr().cast(),
            room,
            patience,
        )
    };
    refuse_unless_pending(sent, pending);
}

fn send_v6(thread: &Thread, pending: Box<Pending>, from: Ipv6Addr, to: Ipv6Addr, zone: u32, patience: u32) {
    // SAFETY: the function takes nothing.
    let icmp = thread.v6.get_or_init(|| Icmp(unsafe { Icmp6CreateFile() }));
    if icmp.0 == INVALID_HANDLE_VALUE {
        return pending.finish(number(&io::Error::last_os_error()));
    }
    let socket_address = |address: Ipv6Addr, zone| SOCKADDR_IN6 {
        sin6_family: AF_INET6,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: IN6_ADDR { u: IN6_ADDR_0 { Byte: address.octets() } },
        Anonymous: SOCKADDR_IN6_0 { sin6_scope_id: zone },
    };
    let (from, to) = (socket_address(from, zone), socket_address(to, zone));
    let (room, length) = (pending.room(), u16::try_from(pending.data.len()).unwrap_or(u16::MAX));
    let pending = Box::into_raw(pending);
    // SAFETY: as in `send_v4`.
    let Pending { data, options, replies, .. } = unsafe { &mut *pending };
    // SAFETY: as in `send_v4`; the addresses are read before the call returns.
    let sent = unsafe {
        Icmp6SendEcho2(
            icmp.0,
            ptr::null_mut(),
            Some(answered),
            pending.cast(),
            &raw const from,
            &raw const to,
            data.as_ptr().cast(),
            length,
            &raw const *options,
            replies.as_mut_ptr().cast(),
            room,
            patience,
        )
    };
    refuse_unless_pending(sent, pending);
}

/// Takes back a request that the system has not begun.
fn refuse_unless_pending(sent: u32, pending: *mut Pending) {
    let error = number(&io::Error::last_os_error());
    if sent == 0 && error != ERROR_IO_PENDING {
        // SAFETY: the pointer is of `Box::into_raw`, and the system has refused it.
        unsafe { Box::from_raw(pending) }.finish(error);
    }
}

/// Hears of the end of a request, in the thread.
unsafe extern "system" fn answered(pending: *mut c_void, _: *mut IO_STATUS_BLOCK, _: u32) {
    // SAFETY: the system gives back the box that it was given with the request, which has ended.
    let mut pending = unsafe { Box::from_raw(pending.cast::<Pending>()) };
    let room = pending.room();
    let replies: *mut c_void = pending.replies.as_mut_ptr().cast();
    let count = if pending.is_v6 {
        // SAFETY: the buffer is that of an ended request, of the room that is said.
        unsafe { Icmp6ParseReplies(replies, room) }
    } else {
        // SAFETY: as above.
        unsafe { IcmpParseReplies(replies, room) }
    };
    if count == 0 {
        return pending.finish(number(&io::Error::last_os_error()));
    }
    let (status, from, ttl) = if pending.is_v6 {
        // SAFETY: the buffer begins with a reply, is longer than it and aligned for it.
        let reply = unsafe { replies.cast::<ICMPV6_ECHO_REPLY_LH>().read() };
        let words = reply.Address.sin6_addr;
        (reply.Status, IpAddr::V6(Ipv6Addr::from(words.map(u16::from_be))), 0)
    } else {
        // SAFETY: as above.
        let reply = unsafe { replies.cast::<ICMP_ECHO_REPLY>().read() };
        (reply.Status, IpAddr::V4(Ipv4Addr::from(reply.Address.to_ne_bytes())), reply.Options.Ttl)
    };
    (pending.done)(Reply { status, from, ttl });
}
