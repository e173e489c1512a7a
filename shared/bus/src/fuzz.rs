//! Damaged bytes for everything that reads what a broker says: answers of its nodes, messages, and
//! its answer to a link. The driver's rounds are in `driver::tests::fuzz`.
//!
//! Beside the absence of panics and endless loops: an undamaged input is understood, so that the
//! rounds start from something that reaches all of the code.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::message::{Body, Header, Message, MessageId, Properties};
use nightshift_amqp::{Decode as _, DeliveryTag, Encode, Map, Symbol, Timestamp, Value};
use nightshift_fuzz::{Random, generator, rounds};
use rand::Rng as _;

use crate::inbox::Delivery;
use crate::received_message::{DeliveryKey, LinkKey, ReceiverKey, Via};
use crate::{cbs, decode, management};

/// Constructors, descriptors and borders.
const TELLING: [&[u8]; 20] = [
    b"\x00", b"\x01", b"\x40", b"\x43", b"\x45", b"\x53", b"\x71", b"\x75", b"\x77", b"\x80",
    b"\x83", b"\x98", b"\xa0", b"\xa1", b"\xa3", b"\xb0", b"\xc1", b"\xd0", b"\xe0", b"\xff",
];

/// Damages octets.
pub(crate) fn damage(random: &mut Random, octets: &mut Vec<u8>, others: &[Vec<u8>]) {
    nightshift_fuzz::damage(random, octets, &TELLING, others);
}

pub(crate) fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.to_vec()
}

/// Reads `seeds`, which are understood, and then damaged ones.
fn each_round(test: u64, usual: u64, seeds: &[Vec<u8>], read: impl Fn(Bytes) -> bool) {
    for (index, seed) in seeds.iter().enumerate() {
        assert!(
            read(Bytes::from(seed.clone())),
            "seed {index} is understood"
        );
    }
    let mut refused = 0_u64;
    let total = rounds(usual);
    for round in 0..total {
        let mut random = generator(test, round);
        let mut octets = seeds[random.random_range(0..seeds.len())].clone();
        damage(&mut random, &mut octets, seeds);
        refused += u64::from(!read(Bytes::from(octets)));
    }
    assert!(
        refused > 0 && refused < total,
        "{refused} of {total} rounds were refused"
    );
}

fn answer(status: i32, body: Map) -> Vec<u8> {
    let mut words = Map::new();
    words.insert("statusCode", status);
    words.insert("status-code", status);
    words.insert("statusDescription", "why");
    words.insert(
        "errorCondition",
        Symbol::from_static("com.microsoft:session-lock-lost"),
    );
    encoded(&Message {
        properties: Some(Properties {
            correlation_id: Some(MessageId::from("management-1")),
            ..Properties::default()
        }),
        application_properties: Some(words),
        body: Body::Value(Value::Map(body)),
        ..Message::default()
    })
}

fn answers() -> Vec<Vec<u8>> {
    let instant = || Value::from(Timestamp::from_millis(1_767_225_600_000));
    let mut entry = Map::new();
    entry.insert("message", Bytes::from(message()));
    entry.insert("lock-token", uuid::Uuid::from_u128(7));
    let mut bodies = Map::new();
    bodies.insert("messages", vec![Value::Map(entry)]);
    bodies.insert("expirations", vec![instant()]);
    bodies.insert("expiration", instant());
    bodies.insert("sequence-numbers", vec![Value::Long(1), Value::Long(2)]);
    bodies.insert("session-state", Bytes::from_static(b"state"));
    bodies.insert("sessions-ids", vec![Value::from("a")]);
    vec![
        answer(200, bodies),
        answer(204, Map::new()),
        answer(202, Map::new()),
    ]
}

fn message() -> Vec<u8> {
    let mut annotations = Map::new();
    annotations.insert_symbol("x-opt-sequence-number", 7_i64);
    annotations.insert_symbol("x-opt-locked-until", Timestamp::from_millis(5));
    annotations.insert_symbol("x-opt-message-state", 1);
    let mut properties = Map::new();
    properties.insert("list", vec![Value::Null, Value::Double(1.5)]);
    properties.insert("text", "größer");
    encoded(&Message {
        header: Some(Header {
            ttl: Some(u32::MAX),
            delivery_count: Some(u32::MAX),
            ..Header::default()
        }),
        delivery_annotations: Some(Map::new()),
        message_annotations: Some(annotations),
        properties: Some(Properties {
            message_id: Some(MessageId::Ulong(1)),
            absolute_expiry_time: Some(Timestamp::from_millis(i64::MAX)),
            group_id: Some("session".to_owned()),
            ..Properties::default()
        }),
        application_properties: Some(properties),
        body: Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]),
        footer: Some(Map::new()),
    })
}

#[test]
fn answers_of_nodes_are_read_or_refused() {
    each_round(1, 20_000, &answers(), |octets| {
        let by_cbs = cbs::read_answer("q", &octets).is_ok();
        let named = cbs::correlation(&octets).is_some();
        let by_management = management::read_every_field(&octets);
        by_cbs && named && by_management
    });
}

#[test]
fn messages_are_read_or_refused() {
    let key = DeliveryKey {
        receiver: ReceiverKey::next(),
        via: Via::Link {
            link: LinkKey(1),
            id: 1,
        },
    };
    each_round(2, 20_000, &[message()], |octets| {
        let delivery = Delivery {
            id: 1,
            tag: DeliveryTag::default(),
            settled: false,
            payload: octets,
        };
        decode::received(key, &delivery).is_ok()
    });
}

#[test]
fn answers_to_links_are_read_or_refused() {
    use nightshift_amqp::performative::{Attach, Role, Source};

    let mut attach = Attach::new("link", 0, Role::Sender);
    let mut filter = Map::new();
    filter.insert_symbol("com.microsoft:session-filter", "s");
    let mut source = Source::new("q");
    source.filter = Some(filter);
    attach.source = Some(source);
    let mut properties = Map::new();
    properties.insert_symbol("com.microsoft:locked-until-utc", i64::MAX);
    properties.insert_symbol("com.microsoft:max-message-batch-size", u64::MAX);
    attach.properties = Some(properties);
    attach.max_message_size = Some(1);
    each_round(3, 20_000, &[encoded(&attach)], |octets| {
        let Ok(attach) = Attach::decode_all(&octets) else {
            return false;
        };
        let attached = crate::driver::read_answer(&attach);
        attached.max_batch_size <= attached.max_message_size
    });
}
