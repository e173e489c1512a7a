use super::*;

fn parse(text: &str) -> Result<ConfigFile, ConfigFileError> {
    ConfigFile::parse(Path::new("Config.json"), text)
}

fn with_queues(queues: &str) -> String {
    format!(
        r#"{{"UserConfig": {{"Namespaces": [{{"Name": "sbemulatorns", "Queues": {queues}}}]}}}}"#
    )
}

fn with_properties(properties: &str) -> String {
    with_queues(&format!(
        r#"[{{"Name": "q", "Properties": {{{properties}}}}}]"#
    ))
}

fn problem(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The shape of the emulator's own sample, with its comments.
const SAMPLE: &str = r#"{
  // One namespace, as the emulator has it.
  "UserConfig": {
    "Namespaces": [
      {
        "Name": "sbemulatorns",
        "Queues": [
          {
            "Name": "queue.1",
            "Properties": {
              "DeadLetteringOnMessageExpiration": false,
              "DefaultMessageTimeToLive": "PT1H",
              "DuplicateDetectionHistoryTimeWindow": "PT20S",
              "ForwardDeadLetteredMessagesTo": "",
              "ForwardTo": "",
              "LockDuration": "PT1M",
              "MaxDeliveryCount": 3,
              "RequiresDuplicateDetection": true,
              "RequiresSession": false
            }
          },
          { "Name": "plain" }, /* defaults */
        ],
        "Topics": [
          {
            "Name": "topic.1",
            "Properties": { "RequiresDuplicateDetection": false },
            "Subscriptions": [{ "Name": "s", "Rules": [] }]
          }
        ]
      }
    ],
    "Logging": { "Type": "File" }
  }
}"#;

#[test]
fn the_emulators_sample_is_understood() {
    let file = parse(SAMPLE).unwrap();
    assert_eq!(file.topics, ["topic.1"]);
    let [first, plain] = file.queues.try_into().unwrap();
    assert_eq!(
        (first.name.as_str(), first.max_delivery_count),
        ("queue.1", 3)
    );
    assert_eq!(first.default_ttl, Some(Duration::from_hours(1)));
    assert_eq!(first.lock_duration, Duration::from_mins(1));
    assert_eq!(first.duplicate_detection, Some(Duration::from_secs(20)));
    assert!(!first.dead_letter_on_expiration);
    assert_eq!(
        (plain.name.as_str(), plain.max_delivery_count),
        ("plain", 10)
    );
    assert_eq!((plain.default_ttl, plain.duplicate_detection), (None, None));
}

#[test]
fn the_emulators_limits_are_not_kept() {
    let file = parse(&with_properties(
        r#""MaxDeliveryCount": 2000, "DefaultMessageTimeToLive": "P10675199DT2H48M5.4775807S""#,
    ));
    assert_eq!(file.unwrap().queues[0].max_delivery_count, 2_000);
    let many: Vec<String> = (0..500).map(|n| format!(r#"{{"Name": "q{n}"}}"#)).collect();
    let file = parse(&with_queues(&format!("[{}]", many.join(",")))).unwrap();
    assert_eq!(file.queues.len(), 500);
}

#[test]
fn a_window_without_detection_means_nothing_and_detection_without_a_window_ten_minutes() {
    let window = r#""DuplicateDetectionHistoryTimeWindow": "PT1M""#;
    let file = parse(&with_properties(window)).unwrap();
    assert_eq!(file.queues[0].duplicate_detection, None);
    let file = parse(&with_properties(r#""RequiresDuplicateDetection": true"#)).unwrap();
    let ten_minutes = Duration::from_mins(10);
    assert_eq!(file.queues[0].duplicate_detection, Some(ten_minutes));
}

#[test]
fn a_queue_can_require_sessions() {
    let file = parse(&with_properties(r#""RequiresSession": true"#)).unwrap();
    assert!(file.queues[0].requires_session);
    let file = parse(&with_properties(r#""RequiresSession": null"#)).unwrap();
    assert!(!file.queues[0].requires_session);
}

#[test]
fn a_queue_can_forward_its_messages_and_its_dead_letters() {
    let properties = r#""ForwardTo": "a", "ForwardDeadLetteredMessagesTo": "b""#;
    let file = parse(&with_properties(properties)).unwrap();
    let queue = &file.queues[0];
    assert_eq!(queue.forward_to.as_deref(), Some("a"));
    assert_eq!(queue.forward_dead_letters_to.as_deref(), Some("b"));
    let nowhere = "\"ForwardTo\": \"\"";
    let file = parse(&with_properties(nowhere)).unwrap();
    assert_eq!(file.queues[0].forward_to, None);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let mistyped = SAMPLE.replace("\"PT1M\"", "\"1 minute\"");
    assert_eq!(
        problem(&mistyped),
        "Config.json:16:40: UserConfig.Namespaces[0].Queues[0].Properties.LockDuration: \
         \"1 minute\" is not a duration such as PT1M (a minute) or P7D (a week)"
    );
    let unknown = SAMPLE.replace("LockDuration", "LockDuraton");
    let unknown = problem(&unknown);
    assert!(unknown.starts_with("Config.json:16:27: "), "{unknown}");
    assert!(unknown.contains("unknown field `LockDuraton`"), "{unknown}");
    let cut = problem(&SAMPLE[..200]);
    assert!(
        cut.starts_with("Config.json:10:13: UserConfig.Namespaces[0]"),
        "{cut}"
    );
}

#[test]
fn wishes_that_cannot_be_fulfilled_are_refused() {
    for (properties, expected) in [
        (
            r#""ForwardTo": "other", "RequiresSession": true"#,
            "requires sessions, and so cannot forward",
        ),
        (
            r#""MaxDeliveryCount": 0"#,
            "needs a max delivery count of at least 1",
        ),
        (
            r#""MaxDeliveryCount": -1"#,
            "invalid value: integer `-1`, expected u32",
        ),
        (
            r#""LockDuration": "PT6M""#,
            "needs a lock duration above zero and up to 5 minutes",
        ),
        (r#""RequiresSession": "no""#, "expected a boolean"),
    ] {
        let said = problem(&with_properties(properties));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn other_documents_are_refused_without_ado() {
    for (text, expected) in [
        (String::new(), "EOF while parsing"),
        ("[]".to_owned(), "expected struct Document"),
        ("{}".to_owned(), "missing field `UserConfig`"),
        (format!("{SAMPLE} {{}}"), "trailing characters"),
        (
            r#"{"UserConfig": {"Namespaces": []}}"#.to_owned(),
            "expected one namespace, found 0",
        ),
        (with_queues(r#"[{"Name": "a b"}]"#), "may contain letters"),
        (with_queues(&"[".repeat(100_000)), "Queues[0]"),
        (
            format!(r#"{{"UserConfig": {{"Logging": {}"#, "[".repeat(100_000)),
            "EOF while parsing",
        ),
    ] {
        let said = problem(&text);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ConfigFile::read(Path::new("no/such/Config.json")).unwrap_err();
    assert_eq!(error.to_string(), "could not read no/such/Config.json");
}
