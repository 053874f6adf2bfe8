//! Reading packets from devices and sockets: one thread and one completion port for all of them.
//!
//! Each has some reads under way, so that the system always has room for the next packet. What ends at the port comes in order: a
//! question that is posted is answered when every packet has been handled that came before it.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsHandle, AsSocket, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;
use tracing::debug;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA};

use super::sys::completion::{Completion, Port, Read, cancel, file_of};

/// What becomes of what is read.
pub(super) trait Handler: Send + 'static {
    /// A read of what has this role has given these bytes, all or the first of a packet's.
    fn packet(&mut self, role: Role, bytes: &[u8]);
    /// A packet was lost.
    fn lost(&mut self);
    /// Every packet has been handled that had come when [`Asker::ask`] was called, or very many of them.
    fn up_to_date(&mut self);
    /// There will be no more packets.
    fn ended(&mut self);
}

/// What something is that is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The packets that everything depends on: their end is that of all.
    All,
    /// Some packets more.
    Part,
    /// Those among which there are some that others bring, too, unless they are for this local port.
    Rest(u16),
}

/// A thread that reads. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reader(Arc<Shared>);

/// What is read from, until this is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    shared: Arc<Shared>,
    input: Arc<Input>,
}

#[derive(Debug)]
struct Shared {
    port: Port,
    inputs: Mutex<Inputs>,
}

#[derive(Debug, Default)]
struct Inputs {
    next: usize,
    live: HashMap<usize, Arc<Input>>,
    /// Nothing is read any more.
    ended: bool,
}

#[derive(Debug)]
struct Input {
    key: usize,
    role: Role,
    /// How many reads are to be under way.
    wanted: usize,
    state: Mutex<State>,
}

/// What is read from.
#[derive(Debug)]
pub(super) enum Opened {
    /// A device or pipe, opened for overlapped operation.
    Device(OwnedHandle),
    /// A socket.
    Socket(Arc<Socket>),
}

#[derive(Debug)]
struct State {
    /// Until nothing more is read from it.
    opened: Option<Opened>,
    /// Reads under way.
    reads: usize,
    /// How many reads in a row have failed.
    failures: u32,
}

/// Keys of what is posted; inputs have those from [`FIRST_KEY`] on.
const STOP: usize = 0;
const QUESTION: usize = 1;
const FIRST_KEY: usize = 2;

/// So many reads in a row that fail mean that there will be no more packets. It is more than are under way at one time, which a
/// single mishap may end.
const MOST_FAILURES: u32 = 1000;

/// So many packets are handled before a question is answered, if that many had come before it.
const MOST_BEFORE_AN_ANSWER: usize = 10_000;

/// How long reads that were cancelled are waited for.
const DRAIN: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn start(handler: impl Handler) -> io::Result<Self> {
        let inputs = Mutex::new(Inputs { next: FIRST_KEY, ..Inputs::default() });
        let shared = Arc::new(Shared { port: Port::new()?, inputs });
        let reader = Self(Arc::clone(&shared));
        thread::Builder::new().name("capture".into()).spawn(move || read(&shared, handler))?;
        Ok(reader)
    }

    /// Begins to read from a device or socket, with so many reads under way at one time.
    pub(super) fn read_from(&self, opened: Opened, reads: usize, role: Role) -> io::Result<Reading> {
        let shared = Arc::clone(&self.0);
        let mut inputs = shared.lock();
        if inputs.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let key = inputs.next;
        shared.port.associate(opened.file(), key)?;
        inputs.next += 1;
        let state = Mutex::new(State { opened: Some(opened), reads: 0, failures: 0 });
        let input = Arc::new(Input { key, role, wanted: reads, state });
        inputs.live.insert(key, Arc::clone(&input));
        drop(inputs);
        // From here on dropping it ends what has begun.
        let reading = Reading { shared, input };
        let mut state = reading.input.lock();
        for _ in 0..reads {
            state.begin(Read::new())?;
        }
        drop(state);
        Ok(reading)
    }

    /// Who may ask whether all has been handled.
    pub(super) fn asker(&self) -> Asker {
        Asker(Arc::clone(&self.0))
    }
}

/// Asks whether all has been handled.
#[derive(Clone, Debug)]
pub(super) struct Asker(Arc<Shared>);

impl Asker {
    /// Lets [`Handler::up_to_date`] be called when what has come by now is handled.
    pub(super) fn ask(&self) {
        // A port that cannot be posted to has ended, and its handler has been told so.
        let _ = self.0.port.post(QUESTION);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.port.post(STOP);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.input.close() == 0 {
            self.shared.lock().live.remove(&self.input.key);
        }
    }
}

impl Opened {
    fn file(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Device(device) => device.as_handle(),
            Self::Socket(socket) => file_of(socket.as_socket()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, read: Box<Read>) -> io::Result<()> {
        match &self.opened {
            Some(Opened::Device(device)) => read.from_file(device.as_handle())?,
            Some(Opened::Socket(socket)) => read.from_socket(socket.as_socket())?,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        self.reads += 1;
        Ok(())
    }
}

impl Input {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins as many reads as are to be under way, those too that could not begin before. If none can, none are.
    fn begin_wanted(&self, state: &mut State, read: Box<Read>) {
        let mut read = Some(read);
        while state.reads < self.wanted && state.begin(read.take().unwrap_or_else(Read::new)).is_ok() {}
    }

    /// Lets no more reads begin, and those under way end; how many these are.
    fn close(&self) -> usize {
        let mut state = self.lock();
        let (opened, reads) = (state.opened.take(), state.reads);
        drop(state);
        if let Some(opened) = opened {
            // A device is nobody else's: what that does not end ends with its handle, which is closed behind it.
            let _ = cancel(opened.file());
        }
        reads
    }
}

/// Tells the handler of the end, whatever that is.
struct UntilTheEnd<H: Handler>(H);

impl<H: Handler> Drop for UntilTheEnd<H> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

fn read(shared: &Shared, handler: impl Handler) {
    let mut handler = UntilTheEnd(handler);
    while handle_next(shared, None, &mut handler.0) != Next::End {}
    shared.lock().ended = true;
    drop(handler);
    drain(shared);
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// More.
    More,
    /// Nothing has come in time.
    Nothing,
    /// The end.
    End,
}

/// Handles what comes next, if it comes in time.
fn handle_next(shared: &Shared, patience: Option<Duration>, handler: &mut impl Handler) -> Next {
    match shared.port.wait(patience) {
        Ok(Some(Completion::Read { key, read, ended })) => handle(shared, key, read, ended, handler),
        Ok(Some(Completion::Posted { key: QUESTION })) => {
            // What did not fit the reads under way has come before the question, and comes behind it.
            let mut next = Next::More;
            for _ in 0..MOST_BEFORE_AN_ANSWER {
                next = handle_next(shared, Some(Duration::ZERO), handler);
                if next != Next::More {
                    break;
                }
            }
            handler.up_to_date();
            if next == Next::End { next } else { Next::More }
        }
        Ok(None) => Next::Nothing,
        Ok(Some(Completion::Posted { .. })) | Err(_) => Next::End,
    }
}

/// Handles the end of a read.
fn handle(
    shared: &Shared,
    key: usize,
    read: Box<Read>,
    ended: io::Result<usize>,
    handler: &mut impl Handler,
) -> Next {
    let Some(input) = shared.lock().live.get(&key).map(Arc::clone) else { return Next::More };
    let error = match ended {
        Ok(length) => {
            handler.packet(input.role, read.bytes(length));
            None
        }
        Err(error) => error.raw_os_error().map(i32::cast_unsigned),
    };
    match error {
        // The buffer is full of the first part of a packet.
        Some(ERROR_MORE_DATA) => handler.packet(input.role, read.bytes(usize::MAX)),
        Some(ERROR_INSUFFICIENT_BUFFER) => handler.lost(),
        _ => {}
    }
    let mut state = input.lock();
    state.reads -= 1;
    let is_open = state.opened.is_some();
    if is_open {
        let failed =
            error.is_some_and(|error| ![ERROR_MORE_DATA, ERROR_INSUFFICIENT_BUFFER].contains(&error));
        state.failures = if failed { state.failures + 1 } else { 0 };
        if state.failures <= MOST_FAILURES {
            input.begin_wanted(&mut state, read);
        }
        if state.reads > 0 {
            return Next::More;
        }
        debug!(?input, ?error, "nothing more is read");
    }
    if state.reads == 0 {
        shared.lock().live.remove(&key);
    }
    if input.role == Role::All && is_open { Next::End } else { Next::More }
}

/// Lets the reads under way end, whose buffers the system may write to until then.
fn drain(shared: &Shared) {
    let live: Vec<_> = shared.lock().live.values().map(Arc::clone).collect();
    let mut reads: usize = live.iter().map(|input| input.close()).sum();
    let started = Instant::now();
    while reads > 0
        && let Some(patience) = DRAIN.checked_sub(started.elapsed())
    {
        match shared.port.wait(Some(patience)) {
            Ok(Some(Completion::Read { .. })) => reads -= 1,
            Ok(Some(Completion::Posted { .. })) => {}
            Ok(None) | Err(_) => break,
        }
    }
    shared.lock().live.clear();
}

#[cfg(test)]
mod tests;
