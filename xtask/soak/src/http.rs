//! A client of the service.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the service listens.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3765);

pub(crate) fn head(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n\r\n")
}

pub(crate) async fn connect() -> Result<TcpStream, String> {
    TcpStream::connect(ADDRESS).await.map_err(words)
}

pub(crate) async fn ask(head: &str) -> Result<String, String> {
    let mut connection = connect().await?;
    connection.write_all(head.as_bytes()).await.map_err(words)?;
    read(connection).await
}

pub(crate) async fn read(mut connection: TcpStream) -> Result<String, String> {
    let mut answer = Vec::new();
    match connection.read_to_end(&mut answer).await {
        // Who is answered before all was read of him is reset afterwards.
        Err(error) if error.kind() != ErrorKind::ConnectionReset || answer.is_empty() => Err(words(error)),
        _ => String::from_utf8(answer).map_err(|error| error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped")]
pub(crate) fn words(error: io::Error) -> String {
    error.to_string()
}

pub(crate) fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

/// The JSON of an answer that has this status.
pub(crate) fn body(answer: &str, expected: u16) -> Result<Value, String> {
    let unexpected = || format!("{expected} was due, not {answer:?}");
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(unexpected)?;
    if status(answer) != Some(expected) {
        return Err(unexpected());
    }
    serde_json::from_str(body).map_err(|_| unexpected())
}

/// The result that a stream ends with.
pub(crate) fn result(answer: &str) -> Result<Value, String> {
    let unexpected = || format!("a whole stream was due, not {answer:?}");
    let (_, chunks) = answer.split_once("\r\n\r\n").ok_or_else(unexpected)?;
    let stream = unchunked(chunks).ok_or_else(unexpected)?;
    let events = stream.split("\n\n").filter_map(|event| event.strip_prefix("event: "));
    if events.clone().any(|event| event.starts_with("lost\n") || event.starts_with("error\n")) {
        return Err(unexpected());
    }
    let result = events.last().and_then(|event| event.strip_prefix("result\ndata: "));
    serde_json::from_str(result.ok_or_else(unexpected)?).map_err(|_| unexpected())
}

/// The content of a chunked body (RFC 9112 section 7.1); `None` if it does not end as it should.
fn unchunked(mut body: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(content);
        }
        content += rest.get(..length)?;
        body = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_status_has_a_body() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\":1}\n";
        assert_eq!(body(answer, 200).unwrap()["a"], 1);
        assert!(body(answer, 400).is_err());
        assert!(body("HTTP/1.1 200 OK\r\n\r\n{", 200).is_err());
        assert!(body("", 200).is_err());
    }

    #[test]
    fn a_stream_ends_with_its_result_and_loses_nothing() {
        let stream = |chunks: &[&str]| {
            let chunks: Vec<_> =
                chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
            format!("HTTP/1.1 200 OK\r\n\r\n{}0\r\n\r\n", chunks.concat())
        };
        let (hop, end) = ("event: hop_answered\ndata: {}\n\n", "event: result\ndata: {\"a\":1}\n\n");
        assert_eq!(result(&stream(&[hop, &end[..9], &end[9..]])).unwrap()["a"], 1);
        for broken in [&[hop][..], &[end, hop], &["event: lost\ndata: {}\n\n", end], &[]] {
            assert!(result(&stream(broken)).is_err(), "{broken:?}");
        }
        assert!(result(stream(&[hop, end]).trim_end_matches("0\r\n\r\n")).is_err());
    }
}
