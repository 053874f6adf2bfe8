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
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;
use traceroute_core::Stamp;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE, INVALID_HANDLE_VALUE, SetLastError};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY_LH, IP_OPTION_INFORMATION, Icmp6CreateFile, Icmp6ParseReplies,
    Icmp6SendEcho2, IcmpCloseHandle, IcmpCreateFile, IcmpParseReplies, IcmpSendEcho2Ex,
};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET6, IN6_ADDR, IN6_ADDR_0, SOCKADDR_IN6, SOCKADDR_IN6_0, WSAEAFNOSUPPORT,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::Threading::{INFINITE, QueueUserAPC, SleepEx};

use super::number;
use crate::clock::Clock;

/// How long the system listens for the answer to a request, in milliseconds. Runs decide for themselves how long they do, and hardly
/// longer; the system keeps what it listens for in memory.
const PATIENCE: u32 = 60_000;

/// An echo request to send.
pub(in super::super) struct Request {
    pub(in super::super) from: IpAddr,
    /// Of the same family.
    pub(in super::super) to: IpAddr,
    /// The zone of a link-local IPv6 address.
    pub(in super::super) zone: u32,
    pub(in super::super) ttl: u8,
    pub(in super::super) data: Vec<u8>,
    pub(in super::super) clock: Clock,
    /// Is told when it was sent, or by the system's number why it was not.
    pub(in super::super) begun: oneshot::Sender<Result<Stamp, u32>>,
    /// Is told what came of it then.
    pub(in super::super) done: Done,
}

/// Takes the answer, or the system's number of why there is none.
pub(in super::super) type Done = Box<dyn FnOnce(Result<Reply, u32>) + Send>;

/// What the system says of the answer to an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Reply {
    /// An `IP_STATUS` (ipexport.h).
    pub(in super::super) status: u32,
    pub(in super::super) from: IpAddr,
    /// The TTL with which it came, in IPv4; 0 where that is not known.
    pub(in super::super) ttl: u8,
}

/// The thread. It ends when this is dropped; requests under way are then nobody's.
#[derive(Debug)]
pub(in super::super) struct EchoThread(OwnedHandle);

/// Something that the thread does.
type Job = Box<dyn FnOnce(&Thread) + Send>;

impl EchoThread {
    pub(in super::super) fn start() -> io::Result<Self> {
        let (running, runs) = mpsc::channel();
        let thread = thread::Builder::new().name("echo".into()).spawn(move || run(&running))?;
        // What is queued before would be called before the standard library has set the thread up.
        runs.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(Self(thread.into()))
    }

    /// Lets the thread send a request.
    pub(in super::super) fn send(&self, request: Request) -> io::Result<()> {
        self.queue(Box::new(move |thread| submit(thread, request)))
    }

    /// Lets something be called when the thread has told of all answers that there are by now.
    pub(in super::super) fn call(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.queue(Box::new(move |_| job()))
    }

    fn queue(&self, job: Job) -> io::Result<()> {
        let job = Box::into_raw(Box::new(job));
        // SAFETY: the thread is there as long as its handle, unless it was told to end, which only dropping does; `perform` takes
        // the box.
        let queued = unsafe { QueueUserAPC(Some(perform), self.0.as_raw_handle(), job.expose_provenance()) };
        if queued == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the pointer is of `Box::into_raw`, and nobody else has got it.
            drop(unsafe { Box::from_raw(job) });
            return Err(error);
        }
        Ok(())
    }
}

impl Drop for EchoThread {
    fn drop(&mut self) {
        // A thread that cannot be told waits for ever, and is nobody's.
        self.queue(Box::new(|thread| thread.stopped.set(true))).unwrap_or_default();
    }
}

#[derive(Default)]
struct Thread {
    /// The handles of the echo functions; all requests share the one of their family.
    v4: OnceCell<HANDLE>,
    v6: OnceCell<HANDLE>,
    /// How many requests are under way.
    pending: Cell<usize>,
    stopped: Cell<bool>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Closing waits for all requests under way, which can take a minute: those handles are the process's, to its end.
        if self.pending.get() == 0 {
            for handle in [&self.v4, &self.v6].into_iter().filter_map(OnceCell::get) {
                // SAFETY: the handle is open, and nobody uses it any more.
                unsafe { IcmpCloseHandle(*handle) };
            }
        }
    }
}

thread_local! {
    static THREAD: Thread = Thread::default();
}

fn run(running: &mpsc::Sender<()>) {
    // Who starts it waits for this.
    running.send(()).unwrap_or_default();
    while !THREAD.with(|thread| thread.stopped.get()) {
        // SAFETY: the call only waits; what is called meanwhile takes care of itself.
        unsafe { SleepEx(INFINITE, 1) };
    }
}

/// Does a job, in the thread.
unsafe extern "system" fn perform(job: usize) {
    // SAFETY: `queue` has given up this box for us.
    let job = unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Job>(job)) };
    THREAD.with(|thread| job(thread));
}

/// A request under way. While it is, the system has the box, and writes to its buffer.
struct Pending {
    is_v6: bool,
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
}

/// Sends a request, in the thread.
fn submit(thread: &Thread, request: Request) {
    let Request { from, to, zone, ttl, data, clock, begun, done } = request;
    // In IPv4 larger ones than the interface takes are refused, as those of other ways are; in IPv6 there is no such flag.
    let flags = if to.is_ipv4() { DONT_FRAGMENT } else { 0 };
    let options = IP_OPTION_INFORMATION { Ttl: ttl, Flags: flags, ..IP_OPTION_INFORMATION::default() };
    // One reply with the data of the request, or of an ICMP error, and what the documentation of `IcmpSendEcho2` adds.
    let room = size_of::<ICMPV6_ECHO_REPLY_LH>() + data.len() + 8 + size_of::<IO_STATUS_BLOCK>() + 128;
    let replies = vec![0_u64; room.div_ceil(size_of::<u64>())];
    let pending = Box::new(Pending { is_v6: to.is_ipv6(), done, data, options, replies });
    let sent = match (from, to) {
        // SAFETY: the function takes nothing.
        (IpAddr::V4(from), IpAddr::V4(to)) => opened(&thread.v4, || unsafe { IcmpCreateFile() })
            .and_then(|icmp| stamped(clock, || send_v4(icmp, pending, from, to))),
        // SAFETY: the function takes nothing.
        (IpAddr::V6(from), IpAddr::V6(to)) => opened(&thread.v6, || unsafe { Icmp6CreateFile() })
            .and_then(|icmp| stamped(clock, || send_v6(icmp, pending, from, to, zone))),
        _ => Err(WSAEAFNOSUPPORT.cast_unsigned()),
    };
    thread.pending.update(|pending| pending + usize::from(sent.is_ok()));
    // A run that has ended meanwhile does not want to know.
    begun.send(sent).unwrap_or_default();
}

/// When something was begun, if it was.
fn stamped(clock: Clock, begin: impl FnOnce() -> Result<(), u32>) -> Result<Stamp, u32> {
    let stamp = Stamp::user(clock.now());
    begin().map(|()| stamp)
}

/// `IP_FLAG_DF` (ipexport.h).
const DONT_FRAGMENT: u8 = 2;

/// The handle of a family, opened when it is first asked for.
fn opened(family: &OnceCell<HANDLE>, open: impl FnOnce() -> HANDLE) -> Result<HANDLE, u32> {
    if let Some(icmp) = family.get() {
        return Ok(*icmp);
    }
    let handle = open();
    if handle == INVALID_HANDLE_VALUE {
        return Err(number(&io::Error::last_os_error()));
    }
    Ok(*family.get_or_init(|| handle))
}

fn send_v4(icmp: HANDLE, pending: Box<Pending>, from: Ipv4Addr, to: Ipv4Addr) -> Result<(), u32> {
    let [from, to] = [from, to].map(|address| u32::from_ne_bytes(address.octets()));
    begin(pending, |given| {
        // SAFETY: what is given is as the function wants it (see `Given`).
        unsafe {
            IcmpSendEcho2Ex(
                icmp,
                ptr::null_mut(),
                Some(answered),
                given.context,
                from,
                to,
                given.data,
                given.length,
                given.options,
                given.replies,
                given.room,
                PATIENCE,
            )
        }
    })
}

fn send_v6(icmp: HANDLE, pending: Box<Pending>, from: Ipv6Addr, to: Ipv6Addr, zone: u32) -> Result<(), u32> {
    let [from, to] = [from, to].map(|address| SOCKADDR_IN6 {
        sin6_family: AF_INET6,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: IN6_ADDR { u: IN6_ADDR_0 { Byte: address.octets() } },
        Anonymous: SOCKADDR_IN6_0 { sin6_scope_id: zone },
    });
    begin(pending, |given| {
        // SAFETY: what is given is as the function wants it (see `Given`), and the addresses are read before it returns.
        unsafe {
            Icmp6SendEcho2(
                icmp,
                ptr::null_mut(),
                Some(answered),
                given.context,
                &raw const from,
                &raw const to,
                given.data,
                given.length,
                given.options,
                given.replies,
                given.room,
                PATIENCE,
            )
        }
    })
}

/// What the system is given of a request under way. All of it is the request's own, which lives until [`answered`] has taken it back
/// by the context, and nobody else refers to it.
struct Given {
    context: *const c_void,
    data: *const c_void,
    /// Of the data, in bytes.
    length: u16,
    options: *const IP_OPTION_INFORMATION,
    /// A buffer for replies.
    replies: *mut c_void,
    /// Of the buffer, in bytes.
    room: u32,
}

/// Gives a request to the system, and takes it back if the system does not begin it. One of which it says neither stays the
/// system's: it may still call.
fn begin(pending: Box<Pending>, call: impl FnOnce(&Given) -> u32) -> Result<(), u32> {
    let (room, length) = (pending.room(), u16::try_from(pending.data.len()).unwrap_or(u16::MAX));
    let pending = Box::into_raw(pending);
    // SAFETY: `pending` is a live box that nobody else refers to before the call.
    let Pending { data, options, replies, .. } = unsafe { &mut *pending };
    // SAFETY: the call takes a number. What an earlier call has left there would be taken for a refusal.
    unsafe { SetLastError(0) };
    let sent = call(&Given {
        context: pending.cast_const().cast(),
        data: data.as_ptr().cast(),
        length,
        options: &raw const *options,
        replies: replies.as_mut_ptr().cast(),
        room,
    });
    let error = number(&io::Error::last_os_error());
    if sent != 0 || [0, ERROR_IO_PENDING].contains(&error) {
        return Ok(());
    }
    // SAFETY: the pointer is of `Box::into_raw`, and the system has refused it.
    drop(unsafe { Box::from_raw(pending) });
    Err(error)
}

/// Hears of the end of a request, in the thread.
unsafe extern "system" fn answered(pending: *mut c_void, _: *mut IO_STATUS_BLOCK, _: u32) {
    THREAD.with(|thread| thread.pending.update(|pending| pending.saturating_sub(1)));
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
    let reply = if count == 0 {
        Err(number(&io::Error::last_os_error()))
    } else if pending.is_v6 {
        // SAFETY: the buffer begins with a reply, is longer than it and aligned for it.
        let reply = unsafe { replies.cast::<ICMPV6_ECHO_REPLY_LH>().read() };
        let words = reply.Address.sin6_addr;
        let from = IpAddr::V6(Ipv6Addr::from(words.map(u16::from_be)));
        Ok(Reply { status: reply.Status, from, ttl: 0 })
    } else {
        // SAFETY: as above.
        let reply = unsafe { replies.cast::<ICMP_ECHO_REPLY>().read() };
        let from = IpAddr::V4(Ipv4Addr::from(reply.Address.to_ne_bytes()));
        Ok(Reply { status: reply.Status, from, ttl: reply.Options.Ttl })
    };
    (pending.done)(reply);
}
