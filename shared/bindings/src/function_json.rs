//! `function.json`: one function's bindings.
//!
//! The folder's name is the function's name. A file needs at least one binding and exactly one
//! trigger, and binding names are unique without regard to case, as the real host demands. Kinds
//! of bindings that this crate does not know are kept under their name, so that a host can say
//! which one it lacks; what such a host cannot do yet is collected in [`FunctionJson::unsupported`].

use std::path::Path;

use crate::document::Document;
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::reader::Reader;

/// The connection setting of a Service Bus binding that names none.
pub const DEFAULT_CONNECTION: &str = "AzureWebJobsServiceBus";

/// The longest function name, in characters.
const MAX_NAME_CHARS: usize = 128;

/// Whether a folder's name can be a function's name: a letter, then up to 127 letters, digits,
/// `_` and `-`, all ASCII, and not `host`.
pub fn is_function_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && name.len() <= MAX_NAME_CHARS
        && !name.eq_ignore_ascii_case("host")
}

/// How many messages one invocation carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// Exactly one.
    #[default]
    One,
    /// What is waiting, up to `maxMessageBatchSize`.
    Many,
}

/// The form in which a function wants a message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataType {
    /// Not said: a text with `cardinality: one`, a JSON document with `many`.
    #[default]
    Unspecified,
    /// A text.
    String,
    /// Bytes.
    Binary,
}

/// Where a Service Bus trigger receives from. `%NAME%` is not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityPath {
    /// A queue, or its dead-letter queue (`orders/$DeadLetterQueue`).
    Queue(String),
    /// A topic's subscription.
    Subscription {
        /// The topic.
        topic: String,
        /// The subscription.
        subscription: String,
    },
}

/// A `serviceBusTrigger`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceBusTrigger {
    /// The binding's name, under which the body travels in `Data`.
    pub name: String,
    /// Where to receive from.
    pub entity: EntityPath,
    /// The name of the connection setting.
    pub connection: String,
    /// One message per invocation, or many.
    pub cardinality: Cardinality,
    /// The form of the body.
    pub data_type: DataType,
    /// Whether the entity has sessions.
    pub is_sessions_enabled: bool,
    /// Overrides `autoCompleteMessages` of `host.json`.
    pub auto_complete: Option<bool>,
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// A trigger by Service Bus messages.
    ServiceBusTrigger(ServiceBusTrigger),
    /// A binding of another kind.
    Other {
        /// Its `type`, as spelt.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// A read `function.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionJson {
    /// The bindings, in the order of the file.
    pub bindings: Vec<Binding>,
    /// What the file asks for that the host cannot do yet.
    pub unsupported: Vec<ConfigProblem>,
}

impl FunctionJson {
    /// Reads `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigProblems> {
        let document = Document::parse(file, text)?;
        let mut reader = Reader::new(&document);
        let mut read = Self {
            bindings: Vec::new(),
            unsupported: Vec::new(),
        };
        let paths: Vec<String> = reader
            .members("bindings")
            .iter()
            .map(|index| format!("bindings:{index}"))
            .collect();
        if paths.is_empty() {
            reader.problem("bindings", "expected an array with at least one binding");
        } else {
            require_one_trigger(&mut reader, &paths);
            require_unique_names(&mut reader, &paths);
        }
        for path in &paths {
            read.read_binding(&mut reader, path);
        }
        if !reader.is_absent("retry") {
            let what = "is not supported by this host yet: remove it";
            read.unsupported.push(document.problem("retry", what));
        }
        reader.finish().map(|()| read)
    }

    /// The Service Bus trigger, if that is what triggers the function.
    pub fn service_bus_trigger(&self) -> Option<&ServiceBusTrigger> {
        self.bindings.iter().find_map(|binding| match binding {
            Binding::ServiceBusTrigger(trigger) => Some(trigger),
            Binding::Other { .. } => None,
        })
    }

    fn read_binding(&mut self, reader: &mut Reader<'_>, path: &str) {
        let kind = require_text(reader, path, "type", "the kind of binding");
        let name = require_text(reader, path, "name", "the binding's name");
        let (Some(kind), Some(name)) = (kind, name) else {
            return;
        };
        if kind.eq_ignore_ascii_case("serviceBusTrigger") {
            let Some(trigger) = self.read_service_bus_trigger(reader, path, name) else {
                return;
            };
            self.bindings.push(Binding::ServiceBusTrigger(trigger));
        } else {
            let what = format!("{kind:?} is not supported by this host yet");
            self.unsupported
                .push(reader.describe(&format!("{path}:type"), what));
            self.bindings.push(Binding::Other { kind, name });
        }
    }

    fn read_service_bus_trigger(
        &mut self,
        reader: &mut Reader<'_>,
        path: &str,
        name: String,
    ) -> Option<ServiceBusTrigger> {
        let at = |key: &str| format!("{path}:{key}");
        let entity = read_entity(reader, path);
        let trigger = ServiceBusTrigger {
            name,
            connection: match reader.text(&at("connection")) {
                Some(name) if !name.trim().is_empty() => name,
                _ => DEFAULT_CONNECTION.to_owned(),
            },
            cardinality: reader
                .choice(
                    &at("cardinality"),
                    &[("one", Cardinality::One), ("many", Cardinality::Many)],
                )
                .unwrap_or_default(),
            data_type: reader
                .choice(
                    &at("dataType"),
                    &[("string", DataType::String), ("binary", DataType::Binary)],
                )
                .unwrap_or_default(),
            is_sessions_enabled: reader.boolean(&at("isSessionsEnabled"), false),
            auto_complete: reader
                .maybe_boolean(&at("autoCompleteMessages"))
                .or(reader.maybe_boolean(&at("autoComplete"))),
            entity: entity?,
        };
        let mut unsupported = |key: &str, what: &str| {
            let what = format!("{what} are not supported by this host yet");
            self.unsupported.push(reader.describe(&at(key), what));
        };
        if trigger.is_sessions_enabled {
            unsupported("isSessionsEnabled", "sessions");
        }
        if matches!(trigger.entity, EntityPath::Subscription { .. }) {
            unsupported("topicName", "topics and subscriptions");
        }
        Some(trigger)
    }
}

fn read_entity(reader: &mut Reader<'_>, path: &str) -> Option<EntityPath> {
    let at = |key: &str| format!("{path}:{key}");
    let queue = reader.text(&at("queueName"));
    let topic = reader.text(&at("topicName"));
    let subscription = reader.text(&at("subscriptionName"));
    match (queue, topic, subscription) {
        (Some(queue), None, None) if !queue.trim().is_empty() => Some(EntityPath::Queue(queue)),
        (None, Some(topic), Some(subscription)) => Some(EntityPath::Subscription {
            topic,
            subscription,
        }),
        _ => {
            reader.problem(
                path,
                "expected either queueName, or topicName and subscriptionName",
            );
            None
        }
    }
}

fn require_text(reader: &mut Reader<'_>, path: &str, key: &str, what: &str) -> Option<String> {
    let path = format!("{path}:{key}");
    if reader.is_absent(&path) {
        reader.problem(&path, format!("is missing: name {what}"));
    }
    let text = reader.text(&path)?;
    if text.trim().is_empty() {
        reader.problem(&path, format!("is empty: name {what}"));
        return None;
    }
    Some(text)
}

fn require_one_trigger(reader: &mut Reader<'_>, paths: &[String]) {
    let triggers: Vec<&str> = paths
        .iter()
        .filter_map(|path| reader.peek(&format!("{path}:type")))
        .filter(|kind| kind.to_ascii_lowercase().ends_with("trigger"))
        .collect();
    if triggers.len() != 1 {
        let found = if triggers.is_empty() {
            "none".to_owned()
        } else {
            triggers.join(", ")
        };
        reader.problem(
            "bindings",
            format!("expected exactly one trigger, found {found}"),
        );
    }
}

fn require_unique_names(reader: &mut Reader<'_>, paths: &[String]) {
    let mut seen = Vec::new();
    for path in paths {
        let path = format!("{path}:name");
        let Some(name) = reader.peek(&path).map(str::to_lowercase) else {
            continue;
        };
        if seen.contains(&name) {
            reader.problem(
                &path,
                "is the name of another binding, too (case does not count)",
            );
        }
        seen.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FunctionJson, ConfigProblems> {
        FunctionJson::parse(Path::new("f/function.json"), text)
    }

    #[test]
    fn a_service_bus_trigger_is_read_with_its_defaults() {
        let read = parse(
            r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m", "queueName": "q"}]}"#,
        )
        .unwrap();
        let expected = ServiceBusTrigger {
            name: "m".to_owned(),
            entity: EntityPath::Queue("q".to_owned()),
            connection: DEFAULT_CONNECTION.to_owned(),
            cardinality: Cardinality::One,
            data_type: DataType::Unspecified,
            is_sessions_enabled: false,
            auto_complete: None,
        };
        assert_eq!(read.service_bus_trigger(), Some(&expected));
        assert!(read.unsupported.is_empty());
    }

    #[test]
    fn a_service_bus_trigger_is_read_in_full() {
        let read = parse(
            r#"{"bindings": [{"type": "ServiceBusTrigger", "direction": "in", "name": "messages",
                "queueName": "%QUEUE%", "connection": "Bus", "cardinality": "Many",
                "dataType": "binary", "autoCompleteMessages": false, "accessRights": "manage"}]}"#,
        )
        .unwrap();
        let trigger = read.service_bus_trigger().unwrap();
        assert_eq!(trigger.entity, EntityPath::Queue("%QUEUE%".to_owned()));
        assert_eq!(trigger.connection, "Bus");
        assert_eq!(trigger.cardinality, Cardinality::Many);
        assert_eq!(trigger.data_type, DataType::Binary);
        assert_eq!(trigger.auto_complete, Some(false));
    }

    #[test]
    fn what_the_host_cannot_do_yet_is_collected_by_name() {
        let read = parse(
            r#"{"bindings": [
                 {"type": "serviceBusTrigger", "name": "m", "topicName": "t",
                  "subscriptionName": "s", "isSessionsEnabled": true},
                 {"type": "blob", "direction": "out", "name": "b", "path": "x"}],
                "retry": {"strategy": "fixedDelay"}}"#,
        )
        .unwrap();
        let lines: Vec<String> = read.unsupported.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        f/function.json:3:65: bindings[0].isSessionsEnabled: sessions are not supported by this host yet
        f/function.json:2:74: bindings[0].topicName: topics and subscriptions are not supported by this host yet
        f/function.json:4:27: bindings[1].type: "blob" is not supported by this host yet
        f/function.json:5:26: retry: is not supported by this host yet: remove it
        "#);
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_place() {
        let problems = parse(
            r#"{"bindings": [
                 {"type": "serviceBusTrigger", "name": "m", "queueName": "q", "topicName": "t"},
                 {"type": "timerTrigger", "name": "M"},
                 {"name": 7, "type": ""},
                 {"type": "serviceBusTrigger", "name": "n", "queueName": "q",
                  "cardinality": "few", "dataType": "stream", "isSessionsEnabled": "maybe"}
               ]}"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r#"
        f/function.json:1:14: bindings: expected exactly one trigger, found serviceBusTrigger, timerTrigger, serviceBusTrigger
        f/function.json:3:51: bindings[1].name: is the name of another binding, too (case does not count)
        f/function.json:2:18: bindings[0]: expected either queueName, or topicName and subscriptionName
        f/function.json:4:38: bindings[2].type: is empty: name the kind of binding
        f/function.json:4:27: bindings[2].name: expected a text, found 7
        f/function.json:6:34: bindings[3].cardinality: expected "one" or "many", found "few"
        f/function.json:6:53: bindings[3].dataType: expected "string" or "binary", found "stream"
        f/function.json:6:84: bindings[3].isSessionsEnabled: expected true or false, found "maybe"
        "#);
    }

    #[test]
    fn a_file_without_bindings_is_refused() {
        insta::assert_snapshot!(parse("{}").unwrap_err(), @"f/function.json: bindings: expected an array with at least one binding");
        assert!(parse(r#"{"bindings": []}"#).is_err());
        assert!(parse(r#"{"bindings": "none"}"#).is_err());
    }

    #[test]
    fn function_names_are_letters_digits_and_dashes() {
        for name in ["a", "orders-work", "A_1"] {
            assert!(is_function_name(name), "{name}");
        }
        let long = "a".repeat(129);
        for name in ["", "1a", "-a", "a.b", "é", "host", "HOST", long.as_str()] {
            assert!(!is_function_name(name), "{name}");
        }
    }
}
