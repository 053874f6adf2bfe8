//! ICMP extensions (RFC 4884): MPLS label stacks (RFC 4950) and interface information (RFC 5837).

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

/// The size to which a quote is padded before extensions follow.
const MIN_QUOTE: usize = 128;

/// The extensions of an ICMP error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The objects, in order.
    pub objects: Vec<Object>,
    /// How the length of the quote is told.
    pub format: Format,
    /// Whether the checksum is wrong.
    pub bad_checksum: bool,
}

/// How a receiver learns where the extensions start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// By the length field, as RFC 4884 has it.
    #[default]
    Compliant,
    /// Not at all: the length field is zero, the extensions start at byte 128 of the quote.
    Legacy,
}

/// An extension object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An MPLS label stack, top first.
    Mpls(Vec<MplsLabel>),
    /// What is known of an interface.
    Interface(Interface),
    /// Any other object.
    Other {
        /// Its class.
        class: u8,
        /// Its type within the class.
        c_type: u8,
        /// What it carries.
        data: Vec<u8>,
    },
}

/// An entry of an MPLS label stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MplsLabel {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class, once called experimental bits: 3 bits.
    pub exp: u8,
    /// Whether it is the bottom of the stack.
    pub bottom: bool,
    /// The time to live.
    pub ttl: u8,
}

/// What RFC 5837 tells of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Which interface it is.
    pub role: InterfaceRole,
    /// Its index.
    pub index: Option<u32>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its name, of up to 63 bytes.
    pub name: Option<String>,
    /// Its MTU.
    pub mtu: Option<u32>,
}

/// What an interface had to do with the datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceRole {
    /// The datagram came in by it.
    #[default]
    Incoming = 0,
    /// The datagram came in by this part of it.
    IncomingPart = 1,
    /// The datagram would have gone out by it.
    Outgoing = 2,
    /// The datagram would have been sent to this next hop.
    NextHop = 3,
}

impl Extensions {
    /// Compliant extensions with one MPLS label stack.
    #[must_use]
    pub fn mpls(labels: &[MplsLabel]) -> Self {
        Self { objects: vec![Object::Mpls(labels.to_vec())], ..Self::default() }
    }

    /// Compliant extensions that tell of an interface.
    #[must_use]
    pub fn interface(interface: Interface) -> Self {
        Self { objects: vec![Object::Interface(interface)], ..Self::default() }
    }

    /// Pads the quote, appends the extensions to it and returns the value of the length field.
    pub(super) fn append_to(&self, quote: &mut Vec<u8>, v6: bool) -> u8 {
        let word = if v6 { 8 } else { 4 };
        let padded = match self.format {
            Format::Legacy => MIN_QUOTE,
            Format::Compliant => quote.len().max(MIN_QUOTE).next_multiple_of(word),
        };
        quote.resize(padded, 0);
        quote.extend(self.to_bytes());
        match self.format {
            Format::Legacy => 0,
            Format::Compliant => u8::try_from(padded / word).unwrap_or(u8::MAX),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2 << 4, 0, 0, 0];
        for object in &self.objects {
            let (class, c_type, data) = object.parts();
            let length = u16::try_from(4 + data.len()).unwrap_or(u16::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend([class, c_type]);
            bytes.extend(data);
        }
        let checksum = u16::from_be(Sum16BitWords::new().add_slice(&bytes).ones_complement());
        let checksum = if self.bad_checksum { checksum ^ 0x5555 } else { checksum };
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl Object {
    fn parts(&self) -> (u8, u8, Vec<u8>) {
        match self {
            Self::Mpls(labels) => (1, 1, labels.iter().flat_map(|l| l.to_bytes()).collect()),
            Self::Interface(interface) => (2, interface.c_type(), interface.to_bytes()),
            Self::Other { class, c_type, data } => (*class, *c_type, data.clone()),
        }
    }
}

impl MplsLabel {
    fn to_bytes(self) -> [u8; 4] {
        let word = (self.label & 0xf_ffff) << 12
            | u32::from(self.exp & 7) << 9
            | u32::from(self.bottom) << 8
            | u32::from(self.ttl);
        word.to_be_bytes()
    }
}

impl Interface {
    fn c_type(&self) -> u8 {
        (self.role as u8) << 6
            | u8::from(self.index.is_some()) << 3
            | u8::from(self.address.is_some()) << 2
            | u8::from(self.name.is_some()) << 1
            | u8::from(self.mtu.is_some())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.index.iter().flat_map(|index| index.to_be_bytes()));
        match self.address {
            Some(IpAddr::V4(address)) => {
                bytes.extend([0, 1, 0, 0]);
                bytes.extend(address.octets());
            }
            Some(IpAddr::V6(address)) => {
                bytes.extend([0, 2, 0, 0]);
                bytes.extend(address.octets());
            }
            None => {}
        }
        if let Some(name) = &self.name {
            let name = &name.as_bytes()[..name.len().min(63)];
            let length = (1 + name.len()).next_multiple_of(4);
            bytes.push(u8::try_from(length).unwrap_or(64));
            bytes.extend(name);
            bytes.extend(std::iter::repeat_n(0, length - 1 - name.len()));
        }
        bytes.extend(self.mtu.iter().flat_map(|mtu| mtu.to_be_bytes()));
        bytes
    }
}
