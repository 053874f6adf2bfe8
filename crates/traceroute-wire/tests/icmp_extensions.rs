//! ICMP extensions (RFC 4884): where they start, when they count, and the label stacks in them (RFC 4950).

mod support;

use proptest::prelude::*;
use support::{UDP, V4, V6, bytes, error, icmp, internet_checksum, ip, object, structure, udp_segment, word};
use traceroute_wire::{Endpoints, Extensions, MplsLabel};
use trippy_packet::icmp_extension::extension_object::{ClassNum, ExtensionObjectPacket};
use trippy_packet::icmp_extension::extension_splitter;
use trippy_packet::icmp_extension::extension_structure::ExtensionsPacket;
use trippy_packet::icmp_extension::mpls_label_stack::MplsLabelStackPacket;
use trippy_packet::icmp_extension::mpls_label_stack_member::MplsLabelStackMemberPacket;

const MPLS: u8 = 1;
const INCOMING_STACK: u8 = 1;

/// A label stack entry (RFC 3032, section 2.1): label, 3 bits of traffic class, bottom of stack, TTL.
fn entry(label: MplsLabel) -> [u8; 4] {
    let word =
        label.label << 12 | u32::from(label.exp) << 9 | u32::from(label.bottom) << 8 | u32::from(label.ttl);
    word.to_be_bytes()
}

fn stack_object(labels: &[MplsLabel]) -> Vec<u8> {
    object(MPLS, INCOMING_STACK, &labels.iter().copied().flat_map(entry).collect::<Vec<_>>())
}

/// A single label, told from others by its value.
fn label(value: u32) -> MplsLabel {
    MplsLabel { label: value, exp: 5, bottom: true, ttl: 1 }
}

fn labels(extensions: Option<Extensions<'_>>) -> Option<Vec<u32>> {
    extensions.map(|extensions| extensions.mpls_labels().map(|label| label.label).collect())
}

/// The labels that a structure behind a quote of 128 bytes is read to have.
fn read(structure: &[u8]) -> Option<Vec<u32>> {
    let body = [&[0; 128], structure].concat();
    let (quote, extensions) = Extensions::split(&body, 128);
    assert_eq!(quote, &body[..128]);
    labels(extensions)
}

/// An error of the family with a length attribute in its unit, over a quote of `quote_len` bytes and extensions.
fn error_with_length(endpoints: Endpoints, length: u8, quote_len: usize) -> Vec<u8> {
    let (kind, second_word) = match endpoints {
        Endpoints::V4 { .. } => (11, [0, length, 0, 0]),
        Endpoints::V6 { .. } => (3, [length, 0, 0, 0]),
    };
    let mut body = ip(endpoints, UDP, &udp_segment(&[0; 3000]));
    body.truncate(quote_len);
    body.extend(structure(&stack_object(&[label(77)])));
    icmp(endpoints, kind, 0, second_word, &body)
}

#[test]
fn the_length_attribute_counts_32_bit_words_in_icmp_and_64_bit_words_in_icmpv6() {
    for (endpoints, unit) in [(V4, 4), (V6, 8)] {
        for length in (128 / unit)..=255 {
            let quote_len = length * unit;
            let attribute = u8::try_from(length).unwrap();
            let bytes = error_with_length(endpoints, attribute, quote_len);
            let read = error(&bytes).unwrap();
            assert_eq!(labels(read.extensions), Some(vec![77]), "{length} units of {unit} bytes");
            assert_eq!(read.quoted.transport_len(), quote_len - endpoints.header_len());

            for elsewhere in [quote_len - unit, quote_len + unit] {
                let bytes = error_with_length(endpoints, attribute, elsewhere);
                assert_eq!(error(&bytes).unwrap().extensions, None, "extensions at {elsewhere}");
            }
        }
    }
}

#[test]
fn the_length_attribute_stands_where_rfc_4884_says_for_every_message_that_has_one() {
    for (endpoints, kinds, at) in [(V4, [3, 11], 5), (V6, [1, 3], 4)] {
        let units = if at == 5 { 40 } else { 20 };
        for kind in kinds {
            for position in 4..8 {
                let mut second_word = [0; 4];
                second_word[position - 4] = units;
                let mut body = ip(endpoints, UDP, &udp_segment(&[0; 3000]));
                body.truncate(160);
                body.extend(structure(&stack_object(&[label(77)])));
                let bytes = icmp(endpoints, kind, 0, second_word, &body);
                let expected = (position == at).then(|| vec![77]);
                assert_eq!(
                    labels(error(&bytes).unwrap().extensions),
                    expected,
                    "type {kind}, byte {position}"
                );
            }
        }
    }
}

#[test]
fn packet_too_big_and_parameter_problem_carry_no_extensions() {
    for (kind, code) in [(2, 0), (4, 1)] {
        for second_word in [[0; 4], [16, 0, 0, 0]] {
            let mut body = ip(V6, UDP, &udp_segment(&[0; 80]));
            body.extend(structure(&stack_object(&[label(77)])));
            let bytes = icmp(V6, kind, code, second_word, &body);
            let read = error(&bytes).unwrap();
            assert_eq!((read.extensions, read.quoted.transport_len()), (None, 88));
        }
    }
}

#[test]
fn without_a_length_extensions_are_looked_for_at_byte_128() {
    for endpoints in [V4, V6] {
        let bytes = error_with_length(endpoints, 0, 128);
        let read = error(&bytes).unwrap();
        assert_eq!(labels(read.extensions), Some(vec![77]));
        assert_eq!(read.quoted.transport_len(), 128 - endpoints.header_len());
        for elsewhere in [120, 124, 132, 136] {
            let bytes = error_with_length(endpoints, 0, elsewhere);
            let read = error(&bytes).unwrap();
            assert_eq!(read.extensions, None);
            assert_eq!(read.quoted.transport_len(), elsewhere + 12 - endpoints.header_len(), "all is quote");
        }
    }
}

#[test]
fn a_body_shorter_than_its_length_attribute_is_all_quote() {
    let body = [0x45; 140];
    for length in [141, 144, 1020] {
        assert_eq!(Extensions::split(&body, length), (&body[..], None));
    }
    for length in 0..128 {
        assert_eq!(Extensions::split(&body[..length], 0), (&body[..length], None));
    }
}

#[test]
fn the_quote_ends_at_the_length_attribute_even_without_valid_extensions() {
    let body = [0x45; 140];
    for length in 128..=140 {
        assert_eq!(Extensions::split(&body, length), (&body[..length], None));
    }
}

#[test]
fn a_structure_cut_anywhere_is_none() {
    let whole = structure(&stack_object(&[label(1), label(2)]));
    assert_eq!(read(&whole), Some(vec![1, 2]));
    for length in 0..whole.len() {
        assert_eq!(read(&whole[..length]), None, "{length} bytes");
    }
}

#[test]
fn a_bare_header_is_a_structure_without_objects() {
    assert_eq!(read(&structure(&[])), Some(vec![]));
}

#[test]
fn only_version_2_is_understood_and_reserved_bits_are_ignored() {
    for version in 0..16_u8 {
        for reserved in [0x00, 0x0f] {
            let mut bytes = structure(&stack_object(&[label(77)]));
            bytes[..4].copy_from_slice(&[version << 4 | reserved, reserved, 0, 0]);
            let checksum = internet_checksum(&bytes);
            bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(read(&bytes), (version == 2).then(|| vec![77]), "version {version}");
        }
    }
}

#[test]
fn a_checksum_of_zero_is_no_checksum() {
    let mut bytes = structure(&stack_object(&[label(77)]));
    bytes[2..4].fill(0);
    assert_eq!(read(&bytes), Some(vec![77]));
}

#[test]
fn a_sum_that_is_zero_counts_by_either_name() {
    // The entry makes all words but the checksum sum up to 0xffff, so that the right checksum is zero or all ones.
    let mut bytes = structure(&stack_object(&[MplsLabel { label: 0, exp: 0, bottom: false, ttl: 0 }]));
    let missing = [bytes[2], bytes[3]];
    bytes[2..4].fill(0);
    bytes[8..10].copy_from_slice(&missing);
    assert_eq!(internet_checksum(&bytes), 0);
    assert!(read(&bytes).is_some());
    bytes[2..4].fill(0xff);
    assert!(read(&bytes).is_some());
}

#[test]
fn a_router_s_own_bytes_are_read() {
    // From a capture that trippy's tests hold: label 19380, bottom of stack, TTL 1.
    let bytes = [0x20, 0x00, 0x99, 0x3a, 0x00, 0x08, 0x01, 0x01, 0x04, 0xbb, 0x41, 0x01];
    let body = [&[0; 128][..], &bytes].concat();
    let (_, extensions) = Extensions::split(&body, 0);
    let labels: Vec<_> = extensions.unwrap().mpls_labels().collect();
    assert_eq!(labels, [MplsLabel { label: 19_380, exp: 0, bottom: true, ttl: 1 }]);
}

#[test]
fn a_label_behind_the_last_whole_word_is_not_made_up() {
    let stack = [entry(label(1)), entry(label(2))].concat();
    for length in 0..=8 {
        let bytes = structure(&object(MPLS, INCOMING_STACK, &stack[..length]));
        let expected: &[u32] = &[1, 2][..length / 4];
        assert_eq!(read(&bytes).as_deref(), Some(expected), "{length} bytes");
    }
}

#[test]
fn other_objects_are_passed_over() {
    let other = [
        object(MPLS, 0, &entry(label(1))),
        object(MPLS, 2, &entry(label(2))),
        object(0, INCOMING_STACK, &entry(label(3))),
        object(2, INCOMING_STACK, &entry(label(4))),
        object(255, INCOMING_STACK, &[0; 17]),
        object(9, 9, &[]),
    ];
    let stacks = [stack_object(&[label(10)]), stack_object(&[]), stack_object(&[label(11), label(12)])];
    let mixed: Vec<u8> = other.iter().chain(&stacks).chain(&other).flatten().copied().collect();
    assert_eq!(read(&structure(&mixed)), Some(vec![10, 11, 12]));
}

#[test]
fn an_impossible_object_length_ends_the_objects_but_keeps_those_before_it() {
    let first = stack_object(&[label(10)]);
    let second = stack_object(&[label(11)]);
    for length in [0, 1, 2, 3, 9, 12, 0xffff] {
        let mut bad = second.clone();
        bad[..2].copy_from_slice(&word(length));
        assert_eq!(read(&structure(&[&first[..], &bad].concat())), Some(vec![10]), "length {length}");
    }
    for header_len in 0..4 {
        let objects = [&first[..], &second[..header_len]].concat();
        assert_eq!(read(&structure(&objects)), Some(vec![10]), "{header_len} bytes of a header");
    }
}

/// The labels that trippy finds in a structure that it does not verify.
fn by_trippy(structure: &[u8]) -> Vec<MplsLabel> {
    let mut labels = Vec::new();
    for bytes in ExtensionsPacket::new_view(structure).expect("4 bytes").objects() {
        let object = ExtensionObjectPacket::new_view(bytes).expect("4 bytes");
        let is_stack = object.get_class_num() == ClassNum::MultiProtocolLabelSwitchingLabelStack
            && object.get_class_subtype().0 == INCOMING_STACK;
        if !is_stack || object.payload().len() < 4 {
            continue;
        }
        for bytes in MplsLabelStackPacket::new_view(object.payload()).expect("4 bytes").members() {
            let member = MplsLabelStackMemberPacket::new_view(bytes).expect("4 bytes");
            labels.push(MplsLabel {
                label: member.get_label(),
                exp: member.get_exp(),
                bottom: member.get_bos() == 1,
                ttl: member.get_ttl(),
            });
        }
    }
    labels
}

/// A stack of which only the last entry is the bottom.
fn stack() -> impl Strategy<Value = Vec<MplsLabel>> {
    prop::collection::vec((0_u32..1 << 20, 0_u8..8, any::<u8>()), 0..10).prop_map(|entries| {
        let last = entries.len();
        let labels = entries.into_iter().zip(1..);
        labels.map(|((label, exp, ttl), at)| MplsLabel { label, exp, bottom: at == last, ttl }).collect()
    })
}

proptest! {
    #[test]
    fn stacks_of_every_depth_are_read_as_written(stacks in prop::collection::vec(stack(), 0..4)) {
        let structure = structure(&stacks.iter().flat_map(|stack| stack_object(stack)).collect::<Vec<_>>());
        let body = [&[0; 128][..], &structure].concat();
        let (_, extensions) = Extensions::split(&body, 128);
        let labels: Vec<_> = extensions.unwrap().mpls_labels().collect();
        prop_assert_eq!(&labels, &stacks.concat());
        prop_assert_eq!(labels, by_trippy(&structure));
    }

    #[test]
    fn trippy_finds_the_same_objects(
        stacks in prop::collection::vec((stack(), 0_u8..3, 0_u8..3), 0..6),
        damage in prop::option::of((any::<prop::sample::Index>(), 0_usize..30)),
    ) {
        let mut objects: Vec<Vec<u8>> = stacks
            .iter()
            .map(|(stack, class, ctype)| object(*class, *ctype, &stack_object(stack)[4..]))
            .collect();
        if let (Some((index, length)), false) = (damage, objects.is_empty()) {
            // A length that ends another object short would leave entries without a bottom, which trippy reads on.
            let object = index.get_mut(&mut objects);
            prop_assume!(length < 4 || length > object.len());
            object[..2].copy_from_slice(&word(length + if length < 4 { 0 } else { 4000 }));
        }
        let structure = structure(&objects.concat());
        let body = [&[0; 128][..], &structure].concat();
        let (_, extensions) = Extensions::split(&body, 128);
        prop_assert_eq!(extensions.unwrap().mpls_labels().collect::<Vec<_>>(), by_trippy(&structure));
    }

    #[test]
    fn trippy_splits_at_the_same_byte(quote_len in 128_usize..400, stack in stack(), with_length: bool) {
        let quote_len = if with_length { quote_len } else { 128 };
        let body = [vec![0x45; quote_len], structure(&stack_object(&stack))].concat();
        let length = if with_length { quote_len } else { 0 };
        let (quote, extensions) = Extensions::split(&body, length);
        let (theirs, their_extensions) = extension_splitter::split(length, &body);
        prop_assert_eq!(quote, theirs);
        prop_assert_eq!(extensions.is_some(), their_extensions.is_some());
        prop_assert_eq!(their_extensions, Some(&body[quote_len..]));
    }

    #[test]
    fn a_flipped_bit_makes_the_structure_invalid(stack in stack(), at: prop::sample::Index) {
        let mut bytes = structure(&stack_object(&stack));
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A checksum that the flip makes zero is none.
        prop_assume!(bytes[2..4] != [0, 0]);
        prop_assert_eq!(read(&bytes), None);
    }

    #[test]
    fn random_objects_are_finitely_many(objects in bytes(0..300)) {
        // Without a checksum, so that they are read.
        let body = [&[0; 128][..], &[0x20, 0, 0, 0], &objects].concat();
        let (_, extensions) = Extensions::split(&body, 128);
        let extensions = extensions.unwrap();
        prop_assert!(extensions.mpls_labels().count() <= objects.len() / 4);
        prop_assert!(extensions.interfaces().count() <= objects.len() / 4);
    }

    #[test]
    fn quote_and_extensions_are_parts_of_the_body(body in bytes(0..300), length in 0_usize..300) {
        let (quote, extensions) = Extensions::split(&body, length);
        prop_assert!(body.starts_with(quote));
        let at = if length == 0 { 128 } else { length };
        prop_assert!(quote.len() == body.len() || quote.len() == at);
        prop_assert!(extensions.is_none() || quote.len() == at);
    }
}

#[test]
fn a_length_below_128_is_junk_in_an_unused_byte() {
    let mut body = vec![0x5a; 128];
    assert_eq!(Extensions::split(&body, 8), (&body[..], None));
    // Version 2, no checksum, and one object without data behind byte 128.
    body.extend([0x20, 0, 0, 0, 0, 4, 1, 1]);
    let (quote, extensions) = Extensions::split(&body, 8);
    assert_eq!(quote, &body[..128]);
    assert!(extensions.is_some());
}
