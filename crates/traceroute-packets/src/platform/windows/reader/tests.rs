use std::net::UdpSocket;
use std::sync::mpsc;

use tokio::io::AsyncWriteExt;
use tokio::net::windows::named_pipe::NamedPipeServer;

use super::super::sys::device;
use super::super::testing::{self, SOON};
use super::*;

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

/// A pipe in the place of a device, connected.
async fn pipe(name: &str) -> (NamedPipeServer, OwnedHandle) {
    let (server, client) = testing::pipe(name, device::Operation::Overlapped).expect("a pipe");
    server.connect().await.expect("it is connected");
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
    let input = Arc::clone(&first.input);
    drop(first);
    assert!(input.lock().opened.is_none(), "its handle does not wait for its reads");
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
