//! From an application's message to bytes on the wire.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use nightshift_amqp::message::{Header, Properties, Section};
use nightshift_amqp::{Encode as _, Map, Symbol, Timestamp};

use crate::error::BusError;
use crate::message::Message;

/// About how many octets a message takes.
fn size_hint(message: &Message) -> usize {
    let texts = [
        &message.message_id,
        &message.correlation_id,
        &message.content_type,
        &message.subject,
        &message.to,
        &message.reply_to,
        &message.session_id,
        &message.reply_to_session_id,
        &message.partition_key,
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 2).sum();
    let properties = message.application_properties.iter();
    let properties = properties.map(|(name, value)| name.len() + value.size_hint() + 10);
    let properties: usize = properties.sum();
    let rare = message.time_to_live.is_some() || message.scheduled_enqueue_time.is_some();
    let has_more = rare || texts > 0 || properties > 0;
    let sections = if has_more { 128 } else { 16 };
    message.body.len() + texts + properties + sections
}

/// Encodes one message: the sections that it needs and no others.
pub(crate) fn message(message: &Message) -> Result<Bytes, BusError> {
    let mut out = BytesMut::with_capacity(size_hint(message));
    append(message, &mut out)?;
    Ok(out.freeze())
}

/// Encodes many messages into one piece of memory.
pub(crate) fn messages(messages: &[Message]) -> Result<Encoded, BusError> {
    let mut octets = BytesMut::with_capacity(messages.iter().map(size_hint).sum());
    let mut ends = Vec::with_capacity(messages.len());
    for message in messages {
        append(message, &mut octets)?;
        ends.push(octets.len());
    }
    Ok(Encoded {
        octets: octets.freeze(),
        ends,
    })
}

/// Encoded messages, one behind the other.
pub(crate) struct Encoded {
    octets: Bytes,
    ends: Vec<usize>,
}

impl Encoded {
    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Where a message lies.
    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[index]
    }

    /// A message's octets.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.octets[self.range(index)]
    }

    /// A message as it can be sent alone; it shares the memory.
    pub(crate) fn share(&self, index: usize) -> Bytes {
        self.octets.slice(self.range(index))
    }

    /// The size of the largest, in octets.
    pub(crate) fn largest(&self) -> usize {
        (0..self.len())
            .map(|index| self.range(index).len())
            .max()
            .unwrap_or(0)
    }
}

fn append(message: &Message, out: &mut BytesMut) -> Result<(), BusError> {
    if let Some(ttl) = message.time_to_live {
        let ttl = u32::try_from(ttl.as_millis()).map_err(|_| {
            let text = format!(
                "a time to live of {} s cannot be sent: the header has room for {} s",
                ttl.as_secs(),
                u32::MAX / 1000
            );
            BusError::InvalidArgument(text)
        })?;
        Header {
            ttl: Some(ttl),
            ..Header::default()
        }
        .encode(out);
    }
    annotations(message, out);
    properties(message, out);
    application_properties(message, out)?;
    Section::Data.put(out, &message.body);
    Ok(())
}

/// Appends the sections that a batch repeats from its first message: the service routes the whole
/// batch by them.
pub(crate) fn envelope(first: &Message, out: &mut BytesMut) {
    annotations(first, out);
    if first.message_id.is_some() || first.session_id.is_some() {
        Properties {
            message_id: first.message_id.clone().map(Into::into),
            group_id: first.session_id.clone(),
            ..Properties::default()
        }
        .encode(out);
    }
}

fn annotations(message: &Message, out: &mut BytesMut) {
    let mut annotations = Map::new();
    if let Some(key) = &message.partition_key {
        annotations.insert_symbol("x-opt-partition-key", key.clone());
    }
    if let Some(instant) = message.scheduled_enqueue_time {
        let instant = Timestamp::from_millis(instant.timestamp_millis());
        annotations.insert_symbol("x-opt-scheduled-enqueue-time", instant);
    }
    if !annotations.is_empty() {
        Section::MessageAnnotations.put(out, &annotations);
    }
}

fn properties(message: &Message, out: &mut BytesMut) {
    let properties = Properties {
        message_id: message.message_id.clone().map(Into::into),
        to: message.to.clone(),
        subject: message.subject.clone(),
        reply_to: message.reply_to.clone(),
        correlation_id: message.correlation_id.clone().map(Into::into),
        content_type: message.content_type.clone().map(Symbol::from),
        group_id: message.session_id.clone(),
        reply_to_group_id: message.reply_to_session_id.clone(),
        ..Properties::default()
    };
    if properties != Properties::default() {
        properties.encode(out);
    }
}

fn application_properties(message: &Message, out: &mut BytesMut) -> Result<(), BusError> {
    if message.application_properties.is_empty() {
        return Ok(());
    }
    let mut map = Map::new();
    for (name, value) in &message.application_properties {
        let Some(value) = value.to_wire() else {
            return Err(BusError::InvalidArgument(format!(
                "the application property `{name}` has a type that cannot be sent"
            )));
        };
        map.insert(name.clone(), value);
    }
    Section::ApplicationProperties.put(out, &map);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::PropertyValue;

    #[test]
    fn the_size_is_known_beforehand_so_that_nothing_is_copied() {
        let plain = || Message::new(vec![0; 100_000]);
        let value = "v".repeat(5_000);
        for (message, most) in [
            (plain(), 16),
            (plain().with_message_id("m".repeat(128)), 128),
            (
                plain().with_time_to_live(std::time::Duration::from_secs(1)),
                128,
            ),
            (plain().with_property("p".repeat(200), value.clone()), 128),
            (plain().with_property("n", 5_i64), 160),
            (
                plain().with_property("b", PropertyValue::Binary(value.into())),
                128,
            ),
        ] {
            let (hint, size) = (size_hint(&message), super::message(&message).unwrap().len());
            assert!(hint >= size && hint <= size + most, "{hint} for {size}");
        }
    }
}
