//! Claims that must be refused before they cost anything.

use bytes::Bytes;

use crate::field::Decode;
use crate::value::{DeliveryTag, Value};
use crate::{DecodeError, Decoder, MAX_DEPTH, MAX_VALUES};

fn refused(octets: &[u8]) -> DecodeError {
    Value::decode_all(&Bytes::copy_from_slice(octets)).unwrap_err()
}

#[test]
fn counts_are_checked_before_memory_is_taken() {
    // Four billion items of no width.
    for code in [0x40, 0x41, 0x43, 0x44, 0x45] {
        let error = refused(&[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, code]);
        assert_eq!(
            error,
            DecodeError::TooManyValues {
                limit: MAX_VALUES,
                offset: 10
            }
        );
    }
    // Four billion items of some width, in no space.
    let error = refused(&[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x70]);
    assert_eq!(error, DecodeError::UnexpectedEnd { offset: 10 });
    // A list and a map of four billion.
    for code in [0xd0, 0xd1] {
        let error = refused(&[code, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(error, DecodeError::UnexpectedEnd { offset: 9 });
    }
    // Lengths beyond the end.
    for code in [0xb0, 0xb1, 0xb3, 0xd0, 0xd1, 0xf0] {
        let error = refused(&[code, 0xff, 0xff, 0xff, 0xff, 0]);
        assert!(
            matches!(error, DecodeError::UnexpectedEnd { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn values_are_bounded_in_the_whole_buffer() {
    // 60 arrays of 60,000 zeros each, in a list.
    let array = [0xf0, 0, 0, 0, 5, 0, 0, 0xea, 0x60, 0x44];
    let mut list = vec![0xd0];
    let size = u32::try_from(4 + 60 * array.len()).unwrap();
    list.extend(size.to_be_bytes());
    list.extend(60_u32.to_be_bytes());
    for _ in 0..60 {
        list.extend(array);
    }
    assert!(matches!(refused(&list), DecodeError::TooManyValues { .. }));
}

#[test]
fn a_descriptor_is_not_copied_into_a_flood_of_items() {
    let mut array = vec![0x00, 0xb3];
    array.extend(1_000_u32.to_be_bytes());
    array.extend([b'd'; 1_000]);
    array.push(0x40);
    let mut octets = vec![0xf0];
    octets.extend(u32::try_from(array.len() + 4).unwrap().to_be_bytes());
    octets.extend(60_000_u32.to_be_bytes());
    octets.extend(array);
    assert!(matches!(refused(&octets), DecodeError::Malformed { .. }));
}

#[test]
fn nesting_is_bounded_in_every_form() {
    let depth = MAX_DEPTH as usize + 1;
    // Descriptors of descriptors, and described values of described values.
    let descriptors = vec![0x00; 100_000];
    assert!(matches!(refused(&descriptors), DecodeError::TooDeep { .. }));
    let skipped = Bytes::from(descriptors);
    assert!(matches!(
        Decoder::new(&skipped).skip(),
        Err(DecodeError::TooDeep { .. })
    ));
    let mut described = [0x00, 0x44].repeat(depth);
    described.push(0x40);
    assert!(matches!(refused(&described), DecodeError::TooDeep { .. }));
    // Lists in lists; the innermost is empty.
    let mut list = vec![0x45];
    for _ in 0..depth {
        let size = u8::try_from(list.len() + 1).unwrap();
        list = [&[0xc0, size, 1], &list[..]].concat();
    }
    assert!(matches!(refused(&list), DecodeError::TooDeep { .. }));
    // Arrays in arrays.
    let mut items = vec![0x40];
    for _ in 0..depth {
        let size = u32::try_from(items.len() + 4).unwrap().to_be_bytes();
        items = [&[0xf0], &size[..], &[0, 0, 0, 1], &items].concat();
    }
    assert!(matches!(refused(&items), DecodeError::TooDeep { .. }));
}

#[test]
fn malformed_values_are_refused_where_they_stand() {
    assert_eq!(refused(&[]), DecodeError::UnexpectedEnd { offset: 0 });
    assert_eq!(
        refused(&[0x57]),
        DecodeError::UnknownConstructor {
            code: 0x57,
            offset: 0
        }
    );
    assert_eq!(
        refused(&[0x10]),
        DecodeError::UnknownConstructor {
            code: 0x10,
            offset: 0
        }
    );
    assert!(
        matches!(refused(&[0x56, 2]), DecodeError::Malformed { .. }),
        "a boolean of 2"
    );
    assert!(
        matches!(refused(&[0xa1, 1, 0xff]), DecodeError::Malformed { .. }),
        "UTF-8"
    );
    assert!(
        matches!(
            refused(&[0x73, 0, 0, 0xd8, 0]),
            DecodeError::Malformed { .. }
        ),
        "a surrogate"
    );
    assert!(
        matches!(refused(&[0xc1, 2, 1, 0x40]), DecodeError::Malformed { .. }),
        "a key without a value"
    );
    assert!(
        matches!(refused(&[0xc0, 0]), DecodeError::Malformed { .. }),
        "no room for a count"
    );
    assert_eq!(
        refused(&[0xc0, 3, 1, 0x40, 0x40]),
        DecodeError::TrailingBytes {
            count: 1,
            offset: 4
        }
    );
    assert_eq!(
        refused(&[0x40, 0x40]),
        DecodeError::TrailingBytes {
            count: 1,
            offset: 1
        }
    );
}

#[test]
fn an_item_cannot_reach_beyond_its_list() {
    // The list ends inside its string, whose octets follow.
    assert_eq!(
        refused(&[0xc0, 3, 1, 0xa1, 4, b'a', b'b', b'c', b'd']),
        DecodeError::UnexpectedEnd { offset: 5 }
    );
}

#[test]
fn a_tag_has_at_most_32_octets() {
    let octets = |length: u8| Bytes::from([vec![0xa0, length], vec![1; length.into()]].concat());
    assert_eq!(DeliveryTag::decode_all(&octets(32)).unwrap().len(), 32);
    assert!(matches!(
        DeliveryTag::decode_all(&octets(33)),
        Err(DecodeError::Malformed { .. })
    ));
}
