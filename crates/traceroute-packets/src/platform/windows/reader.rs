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
    /// Every packet has been handled that had come when [`Asker::ask`] was called.
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
    opened: Opened,
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
        let input = Arc::new(Input { key, role, opened, wanted: reads, state: Mutex::default() });
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
        if state.closing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match &self.opened {
            Opened::Device(device) => read.from_file(device.as_handle())?,
            Opened::Socket(socket) => read.from_socket(socket.as_socket())?,
        }
        state.reads += 1;
        Ok(())
    }

    /// Begins as many reads as are to be under way, those too that could not begin before. If none can, none are.
    fn begin_wanted(&self, state: &mut State, read: Box<Read>) {
        let mut read = Some(read);
        while state.reads < self.wanted && self.begin(state, read.take().unwrap_or_else(Read::new)).is_ok() {}
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
    if !state.closing {
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
    if input.role == Role::All && !state.closing { Next::End } else { Next::More }
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
        fn packet(&mut self, _: Role, bytes: &[u8]) {
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
        let _reading = reader.read_from(Opened::Device(client), 3, Role::All).expect("reads begin");
        for number in 0..300_usize {
            let message = vec![number.to_le_bytes()[0]; number % 97 + 1];
            server.write_all(&message).await.expect("it is read");
            assert_eq!(next(&heard), Heard::Packet(message), "packet {number}");
        }
        reader.asker().ask();
        assert_eq!(next(&heard), Heard::UpToDate);
    }

    /// A teller that waits with its first packet until it may go on.
    struct Held(Teller, Option<mpsc::Receiver<()>>);

    impl Handler for Held {
        fn packet(&mut self, role: Role, bytes: &[u8]) {
            if let Some(released) = self.1.take() {
                released.recv_timeout(SOON).expect("it is let go on");
            }
            self.0.packet(role, bytes);
        }

        fn lost(&mut self) {
            self.0.lost();
        }

        fn up_to_date(&mut self) {
            self.0.up_to_date();
        }

        fn ended(&mut self) {
            self.0.ended();
        }
    }

    #[tokio::test]
    async fn a_question_is_answered_behind_packets_for_which_there_was_no_read() {
        let ((sender, heard), (release, released)) = (mpsc::channel(), mpsc::channel());
        let reader = Reader::start(Held(Teller(sender), Some(released))).expect("a port and a thread");
        let (mut server, client) = pipe("behind").await;
        let _reading = reader.read_from(Opened::Device(client), 2, Role::All).expect("reads begin");
        for number in 0..40 {
            server.write_all(&[number]).await.expect("there is room");
        }
        reader.asker().ask();
        release.send(()).expect("it waits");
        for number in 0..40 {
            assert_eq!(next(&heard), Heard::Packet(vec![number]));
        }
        assert_eq!(next(&heard), Heard::UpToDate);
    }

    #[tokio::test]
    async fn a_part_that_goes_leaves_all_else() {
        let (reader, heard) = reader();
        let ((gone, part), (mut server, all)) = (pipe("part").await, pipe("all").await);
        let _part = reader.read_from(Opened::Device(part), 4, Role::Part).expect("reads begin");
        let _all = reader.read_from(Opened::Device(all), 4, Role::All).expect("reads begin");
        gone.disconnect().expect("it was connected");
        await_live(&reader.0, 1);
        server.write_all(b"still there").await.expect("it is read");
        assert_eq!(next(&heard), Heard::Packet(b"still there".to_vec()));
    }

    #[tokio::test]
    async fn a_packet_that_is_longer_than_the_buffer_is_cut_and_reading_goes_on() {
        let (reader, heard) = reader();
        let (mut server, client) = pipe("long").await;
        let _reading = reader.read_from(Opened::Device(client), 1, Role::All).expect("reads begin");
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
        let first = reader.read_from(Opened::Device(first), 8, Role::All).expect("reads begin");
        let _second = reader.read_from(Opened::Device(second), 8, Role::All).expect("reads begin");
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
        let reading =
            reader.read_from(Opened::Socket(Arc::new(socket.into())), 64, Role::All).expect("reads begin");
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
        let _reading = reader.read_from(Opened::Device(client), 4, Role::All).expect("reads begin");
        server.disconnect().expect("it was connected");
        assert_eq!(next(&heard), Heard::Ended);
        assert_eq!(next(&heard), Heard::Dropped);
        await_live(&reader.0, 0);
        let (_server, client) = pipe("too-late").await;
        assert!(reader.read_from(Opened::Device(client), 1, Role::Part).is_err());
    }

    #[test]
    fn a_socket_gives_its_datagrams() {
        let (reader, heard) = reader();
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = receiver.local_addr().expect("it is bound");
        let _reading =
            reader.read_from(Opened::Socket(Arc::new(receiver.into())), 4, Role::All).expect("reads begin");
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
        let _reading = reader.read_from(Opened::Device(client), 2, Role::All).expect("reads begin");
        let mut state = [0; 64];
        for number in 0..50 {
            device::control(second.as_handle(), PEEK, &[], &mut state).expect("a pipe can be looked at");
            server.write_all(&[number]).await.expect("it is read");
            assert_eq!(next(&heard), Heard::Packet(vec![number]));
        }
    }
}
