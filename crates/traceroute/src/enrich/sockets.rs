//! Ordinary sockets, made in the tracer's network namespace.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};

use tokio::net::{TcpSocket, TcpStream};
use traceroute_packets::Network;

/// Makes sockets as long as the tracer lives: what somebody still looks up does not keep its capture open.
#[derive(Clone, Debug)]
pub(super) struct Sockets(Weak<Network>);

impl Sockets {
    pub(super) fn of(network: &Arc<Network>) -> Self {
        Self(Arc::downgrade(network))
    }

    /// A UDP socket that is connected to `to`: unlike others it is told of refusals.
    pub(super) fn udp(&self, from: SocketAddr, to: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
        let socket = self.make(move || {
            let socket = UdpSocket::bind(from)?;
            socket.set_nonblocking(true)?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        tokio::net::UdpSocket::from_std(socket)
    }

    /// A TCP connection. Its socket is made in the namespace, and stays there.
    pub(super) async fn tcp(&self, from: Option<SocketAddr>, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.make(move || {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_nodelay(true)?;
            if let Some(from) = from {
                socket.bind(from)?;
            }
            Ok(socket)
        })?;
        socket.connect(to).await
    }

    /// The network, while there is one.
    pub(super) fn network(&self) -> io::Result<Arc<Network>> {
        self.0.upgrade().ok_or_else(|| io::Error::other("the tracer is gone"))
    }

    fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.network()?.inside(make).map_err(io::Error::other)?
    }
}
