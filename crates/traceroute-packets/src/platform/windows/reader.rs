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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::windows::io::AsRawHandle;
    use std::sync::mpsc;

    use tokio::io::AsyncWriteExt;
    use tokio::net::windows::named_pipe::{NamedPipeServer, PipeMode, ServerOptions};
    use windows_sys::Win32::System::Pipes::{PIPE_READMODE_MESSAGE, SetNamedPipeHandleState};

    use super::super::sys::device;
    use super::*;

    /// Long enough for anything that is to happen.
    const SOON: Duration = Duration::from_secs(20);

    #[derive(Debug, PartialEq, Eq)]
    enum Heard {
        Packet(Vec<u8>),
        Lost,
        UpToDate,
        Ended,
        Dropped,
    }

    struct Teller(mpsc::Sender<Heard>);

    impl Teller {
        fn tell(&self, heard: Heard) {
            // A test that has heard enough has gone.
            let _ = self.0.send(heard);
        }
    }

    impl Handler for Teller {
        fn packet(&mut self, bytes: &[u8]) {
            self.tell(Heard::Packet(bytes.to_vec()));
        }

        fn lost(&mut self) {
            self.tell(Heard::Lost);
        }

        fn up_to_date(&mut self) {
            self.tell(Heard::UpToDate);
        }

        fn ended(&mut self) {
            self.tell(Heard::Ended);
        }
    }

    impl Drop for Teller {
        fn drop(&mut self) {
            self.tell(Heard::Dropped);
        }
    }

    fn reader() -> (Reader, mpsc::Receiver<Heard>) {
        let (sender, heard) = mpsc::channel();
        (Reader::start(Teller(sender)).expect("a port and a thread"), heard)
    }

    /// A pipe in the place of a device: what is written to the one end at a time is read from the other at a time.
    async fn pipe(name: &str) -> (NamedPipeServer, OwnedHandle) {
        let path = format!(r"\\.\pipe\traceroute-{name}-{}", std::process::id());
        let server = ServerOptions::new().pipe_mode(PipeMode::Message).create(&path).expect("a pipe");
        let client = device::open(&path, device::Operation::Overlapped).expect("its other end");
        server.connect().await.expect("it is connected");
        let mode = PIPE_READMODE_MESSAGE;
        // SAFETY: the handle is open, and the mode is read before the call returns.
        let set = unsafe {
            SetNamedPipeHandleState(
                client.as_raw_handle(),
                &raw const mode,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        assert_ne!(set, 0, "{}", io::Error::last_os_error());
        (server, client)
    }

    #[track_caller]
    fn next(heard: &mpsc::Receiver<Heard>) -> Heard {
        heard.recv_timeout(SOON).expect("something is heard soon")
    }

    #[track_caller]
    fn await_live(shared: &Shared, wanted: usize) {
        let started = Instant::now();
        while shared.lock().live.len() != wanted {
            assert!(started.elapsed() < SOON, "{:?}", shared.lock().live);
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn packets_come_whole_and_in_their_order_however_few_reads_there_are() {
        let (reader, heard) = reader();
        let (mut server, client) = pipe("order").await;
        let _reading = reader.read_from(Opened::Device(client), 3).expect("reads begin");
        for number in 0..300_usize {
            let message = vec![number.to_le_bytes()[0]; number % 97 + 1];
            server.write_all(&message).await.expect("it is read");
            assert_eq!(next(&heard), Heard::Packet(message), "packet {number}");
        }
        reader.asker().ask();
        assert_eq!(next(&heard), Heard::UpToDate);
    }

    #[tokio::test]
    async fn a_packet_that_is_longer_than_the_buffer_is_cut_and_reading_goes_on() {
        let (reader, heard) = reader();
        let (mut server, client) = pipe("long").await;
        let _reading = reader.read_from(Opened::Device(client), 1).expect("reads begin");
        server.write_all(&[7; 3000]).await.expect("it is read");
        let room = Read::new().bytes(usize::MAX).len();
        assert_eq!(next(&heard), Heard::Packet(vec![7; room]));
        // A pipe keeps the rest for the next read.
        assert_eq!(next(&heard), Heard::Packet(vec![7; 3000 - room]));
    }

    #[tokio::test]
    async fn what_is_not_read_any_more_leaves_the_others_alone() {
        let (reader, heard) = reader();
        let ((_silent, first), (mut server, second)) = (pipe("first").await, pipe("second").await);
        let first = reader.read_from(Opened::Device(first), 8).expect("reads begin");
        let _second = reader.read_from(Opened::Device(second), 8).expect("reads begin");
        await_live(&reader.0, 2);
        drop(first);
        await_live(&reader.0, 1);
        server.write_all(b"still there").await.expect("it is read");
        assert_eq!(next(&heard), Heard::Packet(b"still there".to_vec()));
    }

    #[test]
    fn the_thread_ends_with_the_reader_while_reads_are_under_way() {
        let (reader, heard) = reader();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let reading = reader.read_from(Opened::Socket(Arc::new(socket.into())), 64).expect("reads begin");
        let shared = Arc::clone(&reader.0);
        drop(reader);
        assert_eq!((next(&heard), next(&heard)), (Heard::Ended, Heard::Dropped));
        await_live(&shared, 0);
        drop(reading);
    }

    #[tokio::test]
    async fn a_device_that_goes_ends_all() {
        let (reader, heard) = reader();
        let (server, client) = pipe("gone").await;
        let _reading = reader.read_from(Opened::Device(client), 4).expect("reads begin");
        server.disconnect().expect("it was connected");
        assert_eq!(next(&heard), Heard::Ended);
    }

    #[test]
    fn a_socket_gives_its_datagrams() {
        let (reader, heard) = reader();
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = receiver.local_addr().expect("it is bound");
        let _reading = reader.read_from(Opened::Socket(Arc::new(receiver.into())), 4).expect("reads begin");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for number in 0..20 {
            sender.send_to(&[number; 9], to).expect("loopback takes it");
            assert_eq!(next(&heard), Heard::Packet(vec![number; 9]));
        }
    }

    /// `FSCTL_PIPE_PEEK`: a control operation that any pipe knows.
    const PEEK: u32 = 0x0011_400c;

    #[tokio::test]
    async fn the_end_of_a_control_operation_is_not_taken_for_a_read() {
        let (reader, heard) = reader();
        let (mut server, client) = pipe("control").await;
        let second = client.try_clone().expect("another handle");
        let _reading = reader.read_from(Opened::Device(client), 2).expect("reads begin");
        let mut state = [0; 64];
        for number in 0..50 {
            device::control(second.as_handle(), PEEK, &[], &mut state).expect("a pipe can be looked at");
            server.write_all(&[number]).await.expect("it is read");
            assert_eq!(next(&heard), Heard::Packet(vec![number]));
        }
    }
}
