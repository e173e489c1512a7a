//! From an output's value to messages.
//!
//! An array, or a text that holds a JSON array, is one message for each element; anything else is
//! one message. A text is its own bytes and everything else its JSON. Strict mode has the real
//! host's ways with it: a text that happens to be base64 becomes the bytes it stands for (unless the
//! binding says `"dataType": "binary"`), a text that holds JSON is written anew, with line breaks,
//! and `true` is `True`.

use nightshift_bindings::function_json::DataType;
use nightshift_bus::Message;
use serde_json::Value;

use super::from_base64;
use crate::app::Mode;

/// The messages that `value` stands for.
pub(super) fn messages(
    value: &Value,
    data_type: DataType,
    mode: Mode,
) -> Result<Vec<Message>, &'static str> {
    let one = |body: String| vec![Message::new(body)];
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(elements) => Ok(each(elements, mode)),
        Value::String(text) => {
            if mode == Mode::Strict
                && data_type != DataType::Binary
                && let Some(bytes) = from_base64(text)
            {
                return Ok(vec![Message::new(bytes)]);
            }
            match (looks_like_json(text), mode) {
                (false, _) => Ok(one(text.clone())),
                (true, mode) => match (serde_json::from_str(text), mode) {
                    (Ok(Value::Array(elements)), _) => Ok(each(&elements, mode)),
                    (Ok(document), Mode::Strict) => Ok(one(spelt(&document, mode))),
                    (Err(_), Mode::Strict) => Err("it begins and ends like JSON and is none"),
                    (_, Mode::Default) => Ok(one(text.clone())),
                },
            }
        }
        other => Ok(one(spelt(other, mode))),
    }
}

/// One message for each element. Nothing is no message, but for the real host an empty one.
fn each(elements: &[Value], mode: Mode) -> Vec<Message> {
    let is_message = |element: &&Value| mode == Mode::Strict || !element.is_null();
    let bodies = elements.iter().filter(is_message);
    bodies
        .map(|element| Message::new(spelt(element, mode)))
        .collect()
}

/// A value as a message's body.
fn spelt(value: &Value, mode: Mode) -> String {
    match (value, mode) {
        (Value::String(text), _) => text.clone(),
        (_, Mode::Default) => value.to_string(),
        (Value::Null, Mode::Strict) => String::new(),
        (Value::Bool(true), Mode::Strict) => "True".to_owned(),
        (Value::Bool(false), Mode::Strict) => "False".to_owned(),
        (_, Mode::Strict) => format!("{value:#}"),
    }
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim();
    let is_within = |open, close| text.starts_with(open) && text.ends_with(close);
    is_within('{', '}') || is_within('[', ']')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bodies(value: &Value, data_type: DataType, mode: Mode) -> Vec<String> {
        let messages = messages(value, data_type, mode).unwrap();
        let text = |message: &Message| String::from_utf8_lossy(&message.body).into_owned();
        messages.iter().map(text).collect()
    }

    #[test]
    fn arrays_are_many_messages_and_everything_else_is_one() {
        for (value, expected) in [
            (json!(null), vec![]),
            (json!("hello"), vec!["hello"]),
            (json!("done"), vec!["done"]),
            (json!(7), vec!["7"]),
            (json!(true), vec!["true"]),
            (json!({"a": [1, "x"]}), vec!["{\"a\":[1,\"x\"]}"]),
            (json!([]), vec![]),
            (
                json!(["a", {"b": 1}, null, [2], false]),
                vec!["a", "{\"b\":1}", "[2]", "false"],
            ),
            (json!(" [\"a\", {\"b\": 1}]"), vec!["a", "{\"b\":1}"]),
            (json!("{\"b\": 1}"), vec!["{\"b\": 1}"]),
            (json!("[not json]"), vec!["[not json]"]),
        ] {
            let found = bodies(&value, DataType::Unspecified, Mode::Default);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn strict_mode_has_the_real_hosts_quirks() {
        let strict = |value| bodies(&value, DataType::Unspecified, Mode::Strict);
        assert_eq!(strict(json!("aGk=")), ["hi"]);
        assert_eq!(strict(json!(["aGk="])), ["aGk="]);
        assert_eq!(
            bodies(&json!("aGk="), DataType::Binary, Mode::Strict),
            ["aGk="]
        );
        assert_eq!(strict(json!({"b": 1})), ["{\n  \"b\": 1\n}"]);
        assert_eq!(strict(json!("{\"b\":1}")), ["{\n  \"b\": 1\n}"]);
        assert_eq!(strict(json!([true, null])), ["True", ""]);
        let wrong = messages(&json!("{x}"), DataType::Unspecified, Mode::Strict);
        assert!(wrong.is_err());
    }
}
