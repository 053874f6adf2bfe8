//! The system calls that neither the standard library nor `socket2` wraps.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use traceroute_wire::bpf::Program;

use super::interfaces::{Entry, Fact};
use super::{control, links};
use crate::platform::unix::check;

// What is known of the layouts and numbers of macOS where its headers are not at hand.
const _: () = {
    assert!(size_of::<libc::timeval32>() == 8);
    assert!(offset_of!(libc::bpf_hdr, bh_caplen) == 8);
    assert!(offset_of!(libc::bpf_hdr, bh_hdrlen) == 16);
    assert!(libc::BPF_ALIGNMENT == 4);
    assert!(size_of::<libc::bpf_insn>() == 8 && size_of::<libc::bpf_program>() == 16);
    assert!(links::DLT_NULL == libc::DLT_NULL);
    assert!(links::DLT_EN10MB == libc::DLT_EN10MB);
    assert!(links::DLT_RAW == libc::DLT_RAW);
    assert!(libc::BIOCSSEESENT == 0x8004_4277);
    // As the filter behind `DLT_NULL` takes them.
    assert!(libc::AF_INET == 2 && libc::AF_INET6 == 30 && is_little_endian());
    assert!(size_of::<libc::cmsghdr>() == control::HEADER_LEN);
    assert!(size_of::<libc::in6_pktinfo>() == 20);
    assert!(control::IPPROTO_IPV6 == libc::IPPROTO_IPV6);
    assert!(control::IPV6_TCLASS == libc::IPV6_TCLASS);
    assert!(control::IPV6_PKTINFO == libc::IPV6_PKTINFO);
    assert!(control::IPV6_HOPLIMIT == libc::IPV6_HOPLIMIT);
    assert!(control::IPV6_DONTFRAG == libc::IPV6_DONTFRAG);
};

const fn is_little_endian() -> bool {
    1_u16.to_ne_bytes()[0] == 1
}

/// How many bytes of argument an `ioctl` request says that it has (`IOCPARM_LEN` of sys/ioccom.h).
const fn argument_len(request: c_ulong) -> usize {
    ((request >> 16) & 0x1fff) as usize
}

/// Asks a device for something, or tells it.
fn request<const REQUEST: c_ulong, T>(device: BorrowedFd<'_>, argument: &mut T) -> io::Result<()> {
    const { assert!(argument_len(REQUEST) == size_of::<T>()) };
    // SAFETY: the request reads and writes as many bytes as it says, which is the size of the live `argument`;
    // what that points to lives through the call, too.
    check(unsafe { libc::ioctl(device.as_raw_fd(), REQUEST, ptr::from_mut(argument)) })
}

/// Wants a device to have a buffer of this length in bytes.
pub(super) fn set_buffer_length(device: BorrowedFd<'_>, mut length: c_uint) -> io::Result<()> {
    request::<{ libc::BIOCSBLEN }, c_uint>(device, &mut length)
}

/// The length of a device's buffer in bytes.
pub(super) fn buffer_length(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut length: c_uint = 0;
    request::<{ libc::BIOCGBLEN }, c_uint>(device, &mut length).map(|()| length)
}

/// Lets a device capture the packets of an interface.
pub(super) fn set_interface(device: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: an ifreq of zeros is a valid value.
    let mut interface: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let name = name.to_bytes_with_nul();
    if name.len() > interface.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in interface.ifr_name.iter_mut().zip(name) {
        *to = c_char::from_ne_bytes([*from]);
    }
    request::<{ libc::BIOCSETIF }, libc::ifreq>(device, &mut interface)
}

/// The link type of a device's interface; an error if it has none.
pub(super) fn link_type(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut link_type: c_uint = 0;
    request::<{ libc::BIOCGDLT }, c_uint>(device, &mut link_type).map(|()| link_type)
}

/// Lets a device capture what a filter admits, and discards what it has captured before.
pub(super) fn set_filter(device: BorrowedFd<'_>, filter: &Program) -> io::Result<()> {
    let mut instructions: Vec<_> = filter
        .instructions()
        .iter()
        .map(|i| libc::bpf_insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    // The kernel copies as many instructions as there are, during the call.
    let mut program = libc::bpf_program {
        bf_len: c_uint::try_from(instructions.len()).unwrap_or(c_uint::MAX),
        bf_insns: instructions.as_mut_ptr(),
    };
    request::<{ libc::BIOCSETF }, libc::bpf_program>(device, &mut program)
}

/// Lets a device hand out packets as soon as they are captured.
pub(super) fn set_immediate(device: BorrowedFd<'_>) -> io::Result<()> {
    request::<{ libc::BIOCIMMEDIATE }, c_uint>(device, &mut 1)
}

/// Lets a device capture what this host sends.
pub(super) fn set_see_sent(device: BorrowedFd<'_>) -> io::Result<()> {
    request::<{ libc::BIOCSSEESENT }, c_uint>(device, &mut 1)
}

/// `struct bpf_stat` of net/bpf.h.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    received: c_uint,
    dropped: c_uint,
}

/// How many packets a device has dropped since it was opened.
pub(super) fn packet_drops(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = Statistics::default();
    request::<{ libc::BIOCGSTATS }, Statistics>(device, &mut statistics).map(|()| statistics.dropped)
}

/// Reads from a descriptor.
pub(super) fn read(descriptor: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer is to a live buffer, and the length is its own.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The value of an integer of sysctl(3).
pub(super) fn sysctl(name: &CStr) -> Option<i32> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>();
    // SAFETY: the name is a C string; both pointers are to live values, and `length` is the size of `value`.
    let result = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            (&raw mut value).cast::<c_void>(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    (result == 0 && length == size_of::<c_int>()).then_some(value)
}

/// What `getifaddrs` returns.
struct Entries(*mut libc::ifaddrs);

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: the list is from getifaddrs, and nothing of it is kept.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// The addresses of this host's interfaces, and the interfaces' indices.
pub(super) fn interface_entries() -> io::Result<Vec<Entry>> {
    let mut first = ptr::null_mut();
    // SAFETY: the pointer is to a live pointer, which is set where the call succeeds.
    check(unsafe { libc::getifaddrs(&raw mut first) })?;
    let list = Entries(first);
    let mut entries = Vec::new();
    let mut next = list.0;
    // SAFETY: the list is alive, and its pointers are to entries of it, or null at its end.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        let has = |flag: c_int| entry.ifa_flags & flag.cast_unsigned() != 0;
        let own = NonNull::new(entry.ifa_addr).and_then(fact);
        // Where an interface has no broadcasts it is the other end's address.
        let other = NonNull::new(entry.ifa_dstaddr).filter(|_| has(libc::IFF_BROADCAST)).and_then(fact);
        let broadcast = match other {
            Some(Fact::Address(IpAddr::V4(address))) => Some(Fact::Broadcast(address)),
            _ => None,
        };
        // SAFETY: an entry of the list has a name, a C string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        let loopback = has(libc::IFF_LOOPBACK);
        let facts = own.into_iter().chain(broadcast);
        entries.extend(facts.map(|fact| Entry { name: name.to_owned(), loopback, fact }));
    }
    Ok(entries)
}

/// What an address of the list says.
fn fact(address: NonNull<libc::sockaddr>) -> Option<Fact> {
    // SAFETY: an address of the list is alive and has at least its length and family.
    let family = unsafe { (*address.as_ptr()).sa_family };
    match c_int::from(family) {
        libc::AF_INET => {
            let address: libc::sockaddr_in = copy(address);
            Some(Fact::Address(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)))))
        }
        libc::AF_INET6 => {
            let address: libc::sockaddr_in6 = copy(address);
            Some(Fact::Address(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr))))
        }
        libc::AF_LINK => {
            let address: libc::sockaddr_dl = copy(address);
            Some(Fact::Index(address.sdl_index.into()))
        }
        _ => None,
    }
}

/// A type of socket address that is made of integers.
trait SocketAddress {}

impl SocketAddress for libc::sockaddr_in {}
impl SocketAddress for libc::sockaddr_in6 {}
impl SocketAddress for libc::sockaddr_dl {}

/// A copy of an address of the list, with zeros for what it is too short for.
fn copy<T: SocketAddress>(address: NonNull<libc::sockaddr>) -> T {
    // SAFETY: an address of the list is alive and has at least its length and family.
    let length = unsafe { (*address.as_ptr()).sa_len };
    let length = usize::from(length).min(size_of::<T>());
    let mut copy = MaybeUninit::<T>::zeroed();
    let (from, to) = (address.as_ptr().cast::<u8>(), copy.as_mut_ptr().cast::<u8>());
    // SAFETY: the address has as many bytes as its length says, and `copy` has at least as many of its own.
    unsafe { ptr::copy_nonoverlapping(from, to, length) };
    // SAFETY: integers may have any value, and all have one.
    unsafe { copy.assume_init() }
}
