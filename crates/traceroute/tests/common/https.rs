//! HTTPS servers for tests, with an authority of their own, which answer as they are told to or misbehave.
#![allow(dead_code, clippy::unwrap_used, reason = "a module of tests; each file uses a part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Vouches for servers.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().to_vec(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// What a server with these names or addresses needs.
    fn vouch_for(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An answer with this status and body.
    Status(u16, &'static str),
    /// Ten megabytes, as announced.
    Huge,
    /// A body that goes on as long as somebody reads it.
    Endless,
    /// A body whose end never comes.
    Stalled,
    /// Nothing.
    Silence,
    /// The connection is closed.
    HangUp,
    /// Bytes that are no HTTP.
    Garbage,
}

/// A server that runs until the process ends.
pub(crate) struct HttpsServer {
    pub(crate) address: SocketAddr,
    /// The `Host` of each request.
    hosts: Arc<Mutex<Vec<String>>>,
}

impl HttpsServer {
    /// Serves at a free port of loopback, as `127.0.0.1` and `provider.test`.
    pub(crate) fn start(authority: &Authority, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::serve(listener, authority, &["127.0.0.1", "provider.test"], move |_| reply.clone())
    }

    /// Serves at this socket, which may be of another network namespace, what is decided by the name that is asked for.
    pub(crate) fn serve(
        listener: TcpListener,
        authority: &Authority,
        names: &[&str],
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (address, config) = (listener.local_addr().unwrap(), authority.vouch_for(names));
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (Arc::clone(&hosts), Arc::new(reply));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, config) = (connection.unwrap(), Arc::clone(&config));
                let (seen, reply) = (Arc::clone(&seen), Arc::clone(&reply));
                // A client may go away at any time.
                thread::spawn(move || serve_one(connection, config, &seen, &*reply).unwrap_or_default());
            }
        });
        Self { address, hosts }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The names that requests have asked for.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.hosts.lock().unwrap().clone()
    }
}

fn serve_one(
    connection: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<String>>,
    reply: &dyn Fn(&str) -> Reply,
) -> io::Result<()> {
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, connection));
    let headers = read_head(&mut stream)?;
    assert!(headers.starts_with("GET /"), "{headers}");
    let host = header(&headers, "host").unwrap_or_default();
    seen.lock().unwrap().push(host.clone());
    let stream = stream.get_mut();
    match reply(&host) {
        Reply::Status(status, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} Reason\r\ncontent-length: {length}\r\n\r\n{body}")?;
        }
        Reply::Huge => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n203.0.113.66")?;
            stream.write_all(&vec![b' '; 10_000_000])?;
        }
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nc\r\n203.0.113.66\r\n")?;
            loop {
                write!(stream, "4\r\n    \r\n")?;
                stream.flush()?;
            }
        }
        Reply::Stalled => {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nc\r\n203.0.113.66\r\n")?;
            stream.flush()?;
            stream.read_to_end(&mut Vec::new())?;
        }
        Reply::Silence => {
            stream.read_to_end(&mut Vec::new())?;
        }
        Reply::HangUp => {}
        Reply::Garbage => stream.write_all(b"\x00\x01 what?\r\n\r\n")?,
    }
    stream.flush()
}

/// A proxy that tunnels to one server, whatever it is asked for.
pub(crate) struct HttpProxy {
    pub(crate) address: SocketAddr,
    /// The heads of the requests.
    heads: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    pub(crate) fn serve(listener: TcpListener, to: impl Fn() -> TcpStream + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, to) = (Arc::clone(&heads), Arc::new(to));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, seen, to) = (connection.unwrap(), Arc::clone(&seen), Arc::clone(&to));
                thread::spawn(move || tunnel(connection, &seen, &*to).unwrap_or_default());
            }
        });
        Self { address, heads }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, seen: &Mutex<Vec<String>>, to: &dyn Fn() -> TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let head = read_head(&mut reader)?;
    let connect = head.starts_with("CONNECT ");
    seen.lock().unwrap().push(head);
    let mut client = client;
    if !connect {
        return write!(client, "HTTP/1.1 405 Method Not Allowed\r\n\r\n");
    }
    let server = to();
    write!(client, "HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut to_server, mut from_server) = (server.try_clone()?, server);
    thread::spawn(move || io::copy(&mut reader, &mut to_server).unwrap_or_default());
    io::copy(&mut from_server, &mut client).map(|_| ())
}

/// A SOCKS proxy (RFC 1928) that connects to one server, whatever it is asked for, those who know the password (RFC 1929).
pub(crate) struct SocksProxy {
    pub(crate) address: SocketAddr,
    /// What was asked for: a name and a port.
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl SocksProxy {
    pub(crate) fn serve(listener: TcpListener, to: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, seen) = (connection.unwrap(), Arc::clone(&seen));
                thread::spawn(move || socks(connection, &seen, to).unwrap_or_default());
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }
}

fn socks(mut client: TcpStream, asked: &Mutex<Vec<(String, u16)>>, to: SocketAddr) -> io::Result<()> {
    // Version 5, one method: name and password.
    expect(&mut client, &[5, 1, 2])?;
    client.write_all(&[5, 2])?;
    expect(&mut client, b"\x01\x04user\x06secret")?;
    client.write_all(&[1, 0])?;
    // Connect, to a name.
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let mut name = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut name)?;
    let port = u16::from_be_bytes([name[name.len() - 2], name[name.len() - 1]]);
    name.truncate(name.len() - 2);
    asked.lock().unwrap().push((String::from_utf8(name).unwrap(), port));
    let server = TcpStream::connect(to)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server, mut from_server) =
        (client.try_clone()?, server.try_clone()?, server);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server).unwrap_or_default());
    io::copy(&mut from_server, &mut client).map(|_| ())
}

fn expect(stream: &mut impl Read, expected: &[u8]) -> io::Result<()> {
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read)?;
    if read == expected { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// The value of a header.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}
