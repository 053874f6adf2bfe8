//! The connection of a client, and whether somebody is still there.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::Response;
use futures_util::StreamExt;
use hyper::body::Body as _;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection. Cheap to clone; who reads and writes is one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<TcpStream>);

impl Client {
    /// Whether [`gone`](Self::gone) ever is.
    pub(crate) const NOTICES_THE_END: bool = cfg!(any(target_os = "linux", target_os = "android"));

    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Waits until the client has closed its side. One that still wants to read cannot be told from one that has gone before
    /// something is sent to it.
    ///
    /// Hyper by itself does not notice the end behind a further request.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) async fn gone(self) {
        // Of what is registered with the kernel only the end belongs to this interest. An error says that the runtime ends.
        self.0.ready(tokio::io::Interest::PRIORITY).await.map(drop).unwrap_or_default();
    }

    /// Elsewhere tokio tells of the end together with what is to be read only: hyper has to notice it.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) async fn gone(self) {
        std::future::pending::<()>().await;
    }

    /// An answer whose making ends with the client. What is ready already is sent in any case.
    pub(crate) async fn unless_gone(
        self,
        answer: impl Future<Output = Response<Body>>,
    ) -> io::Result<Response<Body>> {
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.clone().gone() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        if answer.body().size_hint().exact().is_some() {
            return Ok(answer);
        }
        Ok(answer.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(self.gone())))))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Client {
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}
