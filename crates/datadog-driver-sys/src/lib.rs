//! The interface of `ddnpm`, the network driver for Windows that the Datadog Agent installs: structures, control codes,
//! names. No logic, and no system call: it compiles everywhere, and every layout is checked when it does.
//!
//! Source: `ddnpmapi.h` of the Agent (`pkg/network/driver`), which packs its structures to one byte. All fields lie on
//! their natural boundaries, so `repr(C)` gives the same layout. Numbers are little-endian, as the machines are.
//!
//! # How it is used
//!
//! The service [`SERVICE`] has to run. A handle of [`DATA_DEVICE`] takes filters ([`SET_DATA_FILTER`]), which live as long as
//! it does, and is read from: each read gives one packet, a [`PacketHeader`] before its IP header. What is written to such a
//! handle is sent: an IP datagram, header included.
#![no_std]
#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};

/// The name of the driver's service.
pub const SERVICE: &str = "ddnpm";

/// The path to open for a handle that packets are read from and written to.
pub const DATA_DEVICE: &str = r"\\.\ddnpm\transporthandle";

/// The versions of the interface whose structures are those of this crate, the newest first: driver 2.10.0 and later.
pub const VERSIONS: [u16; 2] = [0x18, 0x17];

/// What the driver knows a structure's version by: [`FilterDefinition::filter_version`] and
/// [`PacketHeader::filter_version`].
#[must_use]
pub const fn signature(version: u16) -> u64 {
    const MAGIC: u64 = 0xddfd;
    (MAGIC << 32) | version as u64
}

/// Adds a filter to a data handle: a [`FilterDefinition`] in, the filter's number (an `i64`) out.
pub const SET_DATA_FILTER: u32 = control_code(0x803);

/// A control code of the driver: `CTL_CODE(FILE_DEVICE_NETWORK, function, METHOD_BUFFERED, FILE_ANY_ACCESS)`.
const fn control_code(function: u32) -> u32 {
    const FILE_DEVICE_NETWORK: u32 = 0x12;
    const FILE_ANY_ACCESS: u32 = 0;
    const METHOD_BUFFERED: u32 = 0;
    (FILE_DEVICE_NETWORK << 16) | (FILE_ANY_ACCESS << 14) | (function << 2) | METHOD_BUFFERED
}

/// Windows' `AF_INET`.
pub const AF_INET: u64 = 2;
/// Windows' `AF_INET6`.
pub const AF_INET6: u64 = 23;

/// The layer that packets are taken at: [`FilterDefinition::filter_layer`].
pub const LAYER_TRANSPORT: u64 = 1;

/// To this host: [`FilterDefinition::direction`] and [`PacketHeader::direction`].
pub const INBOUND: u64 = 0;
/// From this host.
pub const OUTBOUND: u64 = 1;

/// One end of the packets that a filter admits (`FILTER_ADDRESS`). All zeros are any address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterAddress {
    /// [`AF_INET`], [`AF_INET6`], or 0 for any address.
    pub family: u64,
    /// In network order.
    pub v4_address: [u8; 4],
    /// Zeros.
    pub v4_padding: [u8; 4],
    /// In network order.
    pub v6_address: [u8; 16],
    /// The header says that it is the number of mask bits. What the reference gives, and was tested with the driver, is all
    /// ones: 32 for IPv4, 64 for IPv6.
    pub mask: u64,
}

/// Which packets a data handle is to be given (`FILTER_DEFINITION`). What is zero may be anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterDefinition {
    /// The [`signature`] of the interface.
    pub filter_version: u64,
    /// The size of this structure in bytes.
    pub size: u64,
    /// [`LAYER_TRANSPORT`].
    pub filter_layer: u64,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u64,
    /// This host's end.
    pub local_address: FilterAddress,
    /// The other end.
    pub remote_address: FilterAddress,
    /// In host order.
    pub local_port: u64,
    /// In host order.
    pub remote_port: u64,
    /// The protocol number of the IP header.
    pub protocol: u64,
    /// [`INBOUND`] or [`OUTBOUND`].
    pub direction: u64,
    /// 0 for all interfaces.
    pub interface_index: u64,
    /// Whether packets are kept from this host's own stack: 0 or 1.
    pub discard: u64,
}

/// What precedes every packet that is read (`PACKET_HEADER`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// The [`signature`] of the interface.
    pub filter_version: u64,
    /// The size of this structure in bytes.
    pub size: u64,
    /// How many packets were lost since the last one was delivered.
    pub skipped_since_last: u64,
    /// The number of the filter that admitted it.
    pub filter_id: u64,
    /// [`INBOUND`] or [`OUTBOUND`].
    pub direction: u64,
    /// The length of the packet in bytes.
    pub packet_size: u64,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u64,
    /// The process that it belongs to; all ones where that is not known.
    pub owner_pid: u64,
    /// When it was seen, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
}

/// Fails to compile unless a structure has these fields and no others, each where the driver expects it.
macro_rules! assert_layout {
    ($structure:ident, $size:literal bytes: $($offset:literal $field:ident),+ $(,)?) => {
        const _: () = {
            const fn _names_every_field(value: $structure) {
                let $structure { $($field: _),+ } = value;
            }
            $(assert!(offset_of!($structure, $field) == $offset, stringify!($field));)+
            assert!(size_of::<$structure>() == $size);
        };
    };
}

assert_layout!(FilterAddress, 40 bytes: 0 family, 8 v4_address, 12 v4_padding, 16 v6_address, 32 mask);
assert_layout!(FilterDefinition, 160 bytes:
    0 filter_version, 8 size, 16 filter_layer, 24 family, 32 local_address, 72 remote_address, 112 local_port,
    120 remote_port, 128 protocol, 136 direction, 144 interface_index, 152 discard);
assert_layout!(PacketHeader, 72 bytes:
    0 filter_version, 8 size, 16 skipped_since_last, 24 filter_id, 32 direction, 40 packet_size, 48 family,
    56 owner_pid, 64 timestamp);

const _: () = {
    assert!(SET_DATA_FILTER == 0x0012_200c);
    assert!(signature(0x17) == 0xddfd_0000_0017);
};
