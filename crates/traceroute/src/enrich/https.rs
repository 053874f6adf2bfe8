//! One GET over HTTPS and IPv4, from inside the tracer's network namespace, through a proxy where the settings name one.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::sockets::Sockets;
use super::socks;
use crate::resolve::Resolver;

/// How long an address is tried before the next one is too (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// Which certificates are trusted.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the system trusts.
    #[default]
    System,
    /// Those that these authorities vouch for, each a certificate in DER, and no others.
    Authorities(Vec<Vec<u8>>),
}

/// Which proxy is used.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// The one of the environment variables `HTTPS_PROXY` and `ALL_PROXY`, except for what `NO_PROXY` names, in upper or lower
    /// case; without them that of the system's settings on macOS and Windows.
    #[default]
    System,
    /// None.
    None,
    /// This one.
    Through {
        /// Its URL, `http://`, `https://` or `socks5://`, with name and password if it wants them.
        url: String,
        /// For what it is not used, as in `NO_PROXY`.
        except: String,
    },
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no answer; it may be different the next time.
    Transport(BoxError),
    /// There was one, or there never will be.
    Final(BoxError),
}

type BoxError = Box<dyn Error + Send + Sync>;

impl Failure {
    fn refused(reason: impl Into<BoxError>) -> Self {
        Self::Final(reason.into())
    }

    pub(super) const fn is_transport(&self) -> bool {
        matches!(self, Self::Transport(_))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Transport(error) | Self::Final(error)) = self;
        write!(f, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // A certificate does not get better by being looked at again.
        let of_tls = matches!(error.get_ref(), Some(inner) if inner.is::<rustls::Error>());
        if of_tls { Self::Final(error.into()) } else { Self::Transport(error.into()) }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Final(error.into()) } else { Self::Transport(error.into()) }
    }
}

/// A way to bytes and back.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Gets bodies.
pub(super) struct Client {
    sockets: Sockets,
    resolver: Resolver,
    tls: TlsConnector,
    proxies: Option<Matcher>,
}

impl Client {
    /// Reads the system's settings as far as they count. Blocks for as long as that takes.
    pub(super) fn new(
        sockets: Sockets,
        resolver: Resolver,
        trust: &Trust,
        proxy: &Proxy,
    ) -> Result<Self, rustls::Error> {
        let proxies = match proxy {
            Proxy::System => Some(Matcher::from_system()),
            Proxy::None => None,
            Proxy::Through { url, except } => {
                Some(Matcher::builder().all(url.as_str()).no(except.as_str()).build())
            }
        };
        Ok(Self { sockets, resolver, tls: TlsConnector::from(Arc::new(tls(trust)?)), proxies })
    }

    /// The body of a successful answer of up to `limit` bytes.
    pub(super) async fn get(&self, url: &Uri, limit: usize) -> Result<Bytes, Failure> {
        if url.scheme_str() != Some("https") {
            return Err(Failure::refused("it is no https URL"));
        }
        let host = url.host().ok_or_else(|| Failure::refused("the URL names no host"))?;
        let port = url.port_u16().unwrap_or(443);
        let way = match self.proxies.as_ref().and_then(|proxies| proxies.intercept(url)) {
            Some(proxy) => self.tunnel(&proxy, host, port).await?,
            None => self.connect(host, port, IpAddr::is_ipv4).await?,
        };
        let stream = self.secure(host, way).await?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        let request = Request::get(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("datadog-traceroute/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*");
        let request = request.body(Empty::new()).map_err(Failure::refused)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let response = answer(&mut sender, request).await?;
            match Limited::new(response.into_body(), limit).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) => Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => Failure::from(*error),
                    Err(too_long) => Failure::Final(too_long),
                }),
            }
        };
        beside(connection, exchange).await
    }

    /// A connection to one of the wanted addresses of a host, whichever is made first.
    async fn connect(
        &self,
        host: &str,
        port: u16,
        wanted: impl Fn(&IpAddr) -> bool,
    ) -> Result<Box<dyn Stream>, Failure> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = if let Ok(address) = bare.parse() {
            vec![address]
        } else {
            let network = self.sockets.network()?;
            let resolved = self.resolver.addresses(&network, bare, None).await;
            resolved.map_err(|error| Failure::Transport(error.into()))?
        };
        let attempts = (0..).zip(addresses.into_iter().filter(wanted)).map(|(place, address)| {
            Box::pin(async move {
                sleep(HEAD_START * place).await;
                self.sockets.tcp(None, (address, port).into()).await
            })
        });
        let attempts: Vec<_> = attempts.collect();
        if attempts.is_empty() {
            return Err(Failure::Transport(format!("{bare} has no address that can be used").into()));
        }
        let (stream, _) = select_ok(attempts).await?;
        Ok(Box::new(stream))
    }

    /// TLS with a host.
    async fn secure(&self, host: &str, way: Box<dyn Stream>) -> Result<Box<dyn Stream>, Failure> {
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(Failure::refused)?;
        Ok(Box::new(self.tls.connect(name, way).await?))
    }

    /// A way to a host through a proxy: by CONNECT (RFC 9110 section 9.3.6), or by SOCKS.
    async fn tunnel(&self, proxy: &Intercept, host: &str, port: u16) -> Result<Box<dyn Stream>, Failure> {
        let url = proxy.uri();
        let by = url.host().ok_or_else(|| Failure::refused("the proxy's URL names no host"))?;
        let way = match url.scheme_str() {
            Some("http") => self.connect(by, url.port_u16().unwrap_or(80), |_| true).await?,
            Some("https") => {
                let way = self.connect(by, url.port_u16().unwrap_or(443), |_| true).await?;
                self.secure(by, way).await?
            }
            Some("socks5" | "socks5h") => {
                let way = self.connect(by, url.port_u16().unwrap_or(1080), |_| true).await?;
                let to =
                    Uri::builder().scheme("https").authority(format!("{host}:{port}")).path_and_query("/");
                let to = to.build().map_err(Failure::refused)?;
                let connected = socks::connect(way, url, proxy.raw_auth(), to).await;
                return connected.map_err(|reason| Failure::Transport(reason.into()));
            }
            _ => return Err(Failure::refused(format!("{url} is no proxy that can be gone through"))),
        };
        let authority = format!("{host}:{port}");
        let mut request = Request::connect(&authority).header(HOST, &authority);
        if let Some(credentials) = proxy.basic_auth() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::new()).map_err(Failure::refused)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(way)).await?;
        let upgrade = async {
            let response = answer(&mut sender, request).await?;
            Ok(hyper::upgrade::on(response).await?)
        };
        let upgraded = beside(connection.with_upgrades(), upgrade).await?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// The system's trust, or that of one's own, with TLS 1.2 and 1.3.
fn tls(trust: &Trust) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier()?,
        Trust::Authorities(certificates) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add(CertificateDer::from_slice(certificate))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// The answer to a request, if that is a successful one. Redirections are not followed.
async fn answer(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(Failure::refused(format!("the answer is {status}"))) }
}

/// What `exchange` gives while its connection is kept going.
async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let (mut connection, mut exchange) = (pin!(connection.fuse()), pin!(exchange.fuse()));
    // Its own end is told by the exchange, which may have more to read.
    futures_util::select_biased! {
        outcome = exchange => return outcome,
        _ = connection => {}
    }
    exchange.await
}
