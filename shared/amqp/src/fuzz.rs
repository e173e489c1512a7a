//! Damaged bytes for the codec.
//!
//! What is checked beside the absence of panics and endless loops: what decodes can be encoded
//! and decodes to the same again. The engine's rounds are in `engine::tests::fuzz`.

use bytes::{Bytes, BytesMut};
use nightshift_fuzz::{Random, generator, rounds};
use rand::Rng as _;

use crate::field::Decode;
use crate::frame::FrameHeader;
use crate::message::{
    BatchBuilder, Body, Header, Message, MessageId, Properties, RawMessage, unpack_batch,
};
use crate::performative::{
    AmqpError, Close, DeliveryState, Disposition, Modified, Open, Performative, Role,
};
use crate::sasl::{PlainCredentials, SaslFrame, SaslInit, SaslMechanisms};
use crate::value::{Array, ElementType, Map, Symbol, Timestamp, Value};
use crate::{Decoder, Encode};

/// What means something to the codec: constructors, descriptors, borders, and sizes, counts and ids
/// that somebody will believe.
const TELLING: [&[u8]; 37] = [
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x08",
    b"\x10",
    b"\x12",
    b"\x14",
    b"\x40",
    b"\x41",
    b"\x43",
    b"\x45",
    b"\x53",
    b"\x56",
    b"\x70",
    b"\x73",
    b"\x75",
    b"\x7f",
    b"\x80",
    b"\x98",
    b"\xa0",
    b"\xa3",
    b"\xb0",
    b"\xc0",
    b"\xc1",
    b"\xd0",
    b"\xd1",
    b"\xf0",
    b"\xff",
    b"\x00\x00\x00\x00",
    b"\x00\x00\x00\x01",
    b"\x00\x00\x00\x07",
    b"\x00\x00\x00\x08",
    b"\x00\x00\x00\xff",
    b"\x00\x01\x00\x00",
    b"\x01\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
];

/// Damages octets.
pub(crate) fn damage(random: &mut Random, octets: &mut Vec<u8>, others: &[Vec<u8>]) {
    nightshift_fuzz::damage(random, octets, &TELLING, others);
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.to_vec()
}

/// A message with something in every section.
pub(crate) fn full_message() -> Message {
    let annotations: Map = [("x-opt-sequence-number", 5_i64)].into_iter().collect();
    let mut properties = annotations.clone();
    properties.insert("when", Timestamp::from_millis(1));
    let tokens = vec![Value::Uuid(uuid::Uuid::nil()); 3];
    properties.insert("tokens", Array::new(ElementType::Uuid, tokens).unwrap());
    properties.insert(
        "nested",
        Value::List(vec![Value::Map(annotations.clone()), Value::Null]),
    );
    Message {
        header: Some(Header {
            durable: Some(true),
            ttl: Some(60_000),
            ..Header::default()
        }),
        delivery_annotations: Some(Map::new()),
        message_annotations: Some(annotations.clone()),
        properties: Some(Properties {
            message_id: Some(MessageId::Uuid(uuid::Uuid::nil())),
            user_id: Some(Bytes::from_static(b"me")),
            content_type: Some("application/json".into()),
            group_id: Some("session".to_owned()),
            ..Properties::default()
        }),
        application_properties: Some(properties),
        body: Body::Data(vec![
            Bytes::from_static(b"{}"),
            Bytes::from_static(&[7; 300]),
        ]),
        footer: Some(annotations),
    }
}

fn performatives() -> Vec<Vec<u8>> {
    let error = AmqpError {
        info: Some([("key", Value::Boolean(true))].into_iter().collect()),
        ..AmqpError::new("amqp:not-found", "no such queue")
    };
    let modified = DeliveryState::Modified(Modified {
        delivery_failed: true,
        undeliverable_here: false,
        message_annotations: error.info.clone(),
    });
    let mut open = Open::new("container");
    open.properties.clone_from(&error.info);
    open.offered_capabilities = Some(vec!["a".into(), "b".into()]);
    let plain = PlainCredentials {
        authorization_id: String::new(),
        user: "u".to_owned(),
        password: "p".to_owned(),
    };
    vec![
        encoded(&open),
        encoded(&Close {
            error: Some(error.clone()),
        }),
        encoded(&Disposition::new(
            Role::Receiver,
            1,
            900,
            true,
            Some(modified),
        )),
        encoded(&Disposition::new(
            Role::Sender,
            1,
            1,
            true,
            Some(DeliveryState::rejected(error)),
        )),
        encoded(&SaslMechanisms {
            sasl_server_mechanisms: vec![Symbol::from("ANONYMOUS"); 3],
        }),
        encoded(&SaslInit {
            mechanism: "PLAIN".into(),
            initial_response: Some(plain.to_response()),
            hostname: Some("host".to_owned()),
        }),
    ]
}

fn messages() -> Vec<Vec<u8>> {
    let message = full_message();
    let mut batch = BatchBuilder::new();
    for _ in 0..3 {
        batch.push(&encoded(&message));
    }
    let value = Message {
        body: Body::Value(Value::from(5_u32)),
        ..Message::default()
    };
    let sequence = vec![Value::from("a"), Value::Null];
    let sequence = Message {
        body: Body::Sequence(vec![sequence; 2]),
        ..Message::default()
    };
    vec![
        encoded(&message),
        batch.finish().to_vec(),
        encoded(&value),
        encoded(&sequence),
    ]
}

/// Decodes, and if that works: the encoding decodes to the same encoding again. (Not compared as
/// values, since not-a-number differs from itself.)
fn stable<T: Decode + Encode>(octets: &Bytes) {
    if let Ok(value) = T::decode_all(octets) {
        let once = Bytes::from(encoded(&value));
        let again = T::decode_all(&once).expect("what was encoded can be decoded");
        assert_eq!(encoded(&again), once);
    }
}

#[test]
fn the_codec_survives_damage() {
    let seeds = [performatives(), messages()].concat();
    for round in 0..rounds(30_000) {
        let mut random = generator(1, round);
        let mut octets = seeds[random.random_range(0..seeds.len())].clone();
        damage(&mut random, &mut octets, &seeds);
        let _ = FrameHeader::parse(&octets, 1_000);
        let _ = PlainCredentials::parse(&octets);
        let octets = Bytes::from(octets);
        let _ = Decoder::new(&octets).skip();
        stable::<Value>(&octets);
        stable::<Performative>(&octets);
        stable::<SaslFrame>(&octets);
    }
}

#[test]
fn the_message_splitter_survives_damage() {
    let seeds = messages();
    for round in 0..rounds(30_000) {
        let mut random = generator(2, round);
        let mut octets = seeds[random.random_range(0..seeds.len())].clone();
        damage(&mut random, &mut octets, &seeds);
        let octets = Bytes::from(octets);
        if let Ok(inner) = unpack_batch(octets.clone()) {
            assert!(inner.iter().map(Bytes::len).sum::<usize>() <= octets.len());
        }
        let Ok(raw) = RawMessage::split(octets.clone()) else {
            continue;
        };
        assert!(raw.bare_and_footer().len() <= octets.len());
        same_by_the_shorter_ways(&raw);
        if let Ok(message) = raw.decode() {
            let once = Bytes::from(encoded(&message));
            let again = RawMessage::split(once.clone()).unwrap().decode().unwrap();
            assert_eq!(encoded(&again), once);
        }
    }
}

/// What is read without building anything is what is read otherwise.
fn same_by_the_shorter_ways(raw: &RawMessage) {
    let mut visited = Vec::new();
    let visit = raw.visit_message_annotations(|name, encoded| {
        let value = encoded.to_value().unwrap();
        assert_eq!(encoded.as_i64(), value.as_i64());
        assert_eq!(encoded.as_timestamp(), value.as_timestamp());
        visited.push((name.to_owned(), value));
    });
    let built = raw.message_annotations();
    assert_eq!(visit.is_ok(), built.is_ok(), "{visit:?} {built:?}");
    if let Ok(built) = built {
        let named =
            |(name, value): &(Value, Value)| Some((name.as_str()?.to_owned(), value.clone()));
        let named: Vec<_> = built.unwrap_or_default().iter().filter_map(named).collect();
        // By their texts, since a NaN is not equal to itself.
        assert_eq!(format!("{visited:?}"), format!("{named:?}"));
    }
    if let Some(octets) = raw.data() {
        assert_eq!(raw.body().unwrap(), Body::data(octets));
    }
}
