//! Requests and answers as they are on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ADDRESS;

/// A request that has been sent.
pub(crate) struct Asked {
    pub(crate) stream: TcpStream,
    sent: Instant,
}

impl Asked {
    /// Sends a request, after whose answer the connection ends.
    pub(crate) fn on(mut stream: TcpStream, method: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n{}\r\n",
            headers.concat()
        );
        let sent = Instant::now();
        stream.write_all(head.as_bytes()).unwrap();
        Self { stream, sent }
    }

    /// Reads the answer to its end.
    #[track_caller]
    pub(crate) fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&String::from_utf8(bytes).unwrap(), self.sent.elapsed())
    }
}

/// Reads the head of a stream and its first event, byte by byte: what follows is left.
#[track_caller]
pub(crate) fn first_event(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while text.matches("\n\n").count() == 0 {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {text}"));
        text.push(char::from(byte[0]));
    }
    text
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    #[track_caller]
    pub(crate) fn parse(text: &str, took: Duration) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let mut answer = Self { status, headers, body: body.to_owned(), took };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(body);
        }
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a metric, by its name and labels as they are written.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let value = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}: {self:?}")).parse().unwrap()
    }

    /// The result of a request that was carried out.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, Some("application/json")), "{self:?}");
        self.json()
    }

    /// Status, code and message of one that was not.
    #[track_caller]
    pub(crate) fn failure(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert!(self.body.ends_with("}\n"), "{self:?}");
        let json = self.json();
        let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("no {key}: {self:?}")).to_owned();
        (self.status, text("code"), text("message"))
    }

    /// The events of a stream: their names and data.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!((self.status, self.header("content-type")), (200, Some("text/event-stream")), "{self:?}");
        let told = self.body.split("\n\n").filter(|event| event.starts_with("event: "));
        told.map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"));
            (name["event: ".len()..].to_owned(), serde_json::from_str(data).unwrap())
        })
        .collect()
    }
}

/// The content of a chunked body (RFC 9112 section 7.1).
#[track_caller]
fn unchunked(mut body: &str) -> String {
    let mut content = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return content;
        }
        content += &rest[..length];
        body = rest[length..].strip_prefix("\r\n").unwrap();
    }
}

/// The head of a request after whose answer the connection stays open.
pub(crate) fn head(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {ADDRESS}\r\n\r\n")
}

/// What is read until the connection ends or is reset.
pub(crate) fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}: {bytes:?}"),
        _ => bytes,
    }
}

/// The next answer on a connection that stays open.
#[track_caller]
pub(crate) fn next_answer(reader: &mut BufReader<TcpStream>) -> Answer {
    let started = Instant::now();
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0, "the connection ended: {text:?}");
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {text}")).parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Answer::parse(&(text + &String::from_utf8(body).unwrap()), started.elapsed())
}
