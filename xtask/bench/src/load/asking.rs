//! Many requests to the service, from one thread, which leaves the other processors to the service.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Asked, Failure, nanos};
use crate::hops;
use crate::server::ADDRESS;

/// An answer and how long it was waited for.
struct Answer {
    text: String,
    latency: Duration,
}

pub(super) async fn measure(
    query: &str,
    path: &[IpAddr],
    requests: usize,
    at_once: usize,
) -> Result<Asked, Failure> {
    let head = format!("GET {query} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n\r\n");
    let (mut answers, mut wall) = (Vec::with_capacity(requests), Duration::ZERO);
    while answers.len() < requests {
        let batch = at_once.min(requests - answers.len());
        let mut connections = Vec::with_capacity(batch);
        for _ in 0..batch {
            connections.push(TcpStream::connect(ADDRESS).await?);
        }
        let started = Instant::now();
        let mut under_way = JoinSet::new();
        for connection in connections {
            under_way.spawn(ask(connection, head.clone()));
        }
        while let Some(answer) = under_way.join_next().await {
            answers.push(answer.map_err(io::Error::other)??);
        }
        wall += started.elapsed();
    }
    let mut asked = Asked { wall: nanos(wall), ..Asked::default() };
    for Answer { text, latency } in answers {
        match status(&text) {
            Some(200) => {
                asked.latencies.push(nanos(latency));
                if let Some(round_trips) = round_trips(&text, path) {
                    asked.right += 1;
                    asked.round_trips.extend(round_trips);
                }
            }
            Some(503) => asked.refusals.push(nanos(latency)),
            _ => return Err(Failure::Answer(text)),
        }
    }
    Ok(asked)
}

async fn ask(mut connection: TcpStream, head: String) -> io::Result<Answer> {
    let (sent, mut text) = (Instant::now(), String::new());
    connection.write_all(head.as_bytes()).await?;
    connection.read_to_string(&mut text).await?;
    Ok(Answer { text, latency: sent.elapsed() })
}

/// What the first line of an answer says.
fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

/// The round trips of an answer that has one run, which shows the path; in nanoseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds at most")]
fn round_trips(answer: &str, path: &[IpAddr]) -> Option<Vec<u64>> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let runs = hops::of_runs(body)?;
    let [hops] = &runs[..] else { return None };
    let right = hops.iter().map(|hop| hop.ip_address.parse().ok()).eq(path.iter().copied().map(Some));
    right.then(|| hops.iter().map(|hop| (hop.rtt * 1e6) as u64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\
        {\"traceroute\":{\"runs\":[{\"hops\":[{\"ttl\":1,\"ip_address\":\"10.71.0.2\",\"rtt\":0.25},\
        {\"ttl\":2,\"ip_address\":\"\",\"rtt\":0}]}]}}\n";

    #[test]
    fn an_answer_is_right_only_if_it_shows_the_whole_path() {
        let path: Vec<IpAddr> = ["10.71.0.2", "10.71.1.2"].map(|address| address.parse().unwrap()).into();
        let whole = ANSWER.replace("\"\"", "\"10.71.1.2\"");
        assert_eq!(round_trips(&whole, &path), Some(vec![250_000, 0]));
        assert_eq!(round_trips(ANSWER, &path), None);
        assert_eq!(round_trips(&whole, &path[..1]), None);
        assert_eq!(round_trips("HTTP/1.1 200 OK\r\n\r\n{}", &path), None);
    }

    #[test]
    fn the_status_is_in_the_first_line() {
        assert_eq!(status(ANSWER), Some(200));
        assert_eq!(status(""), None);
    }
}
