//! The Internet checksum (RFC 1071) as arithmetic modulo 65,535.
//!
//! Ones' complement addition of 16-bit words is addition modulo 65,535 with two names for zero. Written that way the
//! sum can also be subtracted from, which recovers a part of a packet from the checksum over the whole of it: what a
//! router that rewrites addresses and ports leaves alone (RFC 1624).

use core::net::IpAddr;
use core::ops::{Add, Neg, Sub};

const MODULUS: u64 = 0xffff;

/// A sum of 16-bit words modulo 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum(u16);

impl Sum {
    /// The sum of one word.
    #[must_use]
    pub const fn word(word: u16) -> Self {
        Self(if word == 0xffff { 0 } else { word })
    }

    /// The sum of the big-endian words of `bytes`; an odd last byte counts as the high half of a word.
    ///
    /// 65,536 leaves 1 when divided by 65,535, so a number leaves what the sum of its words does: two are added at once.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<4>();
        let sum: u64 = pairs.iter().map(|pair| u64::from(u32::from_be_bytes(*pair))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self::reduced(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// The sum of an address's words.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::bytes(&address.octets()),
            IpAddr::V6(address) => Self::bytes(&address.octets()),
        }
    }

    /// What a checksum field says about the words it covers: the sum of all of them, itself left out.
    #[must_use]
    pub const fn covered_by(checksum: u16) -> Self {
        Self::word(!checksum)
    }

    /// The sum as a word, 0 to 65,534.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The checksum of these words, which are not all zero. Their sum in ones' complement is not zero either: where the
    /// remainder is, its name is 0xffff (RFC 1071), as with every other implementation.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        if self.0 == 0 { 0 } else { !self.0 }
    }

    fn reduced(sum: u64) -> Self {
        Self((sum % MODULUS) as u16)
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (sum, carried) = self.0.overflowing_add(other.0);
        // What is carried is worth 65,536, and so is one.
        Self::word(sum.wrapping_add(carried.into()))
    }
}

impl Neg for Sum {
    type Output = Self;

    fn neg(self) -> Self {
        Self::word(!self.0)
    }
}

impl Sub for Sum {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

/// The sum of the pseudo-header that UDP, TCP and ICMPv6 checksums cover (RFC 768, RFC 8200 section 8.1).
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u16) -> Sum {
    Sum::address(source) + Sum::address(destination) + Sum::word(u16::from(protocol)) + Sum::word(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.value(), 0xddf2);
        assert_eq!(Sum::covered_by(!0xddf2), sum);
    }

    #[test]
    fn the_longest_datagram_of_the_greatest_words_does_not_overflow() {
        assert_eq!(Sum::bytes(&alloc::vec![0xff; 65_535]), Sum::word(0xff00), "an odd last byte");
        assert_eq!(Sum::word(0xfffe) + Sum::word(0xfffe), Sum::word(0xfffd));
        assert_eq!(Sum::word(0xfffe) + Sum::word(1), Sum::default());
    }

    #[test]
    fn both_zeros_are_one() {
        assert_eq!(Sum::word(0xffff), Sum::word(0));
        assert_eq!(Sum::bytes(&[0xff, 0xff]), Sum::default());
        assert_eq!(-Sum::default(), Sum::default());
    }

    proptest! {
        #[test]
        fn subtraction_undoes_addition(a: u16, b: u16) {
            prop_assert_eq!(Sum::word(a) + Sum::word(b) - Sum::word(b), Sum::word(a));
        }

        #[test]
        fn addition_is_modulo_65535(a: u16, b: u16) {
            let sum = (u32::from(a) + u32::from(b)) % 0xffff;
            prop_assert_eq!(u32::from((Sum::word(a) + Sum::word(b)).value()), sum);
        }

        #[test]
        fn agrees_with_etherparse(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            // etherparse sums in the machine's byte order; `ones_complement` is what belongs in the field.
            let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
            prop_assert_eq!(Sum::covered_by(theirs), Sum::bytes(&bytes));
        }
    }
}
