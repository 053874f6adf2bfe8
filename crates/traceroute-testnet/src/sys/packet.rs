//! Packet sockets (packet(7)) in their cooked form: a packet is its IP datagram, whatever the link is.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::{check, check_len, set_option, socklen_of};

const RECEIVE_BUFFER: libc::c_int = 16 << 20;

/// A non-blocking `AF_PACKET`, `SOCK_DGRAM` socket bound to one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
    interface: libc::c_int,
}

/// What is known of a received packet besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Bytes stored in the buffer.
    pub(crate) len: usize,
    /// Whether it was going out.
    pub(crate) outgoing: bool,
    /// The `EtherType`.
    pub(crate) protocol: u16,
    /// The kernel's stamp, since the Unix epoch, where stamping is on.
    pub(crate) stamp: Option<Duration>,
}

impl Received {
    /// Whether it is an IP datagram, and not ARP or the like.
    pub(crate) fn is_ip(&self) -> bool {
        [libc::ETH_P_IP, libc::ETH_P_IPV6].contains(&libc::c_int::from(self.protocol))
    }
}

impl PacketSocket {
    /// Opens a socket that sees every packet of an interface, in both directions, from now on.
    pub(crate) fn open(interface: libc::c_int) -> io::Result<Self> {
        // Bound by `bind` alone: a protocol given here would let in packets of all interfaces until then.
        // SAFETY: socket takes numbers only.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        })?;
        // SAFETY: the descriptor was just made and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        let socket = Self { fd, interface };
        let address = socket.address(ether_type(libc::ETH_P_ALL), None);
        let length = socklen_of::<libc::sockaddr_ll>();
        // SAFETY: the pointer and the length describe `address`, which outlives the call.
        check(unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(socket)
    }

    /// Asks for the kernel's receive stamps.
    pub(crate) fn enable_stamps(&self) -> io::Result<()> {
        enable_stamps(self.fd.as_fd())
    }

    /// How many packets were lost because they were not read fast enough, since the last call.
    pub(crate) fn take_drops(&self) -> io::Result<u32> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = socklen_of::<libc::tpacket_stats>();
        // SAFETY: the pointers describe `stats` and its length, which outlive the call.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        })?;
        Ok(stats.tp_drops)
    }

    /// Sends an IP datagram to the station with the hardware address `to`.
    pub(crate) fn send(&self, datagram: &[u8], to: [u8; 6]) -> io::Result<()> {
        let protocol =
            if datagram.first().is_some_and(|b| b >> 4 == 6) { libc::ETH_P_IPV6 } else { libc::ETH_P_IP };
        let address = self.address(ether_type(protocol), Some(to));
        // SAFETY: the pointers and lengths describe `datagram` and `address`, which outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                0,
                (&raw const address).cast(),
                socklen_of::<libc::sockaddr_ll>(),
            )
        };
        check_len(sent).map(drop)
    }

    /// Receives a packet; `None` when none is waiting.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut address = self.address(0, None);
        let received = receive_stamped(self.fd.as_fd(), buffer, Some(&mut address))?;
        Ok(received.map(|(len, stamp)| Received {
            len,
            outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
            protocol: u16::from_be(address.sll_protocol),
            stamp,
        }))
    }

    fn address(&self, protocol: u16, station: Option<[u8; 6]>) -> libc::sockaddr_ll {
        let mut sll_addr = [0; 8];
        if let Some(station) = station {
            sll_addr[..6].copy_from_slice(&station);
        }
        libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
            sll_protocol: protocol.to_be(),
            sll_ifindex: self.interface,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: if station.is_some() { 6 } else { 0 },
            sll_addr,
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Asks for the kernel's receive stamps on any socket: `SO_TIMESTAMPING`, because `SO_TIMESTAMPNS` gives the time of
/// reading until the kernel's deferred job has switched stamping on.
pub(crate) fn enable_stamps(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags.cast_signed())
}

/// Receives from any socket, with the stamp where there is one; `None` when a non-blocking socket has nothing.
pub(crate) fn receive_stamped(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    address: Option<&mut libc::sockaddr_ll>,
) -> io::Result<Option<(usize, Option<Duration>)>> {
    // Unsigned long words give the alignment that a control header needs.
    let mut control = [0_u64; 16];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr of zeros is valid: null pointers with lengths of zero.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    if let Some(address) = address {
        message.msg_name = std::ptr::from_mut(address).cast();
        message.msg_namelen = socklen_of::<libc::sockaddr_ll>();
    }
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    #[allow(clippy::cast_possible_truncation, reason = "musl has 32 bits for these 128 bytes")]
    let length = size_of_val(&control) as _;
    message.msg_controllen = length;
    // SAFETY: every pointer of `message` describes memory that outlives the call.
    match check_len(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) }) {
        Ok(len) => Ok(Some((len, stamp_of(&message)))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The software stamp in the control data of a received message.
fn stamp_of(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: recvmsg has set the pointer and the length of the control data, which is alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that is not null lies within the control data and is aligned.
        let cmsg = unsafe { header.read() };
        if cmsg.cmsg_level == libc::SOL_SOCKET && cmsg.cmsg_type == libc::SCM_TIMESTAMPING {
            // SAFETY: the header is valid.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: SCM_TIMESTAMPING carries three timespecs, the first of them the software stamp.
            let stamp = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            let duration =
                Duration::new(u64::try_from(stamp.tv_sec).ok()?, u32::try_from(stamp.tv_nsec).ok()?);
            return (!duration.is_zero()).then_some(duration);
        }
        // SAFETY: the message and the header are those of this control data.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn ether_type(number: libc::c_int) -> u16 {
    u16::try_from(number).unwrap_or_default()
}
