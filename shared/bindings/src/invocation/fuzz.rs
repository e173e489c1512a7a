//! Damaged envelopes, answers and bodies.
//!
//! Beside the absence of panics it is checked that what decodes can be encoded and decodes to the
//! same again, and that whatever body a producer sends becomes an envelope that is JSON.

use std::collections::HashMap;

use bytes::Bytes;
use nightshift_fuzz::{damage, generator, rounds};
use rand::Rng as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TriggerMessage;
use super::decode::{decode_batch, decode_single};
use super::encode::{Envelope, HttpBody, HttpInvocation};
use super::response::{CONTENT_TYPE, Response, SUCCESS};
use crate::function_json::DataType;
use crate::route::RouteValues;

/// Rounds of one test, unless the environment says otherwise.
const USUAL_ROUNDS: u64 = 5_000;

/// The most damage that can add up; real envelopes are far larger, their grammar is not.
const LONGEST: usize = 16 * 1024;

/// Pieces that mean something to a reader of JSON, of numbers, of times or of base64.
const TELLING: [&str; 34] = [
    "\"",
    "\\",
    "\\\\\"",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "0.1",
    "{}",
    "[]",
    "[[[[[[[[",
    "{\"a\":{\"a\":",
    "=",
    "AA==",
    "\"\"",
    "\"null\"",
    "\u{0}",
    "\u{feff}",
    "é",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00",
    "\"Data\":",
    "\"MessageId\":",
];

/// Calls `each` with a damaged copy of a seed, once per round. A round that fails is told and can
/// be repeated alone: its number is all that its damage depends on.
fn fuzz(test: u64, seeds: &[Vec<u8>], mut each: impl FnMut(&[u8])) {
    let telling = TELLING.map(str::as_bytes);
    for round in 0..rounds(USUAL_ROUNDS) {
        let _told = Told(round);
        let mut random = generator(test, round);
        let mut damaged = seeds[random.random_range(0..seeds.len())].clone();
        damage(&mut random, &mut damaged, &telling, seeds);
        damaged.truncate(LONGEST);
        each(&damaged);
    }
}

/// Tells its round when that panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in round {}", self.0);
        }
    }
}

fn envelope(data_type: DataType) -> Envelope<'static> {
    Envelope {
        function: "orders-work",
        binding: "msg",
        data_type,
        now: "2026-11-20T17:10:00.5Z".parse().unwrap(),
        random: Uuid::from_u128(7),
    }
}

fn message(body: &[u8]) -> TriggerMessage {
    let properties = json!({"kind": "welcome", "n": 1.5, "nested": {"a": [null, true]}});
    let Value::Object(application_properties) = properties else {
        unreachable!()
    };
    TriggerMessage {
        body: Bytes::copy_from_slice(body),
        message_id: Some("m\"1".to_owned()),
        sequence_number: 12,
        delivery_count: 1,
        lock_token: Some(Uuid::from_u128(0xa)),
        enqueued_time: "2026-11-20T17:09:00Z".parse().unwrap(),
        expires_at: Some("2026-11-21T17:09:00Z".parse().unwrap()),
        session_id: Some("s\\1".to_owned()),
        correlation_id: Some("é".to_owned()),
        content_type: Some("application/json".to_owned()),
        subject: None,
        to: None,
        reply_to: None,
        reply_to_session_id: None,
        partition_key: None,
        dead_letter_source: None,
        application_properties,
    }
}

fn bodies() -> Vec<Vec<u8>> {
    [
        r#"{"user": 7, "MessageId": "mine", "sys": {"a": 1}, "list": [1], "at": {"x": [2]}}"#,
        r#"[{"a": "\ud83d\ude00\n"}, null, 1e5, "text"]"#,
        "plain text with \"quotes\" and \\ and \u{1}",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

#[test]
fn a_damaged_envelope_of_one_message_is_refused_or_read() {
    let envelope = envelope(DataType::Binary);
    let seeds = bodies();
    let seeds: Vec<Vec<u8>> = seeds
        .iter()
        .map(|body| envelope.encode_single(&message(body)))
        .collect();
    fuzz(1, &seeds, |text| {
        if let Ok(read) = decode_single(text, "msg") {
            let again = decode_single(&envelope.encode_single(&read), "msg").unwrap();
            assert_eq!(again.body, read.body);
            assert_eq!(again.message_id, read.message_id);
            assert_eq!(again.application_properties, read.application_properties);
        }
    });
}

#[test]
fn a_damaged_envelope_of_many_messages_is_refused_or_read() {
    let envelope = envelope(DataType::Binary);
    let messages: Vec<TriggerMessage> = bodies().iter().map(|body| message(body)).collect();
    let seeds = [
        envelope.encode_batch(&messages).unwrap(),
        envelope.encode_batch(&messages[..1]).unwrap(),
        envelope.encode_batch(&[]).unwrap(),
    ];
    fuzz(2, &seeds, |text| {
        if let Ok(read) = decode_batch(text, "msg") {
            let again = decode_batch(&envelope.encode_batch(&read).unwrap(), "msg").unwrap();
            let bodies = |messages: &[TriggerMessage]| -> Vec<Bytes> {
                messages
                    .iter()
                    .map(|message| message.body.clone())
                    .collect()
            };
            assert_eq!(bodies(&again), bodies(&read));
        }
    });
}

#[test]
fn a_damaged_answer_is_refused_or_read() {
    let full = r#"{"Outputs": {"res": {"statusCode": "201", "body": {"a": [1]}, "headers": {"x": "y"}},
        "out": ["a", {"b": null}]}, "Logs": ["line", 1, null], "ReturnValue": "dGV4dA=="}"#;
    let seeds = [SUCCESS.as_bytes().to_vec(), full.as_bytes().to_vec()];
    fuzz(3, &seeds, |text| {
        if let Ok(read) = Response::parse(Some(CONTENT_TYPE), text) {
            let again = json!({
                "Outputs": read.outputs, "Logs": read.logs, "ReturnValue": read.return_value,
            });
            let again = Response::parse(Some(CONTENT_TYPE), again.to_string().as_bytes());
            assert_eq!(again.unwrap(), read);
        }
    });
}

#[test]
fn whatever_a_producer_sends_becomes_an_envelope_that_is_json() {
    let seeds = bodies();
    fuzz(4, &seeds, |body| {
        let message = message(body);
        for data_type in [DataType::Unspecified, DataType::String, DataType::Binary] {
            let envelope = envelope(data_type);
            is_envelope(&envelope.encode_single(&message));
            // Without a data type a body that is no JSON is refused, as the real host does.
            if let Ok(batch) = envelope.encode_batch(std::slice::from_ref(&message)) {
                is_envelope(&batch);
            }
        }
    });
}

#[test]
fn whatever_a_caller_sends_becomes_an_envelope_that_is_json() {
    let seeds = bodies();
    fuzz(5, &seeds, |body| {
        let text = String::from_utf8_lossy(body);
        let half: String = text.chars().take(40).collect();
        let pair = [
            (half.clone(), text.to_string()),
            (half.clone(), half.clone()),
        ];
        let headers = pair.clone().map(|(name, value)| (name, value.into()));
        for body in [
            HttpBody::Text {
                text: &text,
                is_json: true,
            },
            HttpBody::Bytes(body),
        ] {
            let request = HttpInvocation {
                url: &half,
                method: "POST",
                query: &pair,
                headers: &headers,
                params: &RouteValues::default(),
                key: Some((&half, "Function")),
                body: Some(body),
            };
            is_envelope(
                &envelope(DataType::Unspecified)
                    .encode_http(&request)
                    .unwrap(),
            );
        }
    });
}

/// An object of exactly two members that are objects. What is inside is checked by its grammar only:
/// a producer may write numbers that no reader has room for.
fn is_envelope(encoded: &[u8]) {
    type Members<'a> = HashMap<String, HashMap<String, &'a RawValue>>;
    let members: Members<'_> = serde_json::from_slice(encoded)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(encoded)));
    assert_eq!(members.len(), 2);
    assert!(members.contains_key("Data") && members.contains_key("Metadata"));
}
