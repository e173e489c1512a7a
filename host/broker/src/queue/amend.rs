//! Changing a stored message: its application properties, and nothing else.
//!
//! A receiver that abandons or dead-letters a message may set application properties of it; the
//! broker itself sets the reason of a dead letter. All other bytes stay as the sender wrote them.
//!
//! A sender's own application properties may be malformed: they are stored unread. A message that
//! goes on being delivered keeps them. A dead letter loses them to its reason, since whoever looks
//! into the dead letters has to be able to read it; its body stays.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::{
    Map, Value,
    message::{RawMessage, Section},
};

use super::message::Content;

/// Where the reason of a dead letter is found, and where the explanation.
const REASON: &str = "DeadLetterReason";
const DESCRIPTION: &str = "DeadLetterErrorDescription";

/// The most characters of a reason or a description that the service keeps.
const MAX_TEXT: usize = 4_096;

/// The most bytes to which amendments may let the application properties grow: the service's limit.
/// A sender's own that are larger may be changed, but not grow.
const MAX_PROPERTIES: usize = 64 * 1024;

/// Application properties to set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Amendments(Vec<(String, Value)>);

/// What becomes of a sender's application properties that are malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMalformed {
    /// They stay, and nothing is changed.
    Refuse,
    /// The changes take their place.
    Replace,
}

/// The application properties cannot be changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unamendable {
    #[error("the message's own application properties are malformed")]
    Malformed,
    #[error("the changed properties are larger than 64 KiB")]
    TooLarge,
}

impl Amendments {
    /// What a receiver sent to be changed: a map with text keys. Other keys are not properties.
    pub(crate) fn from_map(map: Option<Map>) -> Self {
        let text = |(key, value): (Value, Value)| Some((key.as_str()?.to_owned(), value));
        let changes = map.into_iter().flatten().filter_map(text);
        Self(changes.map(|(key, value)| (key, plain(value))).collect())
    }

    /// The reason and the explanation of a dead letter.
    pub(crate) fn dead_letter(reason: Option<&str>, description: Option<&str>) -> Self {
        Self::default().with_dead_letter(reason, description)
    }

    /// The same, with a reason and an explanation unless they are there already.
    #[must_use]
    pub(crate) fn with_dead_letter(
        mut self,
        reason: Option<&str>,
        description: Option<&str>,
    ) -> Self {
        for (key, text) in [(REASON, reason), (DESCRIPTION, description)] {
            let missing = !self
                .0
                .iter()
                .any(|(name, value)| name == key && *value != Value::Null);
            if let (Some(text), true) = (text, missing) {
                self.0.push((key.to_owned(), plain(Value::from(text))));
            }
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content with these properties set.
    pub(crate) fn apply(
        &self,
        content: &Content,
        if_malformed: IfMalformed,
    ) -> Result<Content, Unamendable> {
        let bare = Bytes::copy_from_slice(content.bare());
        let raw = RawMessage::split(bare.clone()).map_err(|_| Unamendable::Malformed)?;
        let mut properties = match (raw.application_properties(), if_malformed) {
            (Ok(own), _) => own.unwrap_or_default(),
            (Err(_), IfMalformed::Replace) => Map::new(),
            (Err(_), IfMalformed::Refuse) => return Err(Unamendable::Malformed),
        };
        for (key, value) in &self.0 {
            if *value != Value::Null {
                properties.insert(key.as_str(), value.clone());
            }
        }

        let before = bare.len() - raw.after_properties().len();
        let footer = bare.len() - raw.bare().len();
        let after = bare.len() - footer - raw.encoded_body().len();
        let (annotations, values) = content.annotations();
        let mut out = BytesMut::with_capacity(content.len() + 256);
        out.extend_from_slice(annotations);
        out.extend_from_slice(&bare[..before]);
        let start = out.len();
        Section::ApplicationProperties.put(&mut out, &properties);
        if out.len() - start > (after - before).max(MAX_PROPERTIES) {
            return Err(Unamendable::TooLarge);
        }
        out.extend_from_slice(&bare[after..]);
        let annotations_len = u32::try_from(annotations.len()).unwrap_or(u32::MAX);
        Ok(Content::new(&out, values, annotations_len))
    }
}

/// Texts as strings of bounded length: SDKs send symbols and octets where the property is a text.
fn plain(value: Value) -> Value {
    match value {
        Value::String(mut text) => {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(end);
            }
            Value::String(text)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::{
        Encode,
        message::{Body, Message, Properties},
    };

    use super::*;

    fn content(message: &Message) -> Content {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        Content::new(&out, 0, 0)
    }

    fn decode(content: &Content) -> Message {
        let bare = Bytes::copy_from_slice(content.bare());
        RawMessage::split(bare).unwrap().decode().unwrap()
    }

    fn full() -> Message {
        Message {
            properties: Some(Properties {
                subject: Some("s".into()),
                ..Properties::default()
            }),
            application_properties: Some(Map::from_iter([("old", 1_i32), ("kept", 2_i32)])),
            body: Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]),
            footer: Some(Map::from_iter([("f", 1_i32)])),
            ..Message::default()
        }
    }

    #[test]
    fn only_the_application_properties_change() {
        let changes = Map::from_iter([("old", Value::from("new")), ("more", Value::from(true))]);
        let amended = Amendments::from_map(Some(changes))
            .apply(&content(&full()), IfMalformed::Refuse)
            .unwrap();
        let mut expected = full();
        let mut properties = Map::from_iter([("old", Value::from("new")), ("kept", 2_i32.into())]);
        properties.insert("more", true);
        expected.application_properties = Some(properties);
        assert_eq!(decode(&amended), expected);
    }

    #[test]
    fn properties_are_added_where_there_were_none() {
        for message in [
            Message::default(),
            Message {
                body: Body::data("x"),
                ..Message::default()
            },
        ] {
            let reason = Amendments::dead_letter(Some("r"), Some("d"));
            let amended = reason.apply(&content(&message), IfMalformed::Replace);
            let amended = decode(&amended.unwrap());
            let properties = Map::from_iter([(REASON, "r"), (DESCRIPTION, "d")]);
            assert_eq!(amended.application_properties, Some(properties));
            assert_eq!(amended.body, message.body);
        }
    }

    #[test]
    fn a_given_reason_wins_over_the_fallback() {
        let given = Amendments::from_map(Some(Map::from_iter([(REASON, "mine")])));
        let amendments = given.with_dead_letter(Some("fallback"), Some("text"));
        let amended = amendments.apply(&content(&Message::default()), IfMalformed::Replace);
        let amended = decode(&amended.unwrap());
        let properties = Map::from_iter([(REASON, "mine"), (DESCRIPTION, "text")]);
        assert_eq!(amended.application_properties, Some(properties));
    }

    #[test]
    fn texts_are_cut_and_growth_is_bounded() {
        let long = Amendments::dead_letter(Some(&"ż".repeat(5_000)), None);
        let empty = content(&Message::default());
        let amended = decode(&long.apply(&empty, IfMalformed::Refuse).unwrap());
        let properties = amended.application_properties.unwrap();
        let text = properties.get(REASON).and_then(Value::as_str).unwrap();
        assert_eq!(text.chars().count(), MAX_TEXT);

        let huge = Map::from_iter([("k", Bytes::from(vec![0; MAX_PROPERTIES]))]);
        let refused = Amendments::from_map(Some(huge)).apply(&empty, IfMalformed::Replace);
        assert_eq!(refused.unwrap_err(), Unamendable::TooLarge);
    }

    #[test]
    fn malformed_properties_of_the_sender_give_way_to_the_reason_of_a_dead_letter_only() {
        let mut broken = BytesMut::new();
        let properties = Properties {
            subject: Some("s".into()),
            ..Properties::default()
        };
        properties.encode(&mut broken);
        broken.extend_from_slice(b"\x00\x53\x74\xc1\x03\x02\xff\xff\x00\x53\x75\xa0\x01x");
        let content = Content::new(&broken, 0, 0);
        let reason = Amendments::dead_letter(Some("r"), None);
        let refused = reason.apply(&content, IfMalformed::Refuse);
        assert_eq!(refused.unwrap_err(), Unamendable::Malformed);
        let amended = decode(&reason.apply(&content, IfMalformed::Replace).unwrap());
        let expected = Message {
            properties: Some(properties),
            application_properties: Some(Map::from_iter([(REASON, "r")])),
            body: Body::data("x"),
            ..Message::default()
        };
        assert_eq!(amended, expected);
    }
}
