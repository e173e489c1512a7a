//! From bytes on the wire to a received message.
//!
//! The bytes are a stranger's. What AMQP does not allow is an error for that message alone; what
//! it allows and Service Bus does not use (a body of sequences, an id that is a number) is kept in
//! the nearest form.

use std::collections::BTreeMap;
use std::error::Error as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_amqp::message::{Body, Header, MessageError, MessageId, Properties, RawMessage};
use nightshift_amqp::{DeliveryTag, EncodedValue, Map, Timestamp, Value};
use uuid::Uuid;

use crate::error::BusError;
use crate::inbox::Delivery;
use crate::message::Message;
use crate::property::PropertyValue;
use crate::received_message::{BodyKind, DeliveryKey, MessageState, ReceivedMessage, Via};

/// Decodes a delivery that will be settled as `key` says.
pub(crate) fn received(key: DeliveryKey, delivery: &Delivery) -> Result<ReceivedMessage, BusError> {
    let raw = RawMessage::split(delivery.payload.clone()).map_err(|e| malformed(&e))?;
    sections(key, delivery, &raw).map_err(|e| malformed(&e))
}

fn malformed(error: &MessageError) -> BusError {
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text = format!("{text}: {source}");
    }
    BusError::Protocol(text)
}

/// The annotations that the service puts on a message.
#[derive(Default)]
struct Annotations {
    sequence_number: Option<i64>,
    enqueued_time: Option<DateTime<Utc>>,
    locked_until: Option<DateTime<Utc>>,
    state: Option<i64>,
    enqueued_sequence_number: Option<i64>,
    partition_key: Option<String>,
    scheduled_enqueue_time: Option<DateTime<Utc>>,
    dead_letter_source: Option<String>,
}

impl Annotations {
    fn read(raw: &RawMessage) -> Result<Self, MessageError> {
        let mut read = Self::default();
        raw.visit_message_annotations(|name, value| match name {
            "x-opt-sequence-number" => read.sequence_number = value.as_i64(),
            "x-opt-enqueued-time" => read.enqueued_time = instant(value),
            "x-opt-locked-until" => read.locked_until = instant(value),
            "x-opt-message-state" => read.state = value.as_i64(),
            "x-opt-enqueue-sequence-number" => read.enqueued_sequence_number = value.as_i64(),
            "x-opt-partition-key" => read.partition_key = value.to_value().and_then(name_of),
            "x-opt-scheduled-enqueue-time" => read.scheduled_enqueue_time = instant(value),
            "x-opt-deadletter-source" => {
                read.dead_letter_source = value.to_value().and_then(name_of);
            }
            _ => {}
        })?;
        Ok(read)
    }
}

fn instant(value: EncodedValue<'_>) -> Option<DateTime<Utc>> {
    value.as_timestamp().and_then(calendar)
}

fn sections(
    key: DeliveryKey,
    delivery: &Delivery,
    raw: &RawMessage,
) -> Result<ReceivedMessage, MessageError> {
    let header = raw.header()?.unwrap_or_default();
    let annotations = Annotations::read(raw)?;
    let properties = raw.properties()?.unwrap_or_default();
    let application_properties = raw.application_properties()?;
    let application_properties = application_properties.map_or_else(BTreeMap::new, named);
    let (body, body_kind) = body(raw)?;
    let enqueued_time = annotations.enqueued_time.unwrap_or_default();
    Ok(ReceivedMessage {
        body_kind,
        lock_token: lock_token(delivery, raw)?,
        sequence_number: annotations.sequence_number.unwrap_or_default(),
        delivery_count: delivery_count(key, &header),
        state: state(annotations.state),
        enqueued_time,
        locked_until: annotations.locked_until,
        expires_at: expiry(&header, &properties, enqueued_time),
        dead_letter_source: annotations.dead_letter_source,
        enqueued_sequence_number: annotations.enqueued_sequence_number,
        delivery: key,
        hold: None,
        message: Message {
            body,
            partition_key: annotations.partition_key,
            scheduled_enqueue_time: annotations.scheduled_enqueue_time,
            time_to_live: header
                .ttl
                .map(|ms| std::time::Duration::from_millis(ms.into())),
            application_properties,
            message_id: properties.message_id.map(id_text),
            correlation_id: properties.correlation_id.map(id_text),
            content_type: properties.content_type.map(String::from),
            subject: properties.subject,
            to: properties.to,
            reply_to: properties.reply_to,
            session_id: properties.group_id,
            reply_to_session_id: properties.reply_to_group_id,
        },
    })
}

/// The application properties that have a text for a name, as all should.
fn named(properties: Map) -> BTreeMap<String, PropertyValue> {
    let named = properties.into_iter();
    let named =
        named.filter_map(|(name, value)| Some((name_of(name)?, PropertyValue::from_wire(value))));
    named.collect()
}

/// The text of a string or a symbol.
fn name_of(name: Value) -> Option<String> {
    match name {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.into()),
        _ => None,
    }
}

/// An id as text; the usual one is text already.
fn id_text(id: MessageId) -> String {
    match id {
        MessageId::String(text) => text,
        other => other.to_string(),
    }
}

/// A message that was only peeked at is in no delivery.
fn delivery_count(key: DeliveryKey, header: &Header) -> u32 {
    let this = u32::from(key.via != Via::Peeked);
    header.delivery_count.unwrap_or(0).saturating_add(this)
}

fn state(number: Option<i64>) -> MessageState {
    match number {
        Some(1) => MessageState::Deferred,
        Some(2) => MessageState::Scheduled,
        _ => MessageState::Active,
    }
}

/// The delivery tag is the token, with the first three fields little-endian as .NET has them.
fn lock_token(delivery: &Delivery, raw: &RawMessage) -> Result<Uuid, MessageError> {
    if delivery.settled {
        return Ok(Uuid::nil());
    }
    if let Some(token) = tag_as_token(&delivery.tag) {
        return Ok(token);
    }
    // A broker that tags otherwise can still name the token here.
    let annotations = raw.delivery_annotations()?.unwrap_or_default();
    Ok(annotations
        .get("x-opt-lock-token")
        .and_then(Value::as_uuid)
        .unwrap_or_default())
}

fn tag_as_token(tag: &DeliveryTag) -> Option<Uuid> {
    <[u8; 16]>::try_from(tag.as_bytes())
        .ok()
        .map(Uuid::from_bytes_le)
}

fn expiry(
    header: &Header,
    properties: &Properties,
    enqueued_time: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let stated = properties.absolute_expiry_time.and_then(calendar);
    stated.or_else(|| {
        let ttl = TimeDelta::milliseconds(header.ttl?.into());
        enqueued_time.checked_add_signed(ttl)
    })
}

fn body(raw: &RawMessage) -> Result<(Bytes, BodyKind), MessageError> {
    if let Some(octets) = raw.data() {
        return Ok((octets, BodyKind::Data));
    }
    Ok(match raw.body()? {
        Body::Empty => (Bytes::new(), BodyKind::Data),
        Body::Data(parts) => (concatenated(&parts), BodyKind::Data),
        Body::Value(Value::String(text)) => (Bytes::from(text.clone()), BodyKind::Value(text)),
        Body::Value(_) | Body::Sequence(_) => (raw.encoded_body(), BodyKind::Other),
    })
}

fn concatenated(parts: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        whole.put_slice(part);
    }
    whole.freeze()
}

/// An instant of the calendar; `None` for one beyond the years that chrono can tell.
fn calendar(instant: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(instant.as_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightshift_amqp::Encode as _;
    use nightshift_amqp::message;

    use super::*;
    use crate::encode;
    use crate::received_message::ReceiverKey;

    const KEY: DeliveryKey = DeliveryKey {
        receiver: ReceiverKey(1),
        via: Via::Nothing,
    };

    fn arrived(payload: Bytes) -> Delivery {
        let tag =
            DeliveryTag::from(*b"\x03\x02\x01\x00\x05\x04\x07\x06\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
        Delivery {
            id: 9,
            tag,
            settled: false,
            payload,
        }
    }

    fn round_trip(message: &Message) -> ReceivedMessage {
        received(KEY, &arrived(encode::message(message).unwrap())).unwrap()
    }

    fn wire(message: &message::Message) -> ReceivedMessage {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        received(KEY, &arrived(out.freeze())).unwrap()
    }

    #[test]
    fn everything_an_application_sets_comes_back() {
        let instant = DateTime::from_timestamp_millis(1_767_225_600_123).unwrap();
        let message = Message::new(&b"\xff\x00body"[..])
            .with_message_id("id")
            .with_correlation_id("correlation")
            .with_content_type("application/json")
            .with_subject("subject")
            .with_to("to")
            .with_reply_to("reply-to")
            .with_session_id("session")
            .with_reply_to_session_id("reply-session")
            .with_partition_key("partition")
            .with_time_to_live(Duration::from_millis(1500))
            .with_scheduled_enqueue_time(instant)
            .with_property("null", PropertyValue::Null)
            .with_property("bool", true)
            .with_property("u8", 1_u8)
            .with_property("u16", 2_u16)
            .with_property("u32", 3_u32)
            .with_property("u64", u64::MAX)
            .with_property("i8", -1_i8)
            .with_property("i16", -2_i16)
            .with_property("i32", -3_i32)
            .with_property("i64", i64::MIN)
            .with_property("f32", 1.5_f32)
            .with_property("f64", -2.5_f64)
            .with_property("char", 'ß')
            .with_property("instant", instant)
            .with_property("uuid", Uuid::from_u128(5))
            .with_property("binary", Bytes::from_static(b"\x00\x01"))
            .with_property("text", "größer")
            .with_property("symbol", PropertyValue::Symbol("sym".to_owned()));
        let received = round_trip(&message);
        assert_eq!(received.message, message);
        assert_eq!(received.body_kind, BodyKind::Data);
        assert_eq!(received.delivery_count, 1);
    }

    #[test]
    fn an_empty_message_is_one_empty_data_section() {
        assert_eq!(
            &encode::message(&Message::default()).unwrap()[..],
            b"\x00\x53\x75\xa0\x00"
        );
        assert_eq!(round_trip(&Message::default()).message, Message::default());
    }

    #[test]
    fn the_lock_token_is_the_tag_in_dotnet_order() {
        let token = round_trip(&Message::new("x")).lock_token;
        assert_eq!(token.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn what_the_broker_adds_is_read() {
        let mut annotations = Map::new();
        annotations.insert_symbol("x-opt-sequence-number", 42_i64);
        annotations.insert_symbol("x-opt-enqueued-time", Timestamp::from_millis(1000));
        annotations.insert_symbol("x-opt-locked-until", Timestamp::from_millis(61_000));
        annotations.insert_symbol("x-opt-deadletter-source", "orders");
        annotations.insert_symbol("x-opt-enqueue-sequence-number", 7_i64);
        let received = wire(&message::Message {
            header: Some(Header {
                ttl: Some(5000),
                delivery_count: Some(2),
                ..Header::default()
            }),
            message_annotations: Some(annotations),
            ..message::Message::default()
        });
        assert_eq!(received.sequence_number, 42);
        assert_eq!(received.enqueued_time.timestamp_millis(), 1000);
        assert_eq!(received.locked_until.unwrap().timestamp_millis(), 61_000);
        assert_eq!(received.expires_at.unwrap().timestamp_millis(), 6000);
        assert_eq!(received.delivery_count, 3);
        assert_eq!(received.dead_letter_source.as_deref(), Some("orders"));
        assert_eq!(received.enqueued_sequence_number, Some(7));
    }

    #[test]
    fn other_bodies_and_ids_are_kept_in_the_nearest_form() {
        let of = |body| {
            wire(&message::Message {
                body,
                ..message::Message::default()
            })
        };
        let parts = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert_eq!(of(Body::Data(parts)).message.body, "abc");
        let value = of(Body::Value(Value::from("text")));
        assert_eq!(value.body_kind, BodyKind::Value("text".to_owned()));
        assert_eq!(value.message.body, "text");
        assert_eq!(of(Body::Value(Value::Int(1))).body_kind, BodyKind::Other);
        assert_eq!(of(Body::Sequence(vec![vec![]])).body_kind, BodyKind::Other);

        let properties = Properties {
            message_id: Some(MessageId::Ulong(12)),
            ..Properties::default()
        };
        let received = wire(&message::Message {
            properties: Some(properties),
            ..message::Message::default()
        });
        assert_eq!(received.message.message_id.as_deref(), Some("12"));
    }

    #[test]
    fn instants_beyond_the_calendar_are_left_out() {
        let mut annotations = Map::new();
        annotations.insert_symbol("x-opt-locked-until", Timestamp::from_millis(i64::MAX));
        let received = wire(&message::Message {
            message_annotations: Some(annotations),
            ..message::Message::default()
        });
        assert_eq!(received.locked_until, None);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for octets in [&b"\x01"[..], b"\x00\x53\x75\xa0\x05ab", b"\x00\x53\x99\x40"] {
            let delivery = arrived(Bytes::copy_from_slice(octets));
            assert!(received(KEY, &delivery).is_err(), "{octets:?}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let other = Message::new("").with_property("p", PropertyValue::Other("x".to_owned()));
        let long = Message::new("").with_time_to_live(Duration::from_hours(60 * 24));
        for message in [other, long] {
            let error = encode::message(&message).unwrap_err();
            assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
        }
    }
}
