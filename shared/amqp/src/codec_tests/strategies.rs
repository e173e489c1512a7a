//! Values of every shape, for property tests.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::message::{Body, Header, Message, MessageId, Properties};
use crate::performative::AmqpError;
use crate::value::{Array, Described, ElementType, Map, Symbol, Timestamp, Value};

pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,12}", "[a-z]{250,260}"]
}

pub(super) fn symbol() -> impl Strategy<Value = Symbol> {
    "[a-z:]{0,20}".prop_map(Symbol::from)
}

pub(super) fn octets() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 250..260)].prop_map(Bytes::from)
}

pub(super) fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

pub(super) fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid::from_bytes)
}

fn primitive() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u8>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..300_u64).prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-200..200_i64).prop_map(Value::from),
        (-1e9_f32..1e9).prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        any::<[u8; 4]>().prop_map(Value::Decimal32),
        any::<[u8; 8]>().prop_map(Value::Decimal64),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::from),
        timestamp().prop_map(Value::from),
        uuid().prop_map(Value::from),
        octets().prop_map(Value::from),
        text().prop_map(Value::from),
        symbol().prop_map(Value::from),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let uints = vec(any::<u32>().prop_map(Value::from), 0..5);
    let symbols = vec(symbol().prop_map(Value::from), 0..5);
    let texts = vec(text().prop_map(Value::from), 0..5);
    let uuids = vec(uuid().prop_map(Value::from), 0..5);
    let lists = vec(vec(primitive(), 0..3).prop_map(Value::from), 0..3);
    prop_oneof![
        uints.prop_map(|items| (ElementType::Uint, items)),
        symbols.prop_map(|items| (ElementType::Symbol, items)),
        texts.prop_map(|items| (ElementType::String, items)),
        uuids.prop_map(|items| (ElementType::Uuid, items)),
        lists.prop_map(|items| (ElementType::List, items)),
    ]
    .prop_map(|(element_type, items)| Array::new(element_type, items).unwrap())
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![5 => primitive(), 1 => array().prop_map(Value::from)];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            map_of(inner.clone()).prop_map(Value::Map),
            (inner.clone(), inner).prop_map(|(descriptor, value)| {
                Value::Described(Box::new(Described { descriptor, value }))
            }),
        ]
    })
}

fn map_of(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
    vec((text().prop_map(Value::from), values), 0..5)
        .prop_map(|entries| entries.into_iter().collect())
}

pub(super) fn map() -> impl Strategy<Value = Map> {
    map_of(value())
}

pub(super) fn error() -> impl Strategy<Value = AmqpError> {
    (
        symbol(),
        proptest::option::of(text()),
        proptest::option::of(map()),
    )
        .prop_map(|(condition, description, info)| AmqpError {
            condition,
            description,
            info,
        })
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        any::<u64>().prop_map(MessageId::Ulong),
        uuid().prop_map(MessageId::Uuid),
        octets().prop_map(MessageId::Binary),
        text().prop_map(MessageId::String),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    use proptest::option::of;
    (
        of(any::<bool>()),
        of(any::<u8>()),
        of(any::<u32>()),
        of(any::<bool>()),
        of(any::<u32>()),
    )
        .prop_map(
            |(durable, priority, ttl, first_acquirer, delivery_count)| Header {
                durable,
                priority,
                ttl,
                first_acquirer,
                delivery_count,
            },
        )
}

fn properties() -> impl Strategy<Value = Properties> {
    use proptest::option::of;
    (
        (
            of(message_id()),
            of(octets()),
            of(text()),
            of(text()),
            of(text()),
            of(message_id()),
        ),
        (of(symbol()), of(symbol()), of(timestamp()), of(timestamp())),
        (of(text()), of(any::<u32>()), of(text())),
    )
        .prop_map(|(first, second, third)| {
            let (message_id, user_id, to, subject, reply_to, correlation_id) = first;
            let (content_type, content_encoding, absolute_expiry_time, creation_time) = second;
            let (group_id, group_sequence, reply_to_group_id) = third;
            Properties {
                message_id,
                user_id,
                to,
                subject,
                reply_to,
                correlation_id,
                content_type,
                content_encoding,
                absolute_expiry_time,
                creation_time,
                group_id,
                group_sequence,
                reply_to_group_id,
            }
        })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Empty),
        vec(octets(), 1..4).prop_map(Body::Data),
        vec(vec(value(), 0..3), 1..3).prop_map(Body::Sequence),
        value().prop_map(Body::Value),
    ]
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    use proptest::option::of;
    (
        (of(header()), of(map()), of(map())),
        (of(properties()), of(map()), body(), of(map())),
    )
        .prop_map(|(hop, bare)| {
            let (header, delivery_annotations, message_annotations) = hop;
            let (properties, application_properties, body, footer) = bare;
            Message {
                header,
                delivery_annotations,
                message_annotations,
                properties,
                application_properties,
                body,
                footer,
            }
        })
}
