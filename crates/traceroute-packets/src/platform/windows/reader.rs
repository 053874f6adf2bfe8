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
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA, ERROR_OPERATION_ABORTED};

use super::sys::completion::{Completion, Port, Read, cancel, file_of};

/// What becomes of what is read.
pub(super) trait Handler: Send + 'static {
    /// A read has given these bytes, all or the first of a packet's.
    fn packet(&mut self, bytes: &[u8]);
    /// A packet was lost.
    fn lost(&mut self);
    /// Every packet has been handled that had come when [`Asker::ask`] was called.
    fn up_to_date(&mut self);
    /// There will be no more packets.
    fn ended(&mut self);
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
}

#[derive(Debug)]
struct Input {
    key: usize,
    opened: Opened,
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

#[derive(Debug, Default)]
struct State {
    closing: bool,
    /// Reads under way.
    reads: usize,
    /// How many reads in a row have failed.
    failures: u32,
}

/// Keys of what is posted; inputs have those from [`FIRST_KEY`] on.
const STOP: usize = 0;
const QUESTION: usize = 1;
const FIRST_KEY: usize = 2;

/// So many reads in a row that fail mean that there will be no more packets.
const MOST_FAILURES: u32 = 100;

/// How long reads that were cancelled are waited for.
const DRAIN: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn start(handler: impl Handler) -> io::Result<Self> {
        let inputs = Mutex::new(Inputs { next: FIRST_KEY, live: HashMap::new() });
        let shared = Arc::new(Shared { port: Port::new()?, inputs });
        let reader = Self(Arc::clone(&shared));
        thread::Builder::new().name("capture".into()).spawn(move || read(&shared, handler))?;
        Ok(reader)
    }

    /// Begins to read from a device or socket, with so many reads under way at one time.
    pub(super) fn read_from(&self, opened: Opened, reads: usize) -> io::Result<Reading> {
        let shared = Arc::clone(&self.0);
        let mut inputs = shared.lock();
        let key = inputs.next;
        shared.port.associate(opened.file(), key)?;
        inputs.next += 1;
        let input = Arc::new(Input { key, opened, state: Mutex::default() });
        inputs.live.insert(key, Arc::clone(&input));
        drop(inputs);
        // From here on dropping it ends what has begun.
        let reading = Reading { shared, input };
        let mut state = reading.input.lock();
        for _ in 0..reads {
            reading.input.begin(&mut state, Read::new())?;
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

impl Input {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, state: &mut State, read: Box<Read>) -> io::Result<()> {
        match &self.opened {
            Opened::Device(device) => read.from_file(device.as_handle())?,
            Opened::Socket(socket) => read.from_socket(socket.as_socket())?,
        }
        state.reads += 1;
        Ok(())
    }

    /// Lets no more reads begin, and those under way end; how many these are.
    fn close(&self) -> usize {
        let mut state = self.lock();
        state.closing = true;
        // Where that fails they end with the handle.
        let _ = cancel(self.opened.file());
        state.reads
    }
}

fn read(shared: &Shared, mut handler: impl Handler) {
    loop {
        match shared.port.wait(None) {
            Ok(Some(Completion::Read { key, read, ended })) => {
                if !handle(shared, key, read, ended, &mut handler) {
                    break;
                }
            }
            Ok(Some(Completion::Posted { key: QUESTION })) => handler.up_to_date(),
            Ok(None) => {}
            Ok(Some(Completion::Posted { .. })) | Err(_) => break,
        }
    }
    handler.ended();
    drain(shared);
}

/// Handles the end of a read; whether there is more to come.
fn handle(
    shared: &Shared,
    key: usize,
    read: Box<Read>,
    ended: io::Result<usize>,
    handler: &mut impl Handler,
) -> bool {
    let Some(input) = shared.lock().live.get(&key).map(Arc::clone) else { return true };
    let error = match ended {
        Ok(length) => {
            handler.packet(read.bytes(length));
            None
        }
        Err(error) => error.raw_os_error().map(i32::cast_unsigned),
    };
    match error {
        // The buffer is full of the first part of a packet.
        Some(ERROR_MORE_DATA) => handler.packet(read.bytes(usize::MAX)),
        Some(ERROR_INSUFFICIENT_BUFFER) => handler.lost(),
        _ => {}
    }
    let mut state = input.lock();
    state.reads -= 1;
    if state.closing {
        if state.reads == 0 {
            shared.lock().live.remove(&key);
        }
        return true;
    }
    let failed = error.is_some_and(|error| ![ERROR_MORE_DATA, ERROR_OPERATION_ABORTED].contains(&error));
    state.failures = if failed { state.failures + 1 } else { 0 };
    let began = input.begin(&mut state, read);
    state.failures <= MOST_FAILURES && (began.is_ok() || state.reads > 0)
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
