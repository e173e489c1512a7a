//! Every encoding form of part 1, section 1.6.

use bytes::Bytes;
use uuid::Uuid;

use super::encoded;
use crate::field::Decode;
use crate::value::{Array, Described, ElementType, Map, Symbol, Timestamp, Value};

fn decoded(octets: &[u8]) -> Value {
    Value::decode_all(&Bytes::copy_from_slice(octets)).unwrap()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "forty call sites read better without"
)]
/// Octets that are the shortest form of a value: both ways.
fn both(octets: &[u8], value: Value) {
    assert_eq!(decoded(octets), value, "{octets:02x?}");
    assert_eq!(encoded(&value), octets, "{value:?}");
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "forty call sites read better without"
)]
/// Octets that are another form of a value: decoded only.
fn also(octets: &[u8], value: Value) {
    assert_eq!(decoded(octets), value, "{octets:02x?}");
}

#[test]
fn fixed_width_forms() {
    both(&[0x40], Value::Null);
    both(&[0x41], Value::Boolean(true));
    both(&[0x42], Value::Boolean(false));
    also(&[0x56, 1], Value::Boolean(true));
    also(&[0x56, 0], Value::Boolean(false));
    both(&[0x50, 0xfe], Value::Ubyte(0xfe));
    both(&[0x60, 1, 2], Value::Ushort(0x0102));
    both(&[0x43], Value::Uint(0));
    both(&[0x52, 0xff], Value::Uint(255));
    both(&[0x70, 0, 0, 1, 0], Value::Uint(256));
    also(&[0x70, 0, 0, 0, 0], Value::Uint(0));
    both(&[0x44], Value::Ulong(0));
    both(&[0x53, 0xff], Value::Ulong(255));
    both(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0], Value::Ulong(256));
    both(&[0x51, 0x80], Value::Byte(-128));
    both(&[0x61, 0xff, 0xfe], Value::Short(-2));
    both(&[0x54, 0x80], Value::Int(-128));
    both(&[0x71, 0xff, 0xff, 0xff, 0x7f], Value::Int(-129));
    both(&[0x55, 0x7f], Value::Long(127));
    both(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0x80], Value::Long(128));
    both(&[0x72, 0x3f, 0x80, 0, 0], Value::Float(1.0));
    both(&[0x82, 0xc0, 0, 0, 0, 0, 0, 0, 0], Value::Double(-2.0));
    both(&[0x74, 1, 2, 3, 4], Value::Decimal32([1, 2, 3, 4]));
    both(
        &[0x84, 1, 2, 3, 4, 5, 6, 7, 8],
        Value::Decimal64([1, 2, 3, 4, 5, 6, 7, 8]),
    );
    let mut decimal = vec![0x94];
    decimal.extend([9; 16]);
    both(&decimal, Value::Decimal128([9; 16]));
    both(&[0x73, 0, 1, 0xf6, 0x00], Value::Char('😀'));
    both(
        &[0x83, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0],
        Value::Timestamp(Timestamp::from_millis(1_700_000_000_000)),
    );
    let uuid: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    both(
        &[&[0x98], &uuid[..]].concat(),
        Value::Uuid(Uuid::from_bytes(uuid)),
    );
}

#[test]
fn variable_width_forms() {
    both(
        &[0xa0, 2, 0, 0xff],
        Value::Binary(Bytes::from_static(&[0, 0xff])),
    );
    also(
        &[0xb0, 0, 0, 0, 1, 7],
        Value::Binary(Bytes::from_static(&[7])),
    );
    both(&[0xa1, 3, 0xe2, 0x82, 0xac], Value::from("€"));
    also(&[0xb1, 0, 0, 0, 1, b'x'], Value::from("x"));
    both(&[0xa3, 2, b'h', b'i'], Value::Symbol("hi".into()));
    also(&[0xb3, 0, 0, 0, 1, b'x'], Value::Symbol("x".into()));
    let long = "y".repeat(256);
    both(
        &[&[0xb1, 0, 0, 1, 0], long.as_bytes()].concat(),
        Value::from(&*long),
    );
    let widest_short = "y".repeat(255);
    both(
        &[&[0xa1, 0xff], widest_short.as_bytes()].concat(),
        Value::from(&*widest_short),
    );
}

#[test]
fn lists_and_maps() {
    both(&[0x45], Value::List(Vec::new()));
    also(&[0xc0, 1, 0], Value::List(Vec::new()));
    also(&[0xd0, 0, 0, 0, 4, 0, 0, 0, 0], Value::List(Vec::new()));
    let items = Value::List(vec![Value::Uint(1), Value::Null, Value::from("a")]);
    both(&[0xc0, 7, 3, 0x52, 1, 0x40, 0xa1, 1, b'a'], items.clone());
    also(
        &[0xd0, 0, 0, 0, 10, 0, 0, 0, 3, 0x52, 1, 0x40, 0xa1, 1, b'a'],
        items,
    );
    both(&[0xc1, 1, 0], Value::Map(Map::new()));
    let map = [("k", 5_u32)].into_iter().collect::<Map>();
    both(
        &[0xc1, 6, 2, 0xa1, 1, b'k', 0x52, 5],
        Value::Map(map.clone()),
    );
    also(
        &[0xd1, 0, 0, 0, 9, 0, 0, 0, 2, 0xa1, 1, b'k', 0x52, 5],
        Value::Map(map),
    );
}

#[test]
fn compounds_widen_at_the_border() {
    for length in [251, 252, 253, 254, 300] {
        let list = Value::List(vec![Value::Null; length]);
        let octets = encoded(&list);
        // Size counts the one octet of count too.
        let short = length < 255;
        assert_eq!(octets[0], if short { 0xc0 } else { 0xd0 }, "{length}");
        assert_eq!(Value::decode_all(&octets), Ok(list));
    }
}

#[test]
fn described_values() {
    let described = Described {
        descriptor: Value::from("URL"),
        value: Value::from("x"),
    };
    // The specification's own example begins like this (1.3.2).
    both(
        &[0x00, 0xa1, 3, b'U', b'R', b'L', 0xa1, 1, b'x'],
        Value::Described(Box::new(described)),
    );
}

#[test]
fn arrays() {
    let array = |element_type, items| Value::Array(Array::new(element_type, items).unwrap());
    both(
        &[0xe0, 10, 2, 0x70, 0, 0, 0, 1, 0, 0, 0, 2],
        array(ElementType::Uint, vec![Value::Uint(1), Value::Uint(2)]),
    );
    also(
        &[0xf0, 0, 0, 0, 7, 0, 0, 0, 2, 0x52, 1, 2],
        array(ElementType::Uint, vec![Value::Uint(1), Value::Uint(2)]),
    );
    both(
        &[0xe0, 7, 2, 0xa3, 1, b'a', 2, b'b', b'c'],
        array(
            ElementType::Symbol,
            vec![Value::Symbol("a".into()), Value::Symbol(Symbol::from("bc"))],
        ),
    );
    also(
        &[0xe0, 2, 3, 0x41],
        array(ElementType::Boolean, vec![Value::Boolean(true); 3]),
    );
    // An empty array has a type: peers fail on one without.
    both(
        &[0xe0, 2, 0, 0x83],
        array(ElementType::Timestamp, Vec::new()),
    );
    both(
        &[0xe0, 7, 2, 0x00, 0x53, 9, 0x50, 1, 2],
        array(
            ElementType::Described {
                descriptor: Box::new(Value::Ulong(9)),
                element_type: Box::new(ElementType::Ubyte),
            },
            [1, 2]
                .map(|n| {
                    let (descriptor, value) = (Value::Ulong(9), Value::Ubyte(n));
                    Value::Described(Box::new(Described { descriptor, value }))
                })
                .to_vec(),
        ),
    );
    assert_eq!(Array::new(ElementType::Uint, vec![Value::Ulong(1)]), None);
}

#[test]
fn numbers_of_other_widths_are_read_as_what_they_are() {
    assert_eq!(decoded(&[0x52, 7]).as_i64(), Some(7));
    assert_eq!(decoded(&[0x55, 0xff]).as_u64(), None);
    assert_eq!(decoded(&[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0]).as_i64(), None);
    assert_eq!(decoded(&[0xa3, 1, b'x']).as_str(), Some("x"));
}
