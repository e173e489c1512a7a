//! Damaged bytes for everything that reads what a broker says: answers of its nodes, messages, and
//! its answer to a link. A fixed number of rounds from fixed seeds on the stable compiler;
//! `NIGHTSHIFT_TEST_FUZZ_ROUNDS` raises the number for a soak. The driver's rounds are in
//! `driver::tests::fuzz`.
//!
//! Beside the absence of panics and endless loops: an undamaged input is understood, so that the
//! rounds start from something that reaches all of the code.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::message::{Body, Header, Message, MessageId, Properties};
use nightshift_amqp::{Decode as _, DeliveryTag, Encode, Map, Symbol, Timestamp, Value};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::inbox::Delivery;
use crate::received_message::{DeliveryKey, LinkKey, ReceiverKey, Via};
use crate::{cbs, decode, management};

/// Rounds of one test: `usual`, or what the environment says.
pub(crate) fn rounds(usual: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a knob of the tests, not a setting"
    )]
    let asked = std::env::var("NIGHTSHIFT_TEST_FUZZ_ROUNDS").ok();
    asked.map_or(usual, |text| {
        text.parse()
            .expect("NIGHTSHIFT_TEST_FUZZ_ROUNDS is a number")
    })
}

/// A generator whose round can be repeated alone.
pub(crate) fn generator(test: u64, round: u64) -> StdRng {
    StdRng::seed_from_u64(test << 48 | round)
}

/// Constructors, descriptors and borders.
const TELLING: [u8; 20] = [
    0x00, 0x01, 0x40, 0x43, 0x45, 0x53, 0x71, 0x75, 0x77, 0x80, 0x83, 0x98, 0xa0, 0xa1, 0xa3, 0xb0,
    0xc1, 0xd0, 0xe0, 0xff,
];

/// Damages octets in one to five ways.
pub(crate) fn damage(random: &mut StdRng, octets: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..=5) {
        let at = random.random_range(0..=octets.len());
        let end = random.random_range(at..=octets.len().min(at + 24));
        match random.random_range(0..6) {
            0 => octets.truncate(at),
            1 => drop(octets.drain(at..end)),
            2 => octets.extend_from_within(at..end),
            3 => octets.insert(at, TELLING[random.random_range(0..TELLING.len())]),
            4 if at < octets.len() => octets[at] ^= 1 << random.random_range(0..8),
            _ if at < octets.len() => octets[at] = random.random(),
            _ => {}
        }
    }
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
        damage(&mut random, &mut octets);
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
