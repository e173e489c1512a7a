//! What a client sees of a message: header and annotations by the broker, then the sender's bytes.

use bytes::{BufMut, Bytes, BytesMut};
use nightshift_amqp::{Encode, Symbol, Timestamp, message::Header};

use crate::queue::{Lock, NEVER_MS, Origin, Outgoing, Standing};

const LOCK_TOKEN: Symbol = Symbol::from_static("x-opt-lock-token");
const SEQUENCE_NUMBER: Symbol = Symbol::from_static("x-opt-sequence-number");
const ENQUEUED_TIME: Symbol = Symbol::from_static("x-opt-enqueued-time");
const ENQUEUE_SEQUENCE_NUMBER: Symbol = Symbol::from_static("x-opt-enqueue-sequence-number");
const DEAD_LETTER_SOURCE: Symbol = Symbol::from_static("x-opt-deadletter-source");
const LOCKED_UNTIL: Symbol = Symbol::from_static("x-opt-locked-until");
const MESSAGE_STATE: Symbol = Symbol::from_static("x-opt-message-state");

/// Descriptor and constructor of a small map of delivery annotations, and of a large one of message
/// annotations, whose sizes follow.
const DELIVERY_ANNOTATIONS: [u8; 4] = [0x00, 0x53, 0x71, 0xc1];
const MESSAGE_ANNOTATIONS: [u8; 4] = [0x00, 0x53, 0x72, 0xd1];

/// Writes everything that stands before the sender's own annotations, whose bytes the caller sends
/// next, then the bare message. A delivery that is settled on sending has no `lock` to tell of, nor
/// has a message that is only shown.
pub(super) fn write_prefix<L>(out: &mut BytesMut, delivery: &Outgoing<L>, lock: Option<Lock>) {
    write_header(out, delivery);

    out.put_slice(&DELIVERY_ANNOTATIONS);
    let start = out.len();
    out.put_slice(&[1, 0]);
    if let Some(lock) = lock {
        LOCK_TOKEN.encode(out);
        lock.token.uuid().encode(out);
        // The size counts the count. It is a constant of 36 bytes.
        out[start] = u8::try_from(out.len() - start - 1).unwrap_or(u8::MAX);
        out[start + 1] = 2;
    }

    let (sender_entries, sender_values) = delivery.content.annotations();
    out.put_slice(&MESSAGE_ANNOTATIONS);
    let start = out.len();
    out.put_bytes(0, 8);
    SEQUENCE_NUMBER.encode(out);
    i64::try_from(delivery.sequence)
        .unwrap_or(i64::MAX)
        .encode(out);
    ENQUEUED_TIME.encode(out);
    Timestamp::from_millis(delivery.enqueued_at_ms).encode(out);
    let mut values = sender_values + 4;
    if let Some(lock) = lock {
        LOCKED_UNTIL.encode(out);
        Timestamp::from_millis(lock.until_ms).encode(out);
        values += 2;
    }
    if let Some(origin) = &delivery.origin {
        values += write_origin(out, origin);
    }
    // An active message does not say that it is.
    let state = match delivery.standing {
        Standing::Active => None,
        Standing::Deferred => Some(1_i32),
        Standing::Scheduled => Some(2),
    };
    if let Some(state) = state {
        MESSAGE_STATE.encode(out);
        state.encode(out);
        values += 2;
    }
    let size = u32::try_from(out.len() - start - 4 + sender_entries.len()).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&values.to_be_bytes());
}

/// Writes where a forwarded message was before. Says how many values that are.
fn write_origin(out: &mut BytesMut, origin: &Origin) -> u32 {
    ENQUEUE_SEQUENCE_NUMBER.encode(out);
    i64::try_from(origin.sequence)
        .unwrap_or(i64::MAX)
        .encode(out);
    let Some(source) = &origin.dead_letter_source else {
        return 2;
    };
    DEAD_LETTER_SOURCE.encode(out);
    source.to_string().encode(out);
    4
}

/// A whole message as the answers of the management node carry it.
pub(super) fn encoded<L>(delivery: &Outgoing<L>, lock: Option<Lock>) -> Bytes {
    let mut out = BytesMut::with_capacity(delivery.content.len() + 256);
    write_prefix(&mut out, delivery, lock);
    out.put_slice(delivery.content.annotations().0);
    out.put_slice(delivery.content.bare());
    out.freeze()
}

fn write_header<L>(out: &mut BytesMut, delivery: &Outgoing<L>) {
    // The queue may have shortened the message's life; what it has left is the broker's to tell.
    let life_ms = (delivery.expires_at_ms != NEVER_MS)
        .then(|| delivery.expires_at_ms.abs_diff(delivery.enqueued_at_ms));
    let ttl = life_ms
        .map(|ms| u32::try_from(ms).unwrap_or(u32::MAX))
        .or(delivery.header.ttl_ms);
    let header = Header {
        durable: delivery.header.durable,
        priority: delivery.header.priority,
        ttl,
        first_acquirer: None,
        delivery_count: Some(delivery.delivery_count),
    };
    header.encode(out);
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::{Value, message::RawMessage};
    use uuid::Uuid;

    use super::*;
    use crate::queue::{Content, Delivery, KeptHeader, LockToken};

    fn delivery(content: Content) -> Delivery {
        let token = LockToken {
            nonce: 0x0102_0304_0506_0708,
            sequence: 300,
        };
        Delivery {
            sequence: 300,
            enqueued_at_ms: 1_000,
            expires_at_ms: 61_000,
            delivery_count: 2,
            header: KeptHeader {
                durable: None,
                priority: Some(9),
                ttl_ms: Some(90_000),
            },
            standing: Standing::Active,
            origin: None,
            content,
            lock: Lock {
                token,
                until_ms: 5_000,
            },
        }
    }

    fn written(delivery: &Delivery, settled: bool) -> RawMessage {
        let mut out = BytesMut::new();
        write_prefix(&mut out, delivery, (!settled).then_some(delivery.lock));
        out.extend_from_slice(delivery.content.annotations().0);
        out.extend_from_slice(delivery.content.bare());
        RawMessage::split(out.freeze()).unwrap()
    }

    #[test]
    fn a_locked_delivery_tells_its_lock_and_keeps_the_senders_annotations() {
        let content = Content::new(b"\xa3\x01a\xa1\x01b\x00\x53\x75\xa0\x01x", 2, 6);
        let raw = written(&delivery(content), false);
        let header = raw.header().unwrap().unwrap();
        assert_eq!((header.durable, header.priority), (None, Some(9)));
        assert_eq!((header.ttl, header.delivery_count), (Some(60_000), Some(2)));
        let token = raw.delivery_annotations().unwrap().unwrap();
        let uuid = Uuid::parse_str("04030201-0605-0807-0000-00000000012c").unwrap();
        assert_eq!(token.get("x-opt-lock-token"), Some(&Value::Uuid(uuid)));
        let annotations = raw.message_annotations().unwrap().unwrap();
        assert_eq!(annotations.len(), 4);
        assert_eq!(
            annotations.get("x-opt-sequence-number"),
            Some(&Value::Long(300))
        );
        let time = |millis| Some(Value::Timestamp(Timestamp::from_millis(millis)));
        assert_eq!(annotations.get("x-opt-enqueued-time").cloned(), time(1_000));
        assert_eq!(annotations.get("x-opt-locked-until").cloned(), time(5_000));
        assert_eq!(annotations.get("a"), Some(&Value::from("b")));
        assert_eq!(raw.bare(), Bytes::from_static(b"\x00\x53\x75\xa0\x01x"));
    }

    #[test]
    fn a_settled_delivery_has_no_lock_and_an_empty_map_of_delivery_annotations() {
        let raw = written(&delivery(Content::new(b"", 0, 0)), true);
        assert!(raw.delivery_annotations().unwrap().unwrap().is_empty());
        let annotations = raw.message_annotations().unwrap().unwrap();
        assert_eq!(
            (annotations.len(), annotations.get("x-opt-locked-until")),
            (2, None)
        );
    }
}
