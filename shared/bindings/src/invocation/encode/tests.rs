use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::invocation::decode::{decode_batch, decode_single};

fn envelope(data_type: DataType) -> Envelope<'static> {
    Envelope {
        function: "orders-work",
        binding: "msg",
        data_type,
        now: "2026-11-20T17:10:00.5Z".parse().unwrap(),
        random: Uuid::from_u128(7),
    }
}

fn message(body: &str) -> TriggerMessage {
    let Value::Object(application_properties) = json!({"kind": "wel\"come"}) else {
        unreachable!()
    };
    TriggerMessage {
        body: Bytes::copy_from_slice(body.as_bytes()),
        message_id: Some("m\"1".to_owned()),
        sequence_number: 12,
        delivery_count: 1,
        lock_token: Some(Uuid::from_u128(0xa)),
        enqueued_time: "2026-11-20T17:09:00.123Z".parse().unwrap(),
        expires_at: None,
        session_id: None,
        correlation_id: None,
        content_type: Some("application/json".to_owned()),
        subject: Some("s".to_owned()),
        to: None,
        reply_to: None,
        reply_to_session_id: None,
        partition_key: None,
        dead_letter_source: None,
        application_properties,
    }
}

fn single(data_type: DataType, body: &str) -> String {
    String::from_utf8(envelope(data_type).encode_single(&message(body))).unwrap()
}

fn batch(data_type: DataType, bodies: &[&str]) -> String {
    let messages: Vec<TriggerMessage> = bodies.iter().map(|body| message(body)).collect();
    String::from_utf8(envelope(data_type).encode_batch(&messages).unwrap()).unwrap()
}

#[test]
fn a_single_text_is_encoded_twice_and_merged_into_the_metadata() {
    let body = r#"{"user": 7, "MESSAGEID": "mine", "ok": true, "list": [1], "at": {"x": [2]}, "Subject": null, "myTrigger": 1}"#;
    insta::assert_snapshot!(single(DataType::Unspecified, body), @r#"{"Data":{"msg":"\"{\\\"user\\\": 7, \\\"MESSAGEID\\\": \\\"mine\\\", \\\"ok\\\": true, \\\"list\\\": [1], \\\"at\\\": {\\\"x\\\": [2]}, \\\"Subject\\\": null, \\\"myTrigger\\\": 1}\""},"Metadata":{"MessageId":"\"mine\"","ContentType":"\"application/json\"","Label":"\"s\"","SequenceNumber":"12","DeliveryCount":"1","LockToken":"\"00000000-0000-0000-0000-00000000000a\"","EnqueuedTime":"2026-11-20T17:09:00+00:00","EnqueuedTimeUtc":"2026-11-20T17:09:00","ExpiresAt":"9999-12-31T23:59:59+00:00","ExpiresAtUtc":"9999-12-31T23:59:59","ApplicationProperties":{"kind":"wel\"come"},"UserProperties":{"kind":"wel\"come"},"user":"\"7\"","ok":"\"True\"","at":{"x": [2]},"sys":{"MethodName":"orders-work","UtcNow":"2026-11-20T17:10:00.5Z","RandGuid":"00000000-0000-0000-0000-000000000007"}}}"#);
}

#[test]
fn a_single_binary_is_base64_and_merges_nothing() {
    insta::assert_snapshot!(single(DataType::Binary, r#"{"MessageId": "mine"}"#), @r#"{"Data":{"msg":"eyJNZXNzYWdlSWQiOiAibWluZSJ9"},"Metadata":{"MessageId":"\"m\\\"1\"","ContentType":"\"application/json\"","Subject":"\"s\"","Label":"\"s\"","SequenceNumber":"12","DeliveryCount":"1","LockToken":"\"00000000-0000-0000-0000-00000000000a\"","EnqueuedTime":"2026-11-20T17:09:00+00:00","EnqueuedTimeUtc":"2026-11-20T17:09:00","ExpiresAt":"9999-12-31T23:59:59+00:00","ExpiresAtUtc":"9999-12-31T23:59:59","ApplicationProperties":{"kind":"wel\"come"},"UserProperties":{"kind":"wel\"come"},"sys":{"MethodName":"orders-work","UtcNow":"2026-11-20T17:10:00.5Z","RandGuid":"00000000-0000-0000-0000-000000000007"}}}"#);
}

#[test]
fn a_batch_has_one_string_of_bodies_and_one_array_per_property() {
    insta::assert_snapshot!(batch(DataType::Binary, &["a\"", ""]), @r#"{"Data":{"msg":"[\"YSI=\",\"\"]"},"Metadata":{"MessageIdArray":"[\"m\\\"1\",\"m\\\"1\"]","SessionIdArray":"[null,null]","CorrelationIdArray":"[null,null]","ContentTypeArray":"[\"application/json\",\"application/json\"]","SubjectArray":"[\"s\",\"s\"]","LabelArray":"[\"s\",\"s\"]","ToArray":"[null,null]","ReplyToArray":"[null,null]","ReplyToSessionIdArray":"[null,null]","PartitionKeyArray":"[null,null]","DeadLetterSourceArray":"[null,null]","TransactionPartitionKeyArray":"[null,null]","SequenceNumberArray":"[12,12]","DeliveryCountArray":"[1,1]","LockTokenArray":"[\"00000000-0000-0000-0000-00000000000a\",\"00000000-0000-0000-0000-00000000000a\"]","EnqueuedTimeArray":"[\"2026-11-20T17:09:00.123+00:00\",\"2026-11-20T17:09:00.123+00:00\"]","EnqueuedTimeUtcArray":"[\"2026-11-20T17:09:00.123Z\",\"2026-11-20T17:09:00.123Z\"]","ExpiresAtArray":"[\"9999-12-31T23:59:59.9999999+00:00\",\"9999-12-31T23:59:59.9999999+00:00\"]","ExpiresAtUtcArray":"[\"9999-12-31T23:59:59.9999999Z\",\"9999-12-31T23:59:59.9999999Z\"]","ApplicationPropertiesArray":"[{\"kind\":\"wel\\\"come\"},{\"kind\":\"wel\\\"come\"}]","UserPropertiesArray":"[{\"kind\":\"wel\\\"come\"},{\"kind\":\"wel\\\"come\"}]","sys":{"MethodName":"orders-work","UtcNow":"2026-11-20T17:10:00.5Z","RandGuid":"00000000-0000-0000-0000-000000000007"}}}"#);
}

#[test]
fn bodies_of_a_batch_are_texts_or_documents_as_the_data_type_says() {
    let data = |json: &str| serde_json::from_str::<Value>(json).unwrap()["Data"]["msg"].clone();
    assert_eq!(
        data(&batch(DataType::String, &["a\"\n", "{}"])),
        r#"["a\"\n","{}"]"#
    );
    let bodies = ["{ \"a\" : [1, \"b c\"] }", "7"];
    assert_eq!(
        data(&batch(DataType::Unspecified, &bodies)),
        r#"[{"a":[1,"b c"]},7]"#
    );
    let error = envelope(DataType::Unspecified)
        .encode_batch(&[message("1"), message("plain")])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("body 1 of the batch is not JSON"),
        "{error}"
    );
}

#[test]
fn a_body_that_is_not_utf8_is_decoded_lossily_as_a_text() {
    let mut message = message("");
    message.body = Bytes::from_static(b"a\xffb");
    let encoded = envelope(DataType::String).encode_single(&message);
    let document: Value = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(document["Data"]["msg"], "\"a\u{fffd}b\"");
}

#[test]
fn a_body_may_hide_sys_and_names_that_differ_in_case_only_count_once() {
    let encoded = single(DataType::String, r#"{"sys": {"x": 1}, "a": 1, "A": 2}"#);
    let document: Value = serde_json::from_str(&encoded).unwrap();
    assert_eq!(document["Metadata"]["sys"], json!({"x": 1}));
    assert_eq!(document["Metadata"]["a"], "\"2\"");
    assert_eq!(document["Metadata"].get("A"), None);
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(any::<String>())
}

prop_compose! {
    fn any_message()(
        body in any::<Vec<u8>>(),
        texts in proptest::collection::vec(any_text(), 10),
        numbers in (any::<i64>(), any::<u32>()),
        lock_token in proptest::option::of(any::<u128>()),
        enqueued_micros in 0_i64..4_000_000_000_000_000,
        expires in proptest::option::of(0_i64..4_000_000_000),
        properties in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4),
    ) -> TriggerMessage {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().flatten();
        TriggerMessage {
            body: body.into(),
            message_id: text(),
            sequence_number: numbers.0,
            delivery_count: numbers.1,
            lock_token: lock_token.map(Uuid::from_u128),
            enqueued_time: DateTime::from_timestamp_micros(enqueued_micros).unwrap(),
            expires_at: expires.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            session_id: text(),
            correlation_id: text(),
            content_type: text(),
            subject: text(),
            to: text(),
            reply_to: text(),
            reply_to_session_id: text(),
            partition_key: text(),
            dead_letter_source: text(),
            application_properties: properties
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect::<Map<_, _>>(),
        }
    }
}

/// The wire has no "never expires": it is the end of the year 9999.
fn without_end_of_time(mut message: TriggerMessage) -> TriggerMessage {
    use chrono::Datelike;
    message.expires_at = message.expires_at.filter(|time| time.year() < 9999);
    message
}

proptest! {
    #[test]
    fn a_batch_comes_back_from_the_handlers_decoder(
        messages in proptest::collection::vec(any_message(), 0..5),
    ) {
        let encoded = envelope(DataType::Binary).encode_batch(&messages).unwrap();
        let decoded = decode_batch(&encoded, "msg").unwrap();
        let decoded: Vec<_> = decoded.into_iter().map(without_end_of_time).collect();
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn a_single_message_comes_back_from_the_handlers_decoder(mut message in any_message()) {
        let encoded = envelope(DataType::Binary).encode_single(&message);
        let decoded = without_end_of_time(decode_single(&encoded, "msg").unwrap());
        // A single time has lost its fraction.
        message.enqueued_time = DateTime::from_timestamp(message.enqueued_time.timestamp(), 0).unwrap();
        prop_assert_eq!(decoded, message);
    }

    #[test]
    fn any_text_body_gives_valid_json(body in any::<String>()) {
        let mut message = message("");
        message.body = Bytes::from(body.clone());
        let encoded = envelope(DataType::String).encode_single(&message);
        let document: Value = serde_json::from_slice(&encoded).unwrap();
        let inner = document["Data"]["msg"].as_str().unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(inner).unwrap(), body);
    }
}

#[test]
fn an_http_request_stands_inline_and_its_parts_are_repeated() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let params = vec![
        ("id".to_owned(), Some("7".to_owned())),
        ("kind".to_owned(), None),
    ];
    let request = HttpInvocation {
        url: "http://h/api/o/7?a=1&a=2",
        method: "POST",
        query: &pairs(&[("a", "1"), ("a", "2")]),
        headers: &[("b", "z"), ("accept", "x"), ("accept", "y")]
            .map(|(name, value)| (name.to_owned(), value.into())),
        params: &params,
        key: Some(("default", "Function")),
        body: Some(HttpBody::Text {
            text: r#"{"n": 1.0, "o": {"p": true}, "list": [], "a": 0, "Query": 1, "aTRIGGER": 2}"#,
            is_json: true,
        }),
    };
    let envelope = Envelope {
        function: "f",
        binding: "req",
        data_type: DataType::Unspecified,
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        random: Uuid::nil(),
    };
    let body: Value = serde_json::from_slice(&envelope.encode_http(&request).unwrap()).unwrap();
    let req = &body["Data"]["req"];
    assert_eq!(req["Url"], "http://h/api/o/7?a=1&a=2");
    assert_eq!(req["Query"], serde_json::json!({"a": "1,2"}));
    assert_eq!(
        req["Headers"],
        serde_json::json!({"accept": ["x", "y"], "b": ["z"]})
    );
    assert_eq!(req["Params"], serde_json::json!({"id": "7", "kind": null}));
    let text = r#"{"n": 1.0, "o": {"p": true}, "list": [], "a": 0, "Query": 1, "aTRIGGER": 2}"#;
    assert_eq!(req["Body"], text);
    assert_eq!(req["Identities"][0]["Claims"][0]["Value"], "Function");
    let metadata = &body["Metadata"];
    assert_eq!(metadata["n"], "\"1.0\"");
    assert_eq!(metadata["o"], serde_json::json!({"p": true}));
    assert_eq!(metadata["id"], "\"7\"");
    assert_eq!(metadata["a"], "\"1,2\"");
    assert_eq!(metadata["Query"], serde_json::json!({"a": "1,2"}));
    for absent in ["list", "kind", "aTRIGGER"] {
        assert_eq!(metadata.get(absent), None);
    }
    assert_eq!(metadata["Headers"]["accept"], "x,y");
    assert_eq!(metadata["sys"]["MethodName"], "f");
    let bytes = HttpInvocation {
        body: Some(HttpBody::Bytes(b"hi")),
        key: None,
        ..request
    };
    let body: Value = serde_json::from_slice(&envelope.encode_http(&bytes).unwrap()).unwrap();
    assert_eq!(body["Data"]["req"]["Body"], "aGk=");
    assert_eq!(
        body["Data"]["req"]["Identities"][0]["IsAuthenticated"],
        false
    );
}

#[test]
fn a_timers_tick_carries_its_state_in_its_zone() {
    let zone = chrono::FixedOffset::east_opt(3_600).unwrap();
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().with_timezone(&zone);
    let envelope = Envelope {
        function: "f",
        binding: "tick",
        data_type: DataType::Unspecified,
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        random: Uuid::nil(),
    };
    let mut tick = TimerInvocation {
        retry: None,
        adjusts_for_dst: true,
        status: Some(ScheduleStatus {
            last: None,
            next: at("2026-01-02T04:00:00Z"),
            last_updated: at("2026-01-02T03:00:00.25Z"),
        }),
        is_past_due: true,
    };
    let text = |tick: &TimerInvocation<_>| String::from_utf8(envelope.encode_timer(tick)).unwrap();
    insta::assert_snapshot!(text(&tick), @r#"{"Data":{"tick":{"IsPastDue":true,"Schedule":{"AdjustForDST":true},"ScheduleStatus":{"Last":"0001-01-01T00:00:00+00:00","LastUpdated":"2026-01-02T04:00:00.25+01:00","Next":"2026-01-02T05:00:00+01:00"}}},"Metadata":{"sys":{"MethodName":"f","RandGuid":"00000000-0000-0000-0000-000000000000","UtcNow":"2026-01-02T03:04:05Z"}}}"#);
    tick.status = None;
    assert!(text(&tick).contains(r#""ScheduleStatus":null"#));
    tick.retry = Some(RetryContext {
        count: 2,
        max_count: None,
        failure: "why".to_owned(),
    });
    let retry = r#""RetryContext":{"Exception":"why","MaxRetryCount":-1,"RetryCount":2}"#;
    assert!(text(&tick).contains(retry));
}
