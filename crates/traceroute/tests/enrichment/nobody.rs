//! Ports at which nobody listens: held by sockets, so that no server of a test that runs beside gets one meanwhile.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

/// A TCP port that refuses connections: its socket is bound, but does not listen.
pub(crate) struct RefusingTcp(Socket);

impl RefusingTcp {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound").as_socket().expect("an IP address")
    }

    /// From now on somebody listens.
    pub(crate) fn listen(self) -> TcpListener {
        self.0.listen(128).expect("bound");
        self.0.into()
    }
}

/// A UDP port that refuses datagrams from everyone but the one peer that its socket is connected to: itself.
pub(crate) struct RefusingUdp(UdpSocket);

impl RefusingUdp {
    pub(crate) fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.connect(socket.local_addr().expect("bound")).expect("loopback");
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }
}
