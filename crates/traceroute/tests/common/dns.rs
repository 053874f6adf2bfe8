//! A name server for tests, which answers questions for names and addresses as it is told to, or lies, or says nothing.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These names.
    Names(Vec<String>),
    /// This address, and none in IPv6.
    Address(Ipv4Addr),
    /// Nothing.
    Silence,
    /// An error, by its number: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED (RFC 1035 section 4.1.1).
    Code(u8),
    /// Names that only fit into a TCP answer.
    OnlyOverTcp(Vec<String>),
    /// The owner stands for another name, which has these names (RFC 2317).
    Alias(&'static str, Vec<String>),
    /// A name for somebody else's address, in an answer to this question.
    ForSomebodyElse(&'static str),
    /// Bytes that are no message.
    Garbage,
    /// First an answer with another id and one to another question, then this name.
    ForgeriesAnd(&'static str),
    /// A name, after a while.
    Late(Duration, &'static str),
}

pub(crate) fn names(names: &[&str]) -> Answer {
    Answer::Names(names.iter().map(|&name| name.to_owned()).collect())
}

/// Types of questions (RFC 1035 section 3.2.2, RFC 3596 section 2.1).
pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;

/// A server that runs until the process ends.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    /// The types of all questions for each name, in the order in which they came.
    asked: Arc<Mutex<BTreeMap<String, Vec<u16>>>>,
}

impl DnsServer {
    /// Serves at a free port of loopback.
    pub(crate) fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        // A port that is free in TCP may be taken in UDP.
        let bind = || {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
            Some((udp, tcp))
        };
        let (udp, tcp) = std::iter::repeat_with(bind).take(100).flatten().next().unwrap();
        Self::serve(udp, tcp, answer)
    }

    /// Serves at these sockets, which may be of another network namespace.
    pub(crate) fn serve(
        udp: UdpSocket,
        tcp: TcpListener,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let address = udp.local_addr().unwrap();
        let asked: Arc<Mutex<BTreeMap<String, Vec<u16>>>> = Arc::default();
        let answer = Arc::new(answer);
        let (answer_udp, asked_udp) = (Arc::clone(&answer), Arc::clone(&asked));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).unwrap();
                let Some(question) = Question::parse(&buffer[..length]) else { continue };
                asked_udp.lock().unwrap().entry(question.name.clone()).or_default().push(question.kind());
                let answer = answer_udp(&question.name);
                let socket = udp.try_clone().unwrap();
                let send = move |message: Vec<u8>| {
                    // The client may be gone.
                    socket.send_to(&message, client).unwrap_or_default();
                };
                match answer {
                    Answer::Late(time, name) => {
                        thread::spawn(move || {
                            thread::sleep(time);
                            send(question.response(&[pointer(&question.name, name)], 0));
                        });
                    }
                    answer => question.messages(&answer, false).into_iter().for_each(send),
                }
            }
        });
        thread::spawn(move || {
            for connection in tcp.incoming() {
                let mut connection = connection.unwrap();
                let mut length = [0; 2];
                if connection.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut message = vec![0; u16::from_be_bytes(length).into()];
                connection.read_exact(&mut message).unwrap();
                let question = Question::parse(&message).unwrap();
                for message in question.messages(&answer(&question.name), true) {
                    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                    connection.write_all(&[&length[..], &message].concat()).unwrap();
                }
            }
        });
        Self { address, asked }
    }

    /// How many names it was asked for over UDP, and how often for one at most.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let asked = self.asked.lock().unwrap();
        (asked.len(), asked.values().map(Vec::len).max().unwrap_or_default())
    }

    /// How many questions of a type it was asked for a name over UDP.
    pub(crate) fn asked_for(&self, name: &str, kind: u16) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.get(name).map_or(0, |kinds| kinds.iter().filter(|asked| **asked == kind).count())
    }
}

/// A question as it came.
struct Question {
    id: [u8; 2],
    name: String,
    /// Name, type and class, as on the wire.
    bytes: Vec<u8>,
}

impl Question {
    /// One with an OPT record (RFC 6891): without it an answer may have 512 bytes only.
    fn parse(message: &[u8]) -> Option<Self> {
        if message.get(10..12)? != [0, 1] {
            return None;
        }
        let mut rest = message.get(12..)?;
        let mut labels = Vec::new();
        loop {
            let (&length, after) = rest.split_first()?;
            if length == 0 {
                rest = after;
                break;
            }
            let (label, after) = after.split_at_checked(length.into())?;
            labels.push(String::from_utf8(label.to_vec()).ok()?);
            rest = after;
        }
        let end = message.len() - rest.len() + 4;
        let name = labels.join(".") + ".";
        Some(Self { id: [message[0], message[1]], name, bytes: message.get(12..end)?.to_vec() })
    }

    fn kind(&self) -> u16 {
        let [.., high, low, _, _] = self.bytes[..] else { panic!("no type: {:?}", self.bytes) };
        u16::from_be_bytes([high, low])
    }

    fn messages(&self, answer: &Answer, over_tcp: bool) -> Vec<Vec<u8>> {
        let all = |owner: &str, names: &[String]| -> Vec<Vec<u8>> {
            names.iter().map(|name| pointer(owner, name)).collect()
        };
        match answer {
            Answer::Names(names) => vec![self.response(&all(&self.name, names), 0)],
            Answer::Address(address) if self.kind() == A => {
                vec![self.response(&[record(&self.name, A, &address.octets())], 0)]
            }
            Answer::Address(_) => vec![self.response(&[], 0)],
            Answer::OnlyOverTcp(names) if over_tcp => vec![self.response(&all(&self.name, names), 0)],
            Answer::OnlyOverTcp(_) => {
                let mut message = self.response(&[], 0);
                // Truncated.
                message[2] |= 0x02;
                vec![message]
            }
            Answer::Code(code) => vec![self.response(&[], *code)],
            Answer::Alias(target, names) => {
                let mut records = vec![record(&self.name, 5, &wire_name(target))];
                records.extend(all(target, names));
                vec![self.response(&records, 0)]
            }
            Answer::ForSomebodyElse(name) => {
                vec![self.response(&[pointer("9.9.9.10.in-addr.arpa.", name)], 0)]
            }
            Answer::Garbage => vec![[&self.id[..], &[0xff; 40]].concat()],
            Answer::ForgeriesAnd(name) => {
                let forged = [pointer(&self.name, "forged.example.")];
                let other_id = Self { id: [self.id[0] ^ 0x55, self.id[1]], ..self.copy() };
                let other = [&wire_name("9.9.9.10.in-addr.arpa.")[..], &[0, 12, 0, 1]].concat();
                let other_question = Self { bytes: other, ..self.copy() };
                vec![
                    other_id.response(&forged, 0),
                    other_question.response(&forged, 0),
                    self.response(&[pointer(&self.name, name)], 0),
                ]
            }
            Answer::Silence | Answer::Late(..) => Vec::new(),
        }
    }

    fn copy(&self) -> Self {
        Self { id: self.id, name: self.name.clone(), bytes: self.bytes.clone() }
    }

    /// A response with these records as its answers (RFC 1035 section 4.1).
    fn response(&self, answers: &[Vec<u8>], code: u8) -> Vec<u8> {
        let count = u16::try_from(answers.len()).unwrap().to_be_bytes();
        let mut message = self.id.to_vec();
        message.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
        message.extend(&self.bytes);
        message.extend(answers.iter().flatten());
        message
    }
}

fn pointer(owner: &str, to: &str) -> Vec<u8> {
    record(owner, 12, &wire_name(to))
}

fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&wire_name(owner)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
