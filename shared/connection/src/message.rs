//! From a received message to what an invocation carries.

use base64_simd::STANDARD;
use chrono::SecondsFormat;
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bus::{BodyKind, PropertyValue, ReceivedMessage};
use serde_json::{Number, Value};

/// Whether a trigger can hand the message's body to a function: data sections and text values.
pub fn has_bindable_body(received: &ReceivedMessage) -> bool {
    matches!(received.body_kind, BodyKind::Data | BodyKind::Value(_))
}

/// Takes the sender's part out of `received`, which keeps what its settlement needs.
pub fn into_trigger_message(received: &mut ReceivedMessage) -> TriggerMessage {
    let message = std::mem::take(&mut received.message);
    let body = match &received.body_kind {
        BodyKind::Value(text) => text.clone().into(),
        _ => message.body,
    };
    TriggerMessage {
        body,
        message_id: message.message_id,
        sequence_number: received.sequence_number,
        delivery_count: received.delivery_count,
        lock_token: Some(received.lock_token),
        enqueued_time: received.enqueued_time,
        expires_at: received.expires_at,
        session_id: message.session_id,
        correlation_id: message.correlation_id,
        content_type: message.content_type,
        subject: message.subject,
        to: message.to,
        reply_to: message.reply_to,
        reply_to_session_id: message.reply_to_session_id,
        partition_key: message.partition_key,
        dead_letter_source: received.dead_letter_source.clone(),
        application_properties: message
            .application_properties
            .into_iter()
            .map(|(name, value)| (name, json_value(value)))
            .collect(),
    }
}

/// A property as .NET's JSON writer spells its type. What JSON has no number for (not-a-number,
/// infinities) becomes its name.
fn json_value(value: PropertyValue) -> Value {
    let float = |float: f64| {
        Number::from_f64(float).map_or_else(|| Value::String(float.to_string()), Value::Number)
    };
    match value {
        PropertyValue::Bool(flag) => flag.into(),
        PropertyValue::U8(number) => number.into(),
        PropertyValue::U16(number) => number.into(),
        PropertyValue::U32(number) => number.into(),
        PropertyValue::U64(number) => number.into(),
        PropertyValue::I8(number) => number.into(),
        PropertyValue::I16(number) => number.into(),
        PropertyValue::I32(number) => number.into(),
        PropertyValue::I64(number) => number.into(),
        // By way of its shortest text, so that 0.1 stays 0.1.
        PropertyValue::F32(number) => float(number.to_string().parse().unwrap_or(number.into())),
        PropertyValue::F64(number) => float(number),
        PropertyValue::Char(char) => char.to_string().into(),
        PropertyValue::Timestamp(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        PropertyValue::Uuid(uuid) => uuid.to_string().into(),
        PropertyValue::Binary(bytes) => STANDARD.encode_to_string(&bytes).into(),
        PropertyValue::String(text) | PropertyValue::Symbol(text) | PropertyValue::Other(text) => {
            text.into()
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_every_type_have_a_json_form() {
        let cases: [(PropertyValue, Value); 8] = [
            (true.into(), true.into()),
            (u64::MAX.into(), u64::MAX.into()),
            ((-1_i8).into(), (-1).into()),
            (0.1_f32.into(), 0.1.into()),
            (f64::NAN.into(), "NaN".into()),
            ('x'.into(), "x".into()),
            (bytes::Bytes::from_static(b"hi").into(), "aGk=".into()),
            (PropertyValue::Null, Value::Null),
        ];
        for (value, json) in cases {
            assert_eq!(json_value(value.clone()), json, "{value:?}");
        }
        let time: chrono::DateTime<chrono::Utc> = "2026-01-02T03:04:05.25Z".parse().unwrap();
        assert_eq!(json_value(time.into()), "2026-01-02T03:04:05.250Z");
    }
}
