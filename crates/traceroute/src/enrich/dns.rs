//! Names of addresses from the hosts file and from name servers.
//!
//! `getnameinfo` gives one name only, and cannot be given up. The look-ups here are ordinary futures: dropping one closes
//! its socket. Servers and options are the system's (`/etc/resolv.conf`, or what stands for it), read anew every half
//! minute; a network namespace has the same files as its process. Its queries leave from sockets inside of the namespace.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::proto::op::{DnsRequestOptions, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::hosts::Hosts;
use super::names::{LookingUp, LookupError, ReverseLookup};
use super::sockets::Sockets;

/// How long the system's configuration is taken to stay as it is.
const FRESH: Duration = Duration::from_secs(30);
/// How long a connection to a name server may take where the resolver does not say.
const CONNECT: Duration = Duration::from_secs(5);

/// Asks the hosts file, and the name servers for what is not in it.
pub(super) struct Dns {
    sockets: Sockets,
    /// The name servers; the system's if `None`.
    servers: Option<Vec<SocketAddr>>,
    configured: Mutex<Option<(Instant, Arc<Configured>)>>,
}

/// What the system says.
struct Configured {
    hosts: Hosts,
    /// What asks the name servers, or why there are none.
    servers: Result<Servers, String>,
}

/// Asks name servers. The crate's `Resolver` does more than that: it has an answer of its own for loopback addresses.
struct Servers {
    handle: RetryDnsHandle<NameServerPool<InNamespace>>,
    options: DnsRequestOptions,
}

impl Dns {
    /// The hosts file and the name servers of the system.
    pub(super) fn of_system(sockets: Sockets) -> Self {
        Self { sockets, servers: None, configured: Mutex::default() }
    }

    /// These name servers, and no hosts file.
    pub(super) fn of_servers(sockets: Sockets, servers: Vec<SocketAddr>) -> Self {
        Self { sockets, servers: Some(servers), configured: Mutex::default() }
    }

    /// The configuration, read when it is first needed and again when it may have changed.
    fn configured(&self) -> Arc<Configured> {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        match &*configured {
            Some((read, known)) if self.servers.is_some() || read.elapsed() < FRESH => Arc::clone(known),
            _ => {
                let new = Arc::new(self.read());
                *configured = Some((Instant::now(), Arc::clone(&new)));
                new
            }
        }
    }

    fn read(&self) -> Configured {
        let provider = InNamespace { sockets: self.sockets.clone(), handle: TokioHandle::default() };
        let (hosts, configuration) = match &self.servers {
            // The error's type differs from system to system.
            None => (Hosts::of_system(), read_system_conf().map_err(|error| error.to_string())),
            Some(servers) => {
                let servers = servers.iter().map(|server| {
                    let mut config = NameServerConfig::udp_and_tcp(server.ip());
                    config.connections.iter_mut().for_each(|connection| connection.port = server.port());
                    config
                });
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
                (Hosts::default(), Ok((config, ResolverOpts::default())))
            }
        };
        let servers = configuration.and_then(|(config, options)| {
            Servers::new(&config, options, provider).map_err(|error| error.to_string())
        });
        Configured { hosts, servers }
    }
}

impl Servers {
    fn new(
        config: &ResolverConfig,
        mut options: ResolverOpts,
        provider: InNamespace,
    ) -> Result<Self, NetError> {
        // The resolver's own choice could be a port that a run wants.
        options.os_port_selection = true;
        // All at once: there is no time to wait for a dead one first.
        options.num_concurrent_reqs = usize::MAX;
        let mut request = DnsRequestOptions::default();
        request.recursion_desired = true;
        // Many names are longer than the 512 bytes of RFC 1035: what does not fit may be lost without a word.
        request.use_edns = true;
        request.edns_payload_len = options.edns_payload_len;
        let attempts = options.attempts;
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        let pool = NameServerPool::from_config(config.name_servers().to_vec(), context, provider);
        Ok(Self { handle: RetryDnsHandle::new(pool, attempts), options: request })
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<String>, NetError> {
        let name = Name::from(address.to_canonical());
        let query = Query::query(name.clone(), RecordType::PTR);
        let response = self.handle.lookup(query, self.options).first_answer().await?;
        Ok(names_in(&name, &response.answers))
    }
}

impl ReverseLookup for Dns {
    fn names(&self, address: IpAddr) -> LookingUp<'_> {
        Box::pin(async move {
            let configured = self.configured();
            if let Some(names) = configured.hosts.names(address) {
                return Ok(names.to_vec());
            }
            let servers = configured.servers.as_ref().map_err(|reason| LookupError::from(reason.clone()))?;
            Ok(servers.names(address).await?)
        })
    }
}

/// The names that `answers` give for `asked`: those of the name itself, or of what it stands for (RFC 2317). What is no
/// name of a host, or belongs to somebody else, is left out.
fn names_in(asked: &Name, answers: &[Record]) -> Vec<String> {
    let mut asked = vec![asked];
    // An alias may come after what it stands for.
    loop {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if asked.contains(&&record.name) && !asked.contains(&&target.0) => {
                Some(&target.0)
            }
            _ => None,
        });
        match alias {
            Some(alias) => asked.push(alias),
            None => break,
        }
    }
    let mut names = Vec::new();
    for record in answers.iter().filter(|record| asked.contains(&&record.name)) {
        if let RData::PTR(name) = &record.data {
            let name = name.0.to_ascii();
            if is_host_name(&name) && !names.contains(&name) {
                names.push(name);
            } else {
                debug!(name, "left out: no name of a host, or known already");
            }
        }
    }
    names
}

/// Whether a name has nothing but letters, digits, hyphens, underscores and the dots between its labels.
fn is_host_name(name: &str) -> bool {
    name != "." && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The resolver's sockets.
#[derive(Clone)]
struct InNamespace {
    sockets: Sockets,
    handle: TokioHandle,
}

impl RuntimeProvider for InNamespace {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Connected;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let sockets = self.sockets.clone();
        Box::pin(async move {
            let connecting = sockets.tcp(from, server);
            timeout(patience.unwrap_or(CONNECT), connecting).await?.map(AsyncIoTokioAsStd)
        })
    }

    fn bind_udp(
        &self,
        from: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        let socket = self.sockets.udp(from, server);
        Box::pin(async move { Ok(Connected { socket: socket?, server }) })
    }
}

/// A socket that is connected to a name server.
struct Connected {
    socket: UdpSocket,
    server: SocketAddr,
}

#[async_trait]
impl DnsUdpSocket for Connected {
    type Time = TokioTime;

    /// A refusal makes a socket no more readable than before: without asking for errors nobody would be woken.
    async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if let Some(error) = ready.is_error().then(|| self.socket.take_error()).transpose()?.flatten() {
                return Err(error);
            }
            match self.socket.try_recv(buf) {
                Ok(length) => return Ok((length, self.server)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // What was ready is no more.
                Err(error) => {
                    if let Err(error) = self.socket.try_io(Interest::ERROR, || io::Result::<()>::Err(error))
                        && error.kind() != io::ErrorKind::WouldBlock
                    {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.socket.poll_recv(cx, &mut buf))?;
        Poll::Ready(Ok((buf.filled().len(), self.server)))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], _server: SocketAddr) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{CNAME, PTR};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn pointer(owner: &str, to: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::PTR(PTR(name(to))))
    }

    fn alias(owner: &str, to: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(to))))
    }

    fn raw(owner: &str, labels: &[&[u8]]) -> Record {
        let to = Name::from_labels(labels.iter().copied()).expect("short labels");
        Record::from_rdata(name(owner), 60, RData::PTR(PTR(to)))
    }

    const ASKED: &str = "1.2.0.192.in-addr.arpa.";

    #[test]
    fn all_names_count_in_their_order_and_spelling() {
        let answers = [
            pointer(ASKED, "b.Example."),
            pointer("1.2.0.192.IN-ADDR.arpa.", "a.example."),
            pointer(ASKED, "b.Example."),
        ];
        assert_eq!(names_in(&name(ASKED), &answers), ["b.Example.", "a.example."]);
    }

    #[test]
    fn aliases_are_followed_and_do_not_go_round() {
        let answers = [
            pointer("1.0-31.2.0.192.in-addr.arpa.", "host.example."),
            alias("x.example.", "1.0-31.2.0.192.in-addr.arpa."),
            alias(ASKED, "x.example."),
            alias("1.0-31.2.0.192.in-addr.arpa.", ASKED),
        ];
        assert_eq!(names_in(&name(ASKED), &answers), ["host.example."]);
    }

    #[test]
    fn what_belongs_to_others_or_is_no_name_is_left_out() {
        let answers = [
            pointer("2.2.0.192.in-addr.arpa.", "other.example."),
            pointer(ASKED, "."),
            raw(ASKED, &[b"bell\x07", b"example"]),
            raw(ASKED, &[b"a b", b"example"]),
            raw(ASKED, &[b"a.b", b"example"]),
            pointer(ASKED, "_srv.x--1.example."),
        ];
        assert_eq!(names_in(&name(ASKED), &answers), ["_srv.x--1.example."]);
    }
}
