//! The system calls that neither the standard library nor `socket2` wraps.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::SockAddr;
use traceroute_core::Destination;

use crate::platform::unix::{check, socklen};

fn nanoseconds(time: &libc::timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// How many packets a packet socket has dropped since the last call.
pub(super) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = socklen::<libc::tpacket_stats>();
    // SAFETY: both pointers are valid for the call, and `length` is the size of what `statistics` points to.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    check(result).map(|()| statistics.tp_drops)
}

/// Binds a packet socket to all interfaces and all protocols. It receives nothing before.
pub(super) fn bind_to_all(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a sockaddr_ll of zeros is a valid value: interface 0 is all of them.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = family(libc::AF_PACKET);
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    // SAFETY: the pointer is to a live sockaddr_ll, and the length is its size.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
    };
    check(result)
}

/// A packet as the kernel hands it out.
pub(super) struct Received {
    /// How many bytes of it are in the buffer.
    pub(super) len: usize,
    /// `PACKET_HOST`, `PACKET_OUTGOING` and so on.
    pub(super) packet_type: u8,
    /// The index of the interface that it passed.
    pub(super) interface: u32,
    /// The kernel's stamp in nanoseconds since the Unix epoch.
    pub(super) stamp: Option<u64>,
}

/// Room for one control message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives a packet from a packet socket without waiting.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: a sockaddr_ll of zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr of zeros is a valid value: no buffers at all.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = socklen::<libc::sockaddr_ll>();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    // Lengths of control messages are `size_t` with glibc and `socklen_t` with musl.
    #[allow(clippy::cast_possible_truncation, reason = "they have some 100 bytes")]
    let length = control.0.len() as _;
    message.msg_controllen = length;
    // SAFETY: `message` points to live buffers of the lengths given.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let interface = u32::try_from(address.sll_ifindex).unwrap_or(0);
    Ok(Received { len, packet_type: address.sll_pkttype, interface, stamp: stamp(&message) })
}

/// The software stamp among the control messages of a received message.
fn stamp(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has filled in `message`, whose control buffer is alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the control buffer.
    while let Some(control) = unsafe { header.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) {
            // SAFETY: the data follows a header that lies within the control buffer.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: the kernel writes three timespecs (struct scm_timestamping), the software stamp first.
            let software = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            return Some(nanoseconds(&software)).filter(|stamp| *stamp != 0);
        }
        // SAFETY: `header` is a header of this message.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Sends a datagram from an address and through an interface that the routing table may not choose, where they are given.
pub(super) fn send_via(
    socket: BorrowedFd<'_>,
    datagram: &[u8],
    address: &SockAddr,
    to: Destination,
) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    let mut control = Control([0; 128]);
    // SAFETY: a msghdr of zeros is a valid value: no buffers at all.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    match to.address {
        IpAddr::V4(_) => {
            let source = match to.source {
                Some(IpAddr::V4(source)) => u32::from_ne_bytes(source.octets()),
                _ => 0,
            };
            let information = libc::in_pktinfo {
                ipi_ifindex: libc::c_int::try_from(to.interface).unwrap_or_default(),
                ipi_spec_dst: libc::in_addr { s_addr: source },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(&mut message, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, information);
        }
        IpAddr::V6(_) => {
            let source = match to.source {
                Some(IpAddr::V6(source)) => source.octets(),
                _ => [0; 16],
            };
            let information = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: source },
                ipi6_ifindex: to.interface,
            };
            put(&mut message, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, information);
        }
    }
    // SAFETY: `message` points to live buffers of the lengths given; sendmsg writes to none of them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Gives a message its only control message, in a buffer that must live as long as it.
fn put<T>(message: &mut libc::msghdr, buffer: &mut Control, level: libc::c_int, kind: libc::c_int, value: T) {
    let length = socklen::<T>();
    message.msg_control = (&raw mut buffer.0).cast();
    // SAFETY: the macro only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
    // SAFETY: `message` has a control buffer, which is longer than a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(std::ptr::from_ref(message)) };
    // SAFETY: the header lies within the control buffer, which is aligned for it.
    if let Some(header) = unsafe { header.as_mut() } {
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: the macro only computes.
        header.cmsg_len = unsafe { libc::CMSG_LEN(length) } as _;
    }
    // SAFETY: the data follows a header that lies within the control buffer.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the control buffer has room for every value that is put, 20 bytes, behind the header.
    unsafe { data.cast::<T>().write_unaligned(value) };
}

/// Puts two descriptors under way to whoever reads at the other end of `through`.
pub(super) fn pass(through: BorrowedFd<'_>, descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let descriptors = descriptors.map(|descriptor| descriptor.as_raw_fd());
    let mut byte = 0_u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = Control([0; 128]);
    // SAFETY: a msghdr of zeros is a valid value: no buffers at all.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    put(&mut message, &mut control, libc::SOL_SOCKET, libc::SCM_RIGHTS, descriptors);
    // SAFETY: `message` points to live buffers of the lengths given.
    let sent = unsafe { libc::sendmsg(through.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the calling thread a member of the network namespace that `file` refers to.
pub(super) fn enter_network_namespace(file: impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open; the call has no effect on memory.
    check(unsafe { libc::setns(file.as_fd().as_raw_fd(), libc::CLONE_NEWNET) })
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or_default()
}
