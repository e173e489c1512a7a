//! From the wire into a queue: what is kept of a message, and what is filled in.
//!
//! The bare message (properties, application properties, body) and the footer are kept as they
//! came, byte for byte. Header and annotations are the broker's to write on the way out, so of
//! them only what is the sender's is kept.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::{
    DecodeError, Encode, Map,
    message::{MessageError, MessageId, Properties, RawMessage, unpack_batch},
};
use rand::RngCore;

use super::message::{Content, KeptHeader, Submission};

/// Annotations that only the broker tells. A sender that forwards a message it received sends them
/// along; they are then dropped.
const OWN_ANNOTATIONS: [&str; 7] = [
    "x-opt-sequence-number",
    "x-opt-enqueued-time",
    "x-opt-locked-until",
    "x-opt-enqueue-sequence-number",
    "x-opt-message-state",
    "x-opt-lock-token",
    "x-opt-deadletter-source",
];

/// When the sender wants the message to become available.
const SCHEDULED: &str = "x-opt-scheduled-enqueue-time";

/// A message that cannot be stored, with the sentence for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsuitable {
    #[error("the message is malformed")]
    Malformed(#[from] MessageError),
    #[error("the message is malformed")]
    Encoding(#[from] DecodeError),
    #[error("the queue requires sessions, and the message has no session id")]
    NoSessionId,
    #[error("the session id has {0} characters; the limit is 128")]
    LongSessionId(usize),
}

/// The longest session id that the service takes, in characters.
pub(crate) const MAX_SESSION_ID: usize = 128;

/// Checks that messages can be stored in a queue that requires sessions.
pub(crate) fn check_session_ids(submissions: &[Submission]) -> Result<(), Unsuitable> {
    for submission in submissions {
        let id = submission.session_id.as_ref();
        let length = id.ok_or(Unsuitable::NoSessionId)?.chars().count();
        if length > MAX_SESSION_ID {
            return Err(Unsuitable::LongSessionId(length));
        }
    }
    Ok(())
}

impl Content {
    /// The session that the sender has put the message into.
    pub(super) fn session_id(&self) -> Option<String> {
        let raw = RawMessage::split(Bytes::copy_from_slice(self.bare())).ok()?;
        raw.properties().ok()??.group_id
    }
}

/// Reads the messages of one transfer, which is either one message or a batch, to the end of
/// `into`. On an error `into` is as before.
pub(crate) fn read_submissions(
    payload: Bytes,
    is_batch: bool,
    into: &mut Vec<Submission>,
) -> Result<(), Unsuitable> {
    if !is_batch {
        into.push(submission(payload)?);
        return Ok(());
    }
    let before = into.len();
    for member in unpack_batch(payload)? {
        match submission(member) {
            Ok(submission) => into.push(submission),
            Err(error) => {
                into.truncate(before);
                return Err(error);
            }
        }
    }
    Ok(())
}

fn submission(payload: Bytes) -> Result<Submission, Unsuitable> {
    let raw = RawMessage::split(payload)?;
    let header = raw.header()?.map(|header| KeptHeader {
        durable: header.durable,
        priority: header.priority,
        ttl_ms: header.ttl,
    });
    let annotations = raw.message_annotations()?.unwrap_or_default();
    let scheduled = annotations
        .get(SCHEDULED)
        .and_then(nightshift_amqp::Value::as_timestamp);
    let mut properties = raw.properties()?;
    let message_id = properties
        .as_mut()
        .and_then(|properties| properties.message_id.take());
    let session_id = properties
        .as_ref()
        .and_then(|properties| properties.group_id.clone());
    let named = message_id.is_some();
    let content = if named && annotations.is_empty() {
        Content::new(&raw.bare_and_footer(), 0, 0)
    } else {
        rewritten(&raw, &annotations, properties.filter(|_| !named), named)
    };
    Ok(Submission {
        header: header.unwrap_or_default(),
        scheduled_at_ms: scheduled.map(nightshift_amqp::Timestamp::as_millis),
        message_id,
        session_id,
        content,
        origin: None,
    })
}

/// The content of a message that has annotations of its own, or needs a name.
fn rewritten(
    raw: &RawMessage,
    annotations: &Map,
    properties: Option<Properties>,
    named: bool,
) -> Content {
    let mut out = BytesMut::new();
    let mut values = 0;
    for (key, value) in annotations {
        if key
            .as_str()
            .is_some_and(|key| OWN_ANNOTATIONS.contains(&key))
        {
            continue;
        }
        key.encode(&mut out);
        value.encode(&mut out);
        values += 2;
    }
    // Messages are far below 4 GiB: the link's limit is announced as such.
    let annotations_len = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if named {
        out.extend_from_slice(&raw.bare_and_footer());
    } else {
        let message_id = Some(MessageId::String(new_message_id()));
        Properties {
            message_id,
            ..properties.unwrap_or_default()
        }
        .encode(&mut out);
        out.extend_from_slice(&raw.after_properties());
    }
    Content::new(&out, values, annotations_len)
}

/// An id for a message that came without: a random UUID as 32 hexadecimal digits.
fn new_message_id() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .simple()
        .to_string()
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::{
        Timestamp, Value,
        message::{BatchBuilder, Body, Header, Message},
    };

    use super::*;

    fn encode(message: &Message) -> Bytes {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.freeze()
    }

    fn read(message: &Message) -> Result<Submission, Unsuitable> {
        let mut into = Vec::new();
        read_submissions(encode(message), false, &mut into)?;
        Ok(into.pop().expect("one submission"))
    }

    fn named(id: &str) -> Properties {
        Properties {
            message_id: Some(id.into()),
            ..Properties::default()
        }
    }

    fn bare(submission: &Submission) -> Message {
        let bare = Bytes::copy_from_slice(submission.content.bare());
        RawMessage::split(bare).unwrap().decode().unwrap()
    }

    #[test]
    fn the_bare_message_and_the_footer_are_kept_byte_for_byte() {
        let footer = Map::from_iter([("sum", 7_i64)]);
        let message = Message {
            header: Some(Header {
                durable: Some(true),
                ttl: Some(5),
                ..Header::default()
            }),
            properties: Some(named("1")),
            application_properties: Some(Map::from_iter([("a", true)])),
            body: Body::data("text"),
            footer: Some(footer),
            ..Message::default()
        };
        let submission = read(&message).unwrap();
        let whole = encode(&message);
        assert!(whole.ends_with(submission.content.bare()));
        assert_eq!(submission.content.annotations(), (&b""[..], 0));
        let kept = KeptHeader {
            durable: Some(true),
            priority: None,
            ttl_ms: Some(5),
        };
        assert_eq!(submission.header, kept);
    }

    #[test]
    fn a_message_without_an_id_gets_one_and_keeps_the_rest() {
        let properties = Properties {
            subject: Some("s".into()),
            ..Properties::default()
        };
        for properties in [None, Some(properties)] {
            let body = Body::data("text");
            let sent = Message {
                properties,
                body: body.clone(),
                ..Message::default()
            };
            let got = bare(&read(&sent).unwrap());
            let properties = got.properties.unwrap();
            let Some(MessageId::String(id)) = properties.message_id else {
                panic!("no text id")
            };
            assert!(
                id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{id}"
            );
            assert_eq!(properties.subject, sent.properties.and_then(|p| p.subject));
            assert_eq!(got.body, body);
        }
    }

    #[test]
    fn annotations_of_the_sender_are_kept_and_those_of_the_broker_dropped() {
        let mut annotations = Map::new();
        annotations.insert_symbol("x-opt-partition-key", "p");
        annotations.insert_symbol("x-opt-sequence-number", 99_i64);
        let message = Message {
            message_annotations: Some(annotations),
            properties: Some(named("1")),
            ..Message::default()
        };
        let submission = read(&message).unwrap();
        let (entries, values) = submission.content.annotations();
        assert_eq!(
            (entries, values),
            (&b"\xa3\x13x-opt-partition-key\xa1\x01p"[..], 2)
        );
        assert_eq!(bare(&submission).properties, Some(named("1")));
    }

    #[test]
    fn a_message_for_later_says_when_and_keeps_saying_it() {
        let mut annotations = Map::new();
        annotations.insert_symbol(SCHEDULED, Timestamp::from_millis(1_001));
        let submission = read(&Message {
            message_annotations: Some(annotations),
            ..Message::default()
        });
        let submission = submission.unwrap();
        assert_eq!(submission.scheduled_at_ms, Some(1_001));
        assert_eq!(submission.content.annotations().1, 2);
        let now = read(&Message::default()).unwrap();
        assert_eq!(now.scheduled_at_ms, None);
    }

    #[test]
    fn a_batch_is_taken_apart_and_taken_whole_or_not_at_all() {
        let part = |id| {
            encode(&Message {
                properties: Some(named(id)),
                ..Message::default()
            })
        };
        let mut batch = BatchBuilder::new();
        batch.push(&part("1"));
        batch.push(&part("2"));
        let mut into = Vec::new();
        read_submissions(batch.finish(), true, &mut into).unwrap();
        let ids: Vec<_> = into.iter().map(|s| bare(s).properties).collect();
        assert_eq!(ids, [Some(named("1")), Some(named("2"))]);

        let mut batch = BatchBuilder::new();
        batch.push(&part("3"));
        batch.push(b"nonsense");
        assert!(read_submissions(batch.finish(), true, &mut into).is_err());
        assert_eq!(into.len(), 2);
        let value = Value::from("not a batch");
        let wrong = encode(&Message {
            body: Body::Value(value),
            ..Message::default()
        });
        assert!(read_submissions(wrong, true, &mut into).is_err());
    }
}
