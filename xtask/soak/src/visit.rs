//! Visits of clients to the service: good ones and bad ones, slow ones, and those that end before they are answered.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::answer;
use crate::bed::{DENIED, Family, Number};
use crate::http::{ask, body, connect, head, read, result, status, words};
use crate::plan::{Order, Visit};

/// How long the service waits for the head of a request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than that it may give up.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(2);
/// How long `/health` may take.
const HEALTH_WITHIN: Duration = Duration::from_secs(1);
/// Into so many parts a slow client cuts its request, and waits after each.
const PARTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Pays a visit; what went wrong in words.
pub(crate) async fn pay(visit: Visit, order: Order) -> Result<(), String> {
    let query = query(&order);
    let whole = |path: &str| head("GET", &format!("{path}{query}"));
    match visit {
        Visit::Plain => answer::right(&order, &body(&ask(&whole("/traceroute")).await?, 200)?),
        Visit::Stream => answer::right(&order, &result(&ask(&whole("/traceroute/stream")).await?)?),
        Visit::InPieces => {
            let head = whole("/traceroute");
            let mut connection = connect().await?;
            for part in head.as_bytes().chunks(head.len().div_ceil(PARTS)) {
                connection.write_all(part).await.map_err(words)?;
                sleep(PAUSE).await;
            }
            answer::right(&order, &body(&read(connection).await?, 200)?)
        }
        Visit::Unfinished => unfinished(&whole("/traceroute")).await,
        Visit::DeadTarget => {
            let order = Order { target: Number::DEAD, ..order };
            let head = head("GET", &format!("/traceroute{}&timeout=1000", self::query(&order)));
            answer::unreached(&order, &body(&ask(&head).await?, 200)?)
        }
        Visit::Bad(number) => bad(number, &query).await,
        Visit::Leaves { stream, after } => {
            let mut connection = connect().await?;
            let path = if stream { "/traceroute/stream" } else { "/traceroute" };
            connection.write_all(whole(path).as_bytes()).await.map_err(words)?;
            // What comes until then is read, and nobody cares what it is.
            timeout(after, read(connection)).await.map(drop).unwrap_or_default();
            Ok(())
        }
    }
}

/// Asks how the service is; how long the answer took.
pub(crate) async fn health() -> Result<Duration, String> {
    let start = Instant::now();
    let head = head("GET", "/health");
    let answer = timeout(HEALTH_WITHIN, ask(&head)).await;
    let health = body(&answer.map_err(|_| format!("no answer within {HEALTH_WITHIN:?}"))??, 200)?;
    if health["status"] == "healthy" { Ok(start.elapsed()) } else { Err(health.to_string()) }
}

/// What the service says of a figure in its metrics.
pub(crate) async fn metric(name: &str) -> Result<u64, String> {
    let answer = ask(&head("GET", "/metrics")).await?;
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.ok_or_else(|| format!("no {name} among the metrics"))
}

/// A client that never says all: the service has to hang up.
async fn unfinished(head: &str) -> Result<(), String> {
    let mut connection = connect().await?;
    connection.write_all(&head.as_bytes()[..head.len() - 2]).await.map_err(words)?;
    let start = Instant::now();
    match timeout(HEADER_TIMEOUT + GIVES_UP_WITHIN, connection.read_to_end(&mut Vec::new())).await {
        Err(_) => Err(format!("a client that said nothing was not hung up on after {:.1?}", start.elapsed())),
        Ok(_) if start.elapsed() + Duration::from_millis(100) < HEADER_TIMEOUT => {
            Err(format!("a slow client was hung up on after {:.1?}", start.elapsed()))
        }
        Ok(_) => Ok(()),
    }
}

/// What cannot be answered as it was meant, and with which status it is answered.
async fn bad(number: u32, query: &str) -> Result<(), String> {
    let cases = [
        (head("GET", &format!("/traceroute{query}&port=70000")), 400),
        (head("GET", "/traceroute"), 400),
        (head("GET", &format!("/traceroute?target={DENIED}")), 403),
        (head("GET", "/nowhere"), 404),
        (head("POST", &format!("/traceroute{query}")), 405),
        ("this is no HTTP\r\n\r\n".to_owned(), 400),
    ];
    let (head, expected) = &cases[number as usize % cases.len()];
    let answer = ask(head).await?;
    match status(&answer) {
        Some(status) if status == *expected => Ok(()),
        _ => Err(format!("{expected} was due for {head:?}, not {answer:?}")),
    }
}

fn query(order: &Order) -> String {
    let Order { protocol, family, target, runs, probes } = order;
    let (target, ipv6) = (target.address(*family), *family == Family::V6);
    format!(
        "?target={target}&protocol={}&ipv6={ipv6}&traceroute-queries={runs}&e2e-queries={probes}",
        format!("{protocol:?}").to_lowercase()
    )
}

#[cfg(test)]
mod tests {
    use traceroute::Protocol;

    use super::*;

    #[test]
    fn an_order_becomes_a_query() {
        let order =
            Order { protocol: Protocol::Icmp, family: Family::V6, target: Number(9), runs: 2, probes: 3 };
        assert_eq!(
            query(&order),
            "?target=fd00:72::9&protocol=icmp&ipv6=true&traceroute-queries=2&e2e-queries=3"
        );
    }
}
