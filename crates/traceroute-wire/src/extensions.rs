//! ICMP extensions (RFC 4884): what a router says about itself behind the quoted datagram.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;

/// The least length of a quote that extensions follow, and where they start when a router that predates RFC 4884 sets
/// no length (RFC 4884 sections 4.6 and 5.5).
const MIN_QUOTE_LEN: usize = 128;
const HEADER_LEN: usize = 4;
const OBJECT_HEADER_LEN: usize = 4;
const VERSION: u8 = 2;

const CLASS_MPLS: u8 = 1;
const CTYPE_INCOMING_STACK: u8 = 1;
const CLASS_INTERFACE: u8 = 2;
/// The longest name field of an interface, its length byte included (RFC 5837 section 4.3).
const MAX_NAME_LEN: usize = 64;

/// A verified extension structure. Reading it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions<'a> {
    objects: &'a [u8],
}

/// One entry of an MPLS label stack (RFC 4950, RFC 3032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MplsLabel {
    /// Label value, 20 bits.
    pub label: u32,
    /// Traffic class, formerly "experimental", 3 bits.
    pub exp: u8,
    /// Whether this is the bottom of the stack.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

/// What an interface described by RFC 5837 did with the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceRole {
    /// The datagram arrived on it.
    Incoming,
    /// It is the sub-IP component (a member of a bundle) that the datagram arrived on.
    SubIpComponent,
    /// The datagram would have left by it.
    Outgoing,
    /// It leads to the next hop.
    NextHop,
}

/// An interface of the answering router (RFC 5837).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceInfo<'a> {
    /// What the interface did with the datagram.
    pub role: InterfaceRole,
    /// Its index in the router's interface table.
    pub index: Option<u32>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its name; UTF-8 of at most 63 bytes.
    pub name: Option<&'a str>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
}

impl<'a> Extensions<'a> {
    /// Splits the body of an ICMP error into the quoted datagram and the extensions behind it.
    ///
    /// `quote_len` is the length attribute in bytes. Less than 128 is none, whatever an old router left in an unused
    /// byte, and then extensions are looked for at byte 128. Bytes count as extensions only if version and checksum say so.
    #[must_use]
    pub fn split(body: &'a [u8], quote_len: usize) -> (&'a [u8], Option<Self>) {
        match body.split_at_checked(quote_len.max(MIN_QUOTE_LEN)) {
            Some((quote, rest)) => match Self::parse(rest) {
                Some(extensions) => (quote, Some(extensions)),
                None if quote_len < MIN_QUOTE_LEN => (body, None),
                None => (quote, None),
            },
            None => (body, None),
        }
    }

    fn parse(structure: &'a [u8]) -> Option<Self> {
        let (header, objects) = structure.split_first_chunk::<HEADER_LEN>()?;
        if header[0] >> 4 != VERSION {
            return None;
        }
        // A checksum of zero means that none was computed (RFC 4884 section 7).
        let checksum = u16::from_be_bytes([header[2], header[3]]);
        if checksum != 0 && Sum::bytes(structure) != Sum::default() {
            return None;
        }
        Some(Self { objects })
    }

    fn objects(self) -> impl Iterator<Item = Object<'a>> {
        let mut rest = self.objects;
        core::iter::from_fn(move || {
            let (header, _) = rest.split_first_chunk::<OBJECT_HEADER_LEN>()?;
            let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
            if length < OBJECT_HEADER_LEN {
                return None;
            }
            let (object, tail) = rest.split_at_checked(length)?;
            rest = tail;
            Some(Object { class: header[2], ctype: header[3], data: &object[OBJECT_HEADER_LEN..] })
        })
    }

    /// The MPLS label stack that the datagram arrived with, top first (RFC 4950).
    pub fn mpls_labels(self) -> impl Iterator<Item = MplsLabel> + 'a {
        self.objects()
            .filter(|object| object.class == CLASS_MPLS && object.ctype == CTYPE_INCOMING_STACK)
            .flat_map(|object| object.data.chunks_exact(4))
            .map(|entry| MplsLabel {
                label: u32::from_be_bytes([0, entry[0], entry[1], entry[2]]) >> 4,
                exp: entry[2] >> 1 & 0b111,
                bottom: entry[2] & 1 == 1,
                ttl: entry[3],
            })
    }

    /// The interfaces that the router describes (RFC 5837).
    pub fn interfaces(self) -> impl Iterator<Item = InterfaceInfo<'a>> {
        self.objects()
            .filter(|object| object.class == CLASS_INTERFACE)
            .filter_map(|object| interface(&object))
    }
}

struct Object<'a> {
    class: u8,
    ctype: u8,
    data: &'a [u8],
}

fn interface<'a>(object: &Object<'a>) -> Option<InterfaceInfo<'a>> {
    let has = |bit: u8| object.ctype >> bit & 1 == 1;
    let mut fields = Fields(object.data);
    Some(InterfaceInfo {
        role: match object.ctype >> 6 {
            0 => InterfaceRole::Incoming,
            1 => InterfaceRole::SubIpComponent,
            2 => InterfaceRole::Outgoing,
            _ => InterfaceRole::NextHop,
        },
        index: if has(3) { Some(fields.word()?) } else { None },
        address: if has(2) { Some(fields.address()?) } else { None },
        name: if has(1) { fields.name()? } else { None },
        mtu: if has(0) { Some(fields.word()?) } else { None },
    })
}

/// The optional fields of an interface information object, in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn word(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Address family numbers by IANA: 1 is IPv4, 2 is IPv6.
    fn address(&mut self) -> Option<IpAddr> {
        match self.array::<4>()? {
            [0, 1, ..] => self.array::<4>().map(|octets| Ipv4Addr::from(octets).into()),
            [0, 2, ..] => self.array::<16>().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// A length byte that counts itself, then the name, padded with zeros. The outer `None` is a malformed field, the
    /// inner one a name that is not UTF-8.
    #[expect(clippy::option_option, reason = "malformed ends the object, an unreadable name does not")]
    fn name(&mut self) -> Option<Option<&'a str>> {
        let length = usize::from(*self.0.first()?);
        if length > MAX_NAME_LEN {
            return None;
        }
        let name = self.take(length)?.get(1..)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Some(core::str::from_utf8(&name[..end]).ok().filter(|name| !name.is_empty()))
    }
}
