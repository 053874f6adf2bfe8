//! A raw socket for TCP over IPv4.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use traceroute_testnet::kernel::Namespace;

use super::tcp::In;

/// Sends whole datagrams, and receives the segments from one address and port.
pub struct Raw {
    fd: OwnedFd,
    from: SocketAddr,
}

impl Raw {
    pub fn open(namespace: &Namespace, from: SocketAddr) -> Self {
        let fd = namespace.run(|| {
            // SAFETY: socket takes numbers only.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_TCP) }
        });
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor was just made and nothing else owns it.
        let raw = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, from };
        raw.set_option(libc::IPPROTO_IP, libc::IP_HDRINCL, &1_i32);
        raw
    }

    pub fn send(&self, datagram: &[u8]) {
        let IpAddr::V4(to) = self.from.ip() else { panic!("IPv4 only") };
        let address = libc::sockaddr_in {
            sin_family: u16::try_from(libc::AF_INET).unwrap(),
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.octets()) },
            sin_zero: [0; 8],
        };
        let length = u32::try_from(size_of_val(&address)).unwrap();
        // SAFETY: the pointers and lengths describe `datagram` and `address`, which outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                0,
                (&raw const address).cast(),
                length,
            )
        };
        assert!(sent >= 0, "{}", io::Error::last_os_error());
    }

    /// The next segment that comes within a time.
    pub fn receive(&self, within: Duration) -> Option<In> {
        let time = libc::timeval {
            tv_sec: within.as_secs().try_into().unwrap(),
            tv_usec: within.subsec_micros().into(),
        };
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time);
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            // SAFETY: the pointer and the length describe `buffer`, which outlives the call.
            let received =
                unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let length = usize::try_from(received).ok()?;
            let segment = In::parse(&buffer[..length]);
            if segment.from == self.from {
                return Some(segment);
            }
        }
    }

    fn set_option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) {
        let length = u32::try_from(size_of_val(value)).unwrap();
        // SAFETY: the pointer and the length describe `value`, which outlives the call.
        let status = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
        };
        assert_eq!(status, 0, "{}", io::Error::last_os_error());
    }
}
