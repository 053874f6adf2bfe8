//! Connections: how many there are, how long each may take over what, and how they end.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::client::Client;
use crate::service::{Peer, Service};
use crate::share::Shares;
use crate::system;

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How many there are at one time; others wait to be accepted.
    pub max: usize,
    /// How long a client may take over the head of a request, and over nothing between two requests.
    pub header_timeout: Duration,
    /// How long requests may go on once the service is to end. What they have learnt by then is their answer.
    pub drain: Duration,
}

impl Default for Connections {
    /// 10,000 connections, ten seconds for a head, thirty to come to an end.
    fn default() -> Self {
        Self { max: 10_000, header_timeout: Duration::from_secs(10), drain: Duration::from_secs(30) }
    }
}

/// How many bytes the head of a request may have, and how many headers.
const HEAD: (usize, usize) = (32 << 10, 100);
/// How long a client may take nothing of what was sent to it: slow ones open their window late.
const READING: Duration = Duration::from_mins(5);
/// After so long it is asked whether it is still there.
const IDLE: Duration = Duration::from_secs(30);
/// What answers may take, once all requests have ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Listens at an address as the reference takes it: `:3765` is every address of both families.
pub fn listen(address: &str) -> io::Result<StdListener> {
    let form = || {
        let text = "the forms are HOST:PORT, [ADDRESS]:PORT and :PORT, with a port from 0 to 65535";
        io::Error::new(ErrorKind::InvalidInput, text)
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    if host.is_empty() {
        return bind((Ipv6Addr::UNSPECIFIED, port).into())
            // A host without IPv6.
            .or_else(|_| bind(SocketAddr::from(([0, 0, 0, 0], port))));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(form());
    }
    let mut last = io::Error::new(ErrorKind::InvalidInput, "the name has no address");
    for address in address.to_socket_addrs()? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    system::bind_again(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves until `end` comes, then drains. Dropping the future ends everything at once.
pub async fn serve(
    listener: StdListener,
    service: Service,
    connections: Connections,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let open = GracefulShutdown::new();
    tokio::select! {
        () = end => {}
        () = accept_all(&listener, &service, connections, &open) => {}
    }
    // From here on nobody gets through any more.
    drop(listener);
    service.drain();
    info!(connections = open.count(), "draining");
    let closed = open.shutdown();
    tokio::pin!(closed);
    if timeout(connections.drain, &mut closed).await.is_err() {
        warn!(after = ?connections.drain, "ending what is under way");
        service.stop();
        if timeout(LAST_WORDS, closed).await.is_err() {
            warn!("some clients did not read their answers");
        }
    }
    Ok(())
}

async fn accept_all(
    listener: &TcpListener,
    service: &Service,
    connections: Connections,
    open: &GracefulShutdown,
) {
    let (http, router) = (http(connections), service.router());
    let most = most_connections(connections.max);
    if most < connections.max {
        warn!(connections = most, "no more are accepted at one time; `ulimit -n` shows and raises the limit");
    }
    let places = Arc::new(Semaphore::new(most));
    // One client leaves the others half of them.
    let shares = Shares::new((most / 2).max(1));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that has gone already is no matter; where descriptors are short some may become free.
                if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        if let Err(error) = prepare(&stream) {
            debug!(%error, %peer, "the connection is gone");
            continue;
        }
        // An IPv4 client of a socket for both families is written as one of IPv6.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Some(share) = shares.take(peer.ip()) else {
            debug!(%peer, "the client has half of all connections");
            continue;
        };
        let client = Client::new(stream);
        let answers = service_fn({
            let (client, router) = (client.clone(), router.clone());
            move |request: hyper::Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                let answer = router.clone().oneshot(request);
                client.clone().unless_gone(answer.map(|Ok(answer)| answer))
            }
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(client), answers));
        let counted = service.metrics().connection();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, %peer, "the connection ended");
            }
            drop((place, share, counted));
        });
    }
}

/// How many connections there may be where so many are wanted: half of the descriptors are for probes, lest clients who do
/// nothing keep the others from tracing.
fn most_connections(wanted: usize) -> usize {
    // The tracer has raised the limit as far as it may be.
    let half = system::descriptors().map_or(usize::MAX, |limit| limit / 2);
    wanted.min(half).clamp(1, Semaphore::MAX_PERMITS)
}

fn http(connections: Connections) -> http1::Builder {
    let (bytes, headers) = HEAD;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(connections.header_timeout);
    http.max_buf_size(bytes).max_header_size(bytes).max_headers(headers);
    // Otherwise hyper keeps back what is known at once from who closes its side after asking.
    http.half_close(Client::NOTICES_THE_END);
    http
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    system::give_up_who_does_not_read(&socket, READING)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE))
}
