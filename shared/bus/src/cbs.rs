//! The words of the `$cbs` node (claims-based security): `put-token` and its answer.

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use nightshift_amqp::message::{Body, Message, MessageId, Properties, RawMessage};
use nightshift_amqp::{Encode as _, Map, Timestamp, Value};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::BusError;

/// The node's address.
pub(crate) const NODE: &str = "$cbs";

/// Who can check a token.
#[derive(Clone, Copy)]
pub(crate) enum TokenKind {
    /// The service, with the key that it was signed with.
    SharedAccess,
    /// The directory that made it.
    Jwt,
}

/// The request that puts `token` for `audience`. The answer goes to `reply_to` and repeats `id`.
pub(crate) fn put_token(
    id: &str,
    reply_to: &str,
    audience: &str,
    kind: TokenKind,
    token: &SecretString,
    expires_at: Option<DateTime<Utc>>,
) -> Bytes {
    let mut words = Map::new();
    words.insert("operation", "put-token");
    let kind = match kind {
        TokenKind::SharedAccess => "servicebus.windows.net:sastoken",
        TokenKind::Jwt => "jwt",
    };
    words.insert("type", kind);
    words.insert("name", audience);
    if let Some(instant) = expires_at {
        words.insert(
            "expiration",
            Timestamp::from_millis(instant.timestamp_millis()),
        );
    }
    let request = Message {
        properties: Some(Properties {
            message_id: Some(MessageId::from(id)),
            to: Some(NODE.to_owned()),
            reply_to: Some(reply_to.to_owned()),
            ..Properties::default()
        }),
        application_properties: Some(words),
        body: Body::Value(Value::from(token.expose_secret())),
        ..Message::default()
    };
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

/// Which request a response belongs to.
pub(crate) fn correlation(response: &Bytes) -> Option<String> {
    let properties = RawMessage::split(response.clone())
        .ok()?
        .properties()
        .ok()??;
    properties.correlation_id.map(|id| id.to_string())
}

/// Reads the answer to a request about `entity`.
pub(crate) fn read_answer(entity: &str, response: &Bytes) -> Result<(), BusError> {
    let words = RawMessage::split(response.clone())
        .and_then(|raw| raw.application_properties())
        .map_err(|error| BusError::Protocol(format!("unreadable answer of {NODE}: {error}")))?
        .unwrap_or_default();
    // The management node of the same service spells these names in another way.
    let word = |name, other| words.get(name).or_else(|| words.get(other));
    let status = word("status-code", "statusCode").and_then(Value::as_i64);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let description = text(word("status-description", "statusDescription")).unwrap_or_default();
    let condition = match status {
        Some(200..=299) => return Ok(()),
        Some(401 | 403) => "amqp:unauthorized-access".to_owned(),
        Some(404) => "amqp:not-found".to_owned(),
        Some(status) => text(word("error-condition", "errorCondition"))
            .unwrap_or_else(|| format!("status {status}")),
        None => {
            return Err(BusError::Protocol(format!(
                "an answer of {NODE} has no status"
            )));
        }
    };
    Err(BusError::from_condition(entity, &condition, &description))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: Map) -> Bytes {
        let properties = Properties {
            correlation_id: Some(MessageId::from("7")),
            ..Properties::default()
        };
        let message = Message {
            properties: Some(properties),
            application_properties: Some(words),
            ..Message::default()
        };
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn a_request_says_who_what_and_until_when() {
        let expires_at = DateTime::from_timestamp(5, 0);
        let token = SecretString::from("token");
        let request = put_token(
            "7",
            "here",
            "sb://h/q",
            TokenKind::SharedAccess,
            &token,
            expires_at,
        );
        let message = RawMessage::split(request).unwrap().decode().unwrap();
        let properties = message.properties.unwrap();
        assert_eq!(properties.message_id, Some(MessageId::from("7")));
        assert_eq!(properties.reply_to.as_deref(), Some("here"));
        let words = message.application_properties.unwrap();
        assert_eq!(words.get("operation"), Some(&Value::from("put-token")));
        assert_eq!(words.get("name"), Some(&Value::from("sb://h/q")));
        assert_eq!(
            words.get("expiration"),
            Some(&Value::Timestamp(Timestamp::from_millis(5000)))
        );
        assert_eq!(message.body, Body::Value(Value::from("token")));
    }

    #[test]
    fn answers_are_understood() {
        let of = |status: i32, condition: &str| {
            let mut words = Map::new();
            words.insert("status-code", status);
            words.insert("status-description", "why");
            words.insert("error-condition", condition);
            read_answer("q", &answer(words))
        };
        assert!(of(202, "").is_ok());
        assert!(matches!(of(401, "x"), Err(BusError::Unauthorized { .. })));
        assert!(matches!(of(404, "x"), Err(BusError::NotFound { .. })));
        assert!(matches!(
            of(503, "com.microsoft:server-busy"),
            Err(BusError::ServerBusy { .. })
        ));
        assert!(matches!(
            read_answer("q", &answer(Map::new())),
            Err(BusError::Protocol(_))
        ));
        assert_eq!(correlation(&answer(Map::new())).as_deref(), Some("7"));
    }
}
