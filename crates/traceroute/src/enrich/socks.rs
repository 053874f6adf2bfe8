//! A way to a host through a SOCKS proxy (RFC 1928), which also resolves the host's name.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// Asks the proxy at the other end of `way` to connect to the host and port of `to`, with a name and a password if it wants
/// them (RFC 1929).
pub(super) async fn connect<S>(
    way: S,
    proxy: &Uri,
    credentials: Option<(&str, &str)>,
    to: Uri,
) -> Result<S, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let socks = SocksV5::new(proxy.clone(), Connected(Some(TokioIo::new(way))));
    let mut socks = match credentials {
        Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
        None => socks,
    };
    // Of its errors the library writes no text.
    let refused = |error| format!("the SOCKS proxy does not connect: {error:?}");
    socks.call(to).await.map(TokioIo::into_inner).map_err(refused)
}

/// A connection that is made already, and handed out once.
struct Connected<S>(Option<TokioIo<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Service<Uri> for Connected<S> {
    type Response = TokioIo<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<S>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
