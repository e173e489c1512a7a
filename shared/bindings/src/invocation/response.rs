//! The answer to an invocation: `{"Outputs": {…}, "Logs": […], "ReturnValue": …}`.
//!
//! Two traps of the real host decide the form. A successful answer with an empty body, or with the
//! literal `null`, never completes the invocation, so the handler always answers an object. And on
//! any status outside 2xx the host throws the body away, so what went wrong must already be in the
//! handler's own log.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::members::Members;

/// What the handler answers when an invocation without outputs succeeded.
pub const SUCCESS: &str = r#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#;

/// The content type that every answer must carry.
pub const CONTENT_TYPE: &str = "application/json";

/// The name of the output binding whose value is `ReturnValue`.
pub const RETURN: &str = "$return";

/// A successful answer as the host reads it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// Values for the output bindings, by binding name.
    pub outputs: Map<String, Value>,
    /// Lines for the invocation's log.
    pub logs: Vec<String>,
    /// The value for the `$return` binding.
    pub return_value: Value,
}

/// Why an answer with a 2xx status still fails its invocation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The content type is not JSON.
    #[error("the handler answered with content type {0:?}, where application/json is needed")]
    ContentType(String),
    /// The body is empty or `null`, on which the real host would wait until its time-out.
    #[error("the handler answered with an empty body; answer a JSON object, at least {{}}")]
    Empty,
    /// The body is JSON but no object, or its members have other types than the contract says.
    #[error("the handler's answer is not an object with the members Outputs, Logs and ReturnValue")]
    Shape(#[source] serde_json::Error),
}

impl Response {
    /// Reads the answer's body. Member names are matched without regard to case and unknown
    /// members are ignored, as the real host does; of members with one name the last counts.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, ResponseError> {
        let kind = content_type
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        let is_json = ["application/json", "text/json"]
            .iter()
            .any(|accepted| kind.eq_ignore_ascii_case(accepted));
        let is_blank = body.trim_ascii().is_empty() || body.trim_ascii() == b"null";
        let is_nothing = body.is_empty() && content_type.is_none();
        if !is_json && !is_nothing {
            return Err(ResponseError::ContentType(
                content_type.unwrap_or("none").to_owned(),
            ));
        }
        if is_blank {
            return Err(ResponseError::Empty);
        }
        let members: Members<'_> = serde_json::from_slice(body).map_err(ResponseError::Shape)?;
        let mut response = Self::default();
        for (name, raw) in members.0 {
            match name.to_ascii_lowercase().as_str() {
                "outputs" => response.outputs = nullable(raw)?,
                "logs" => response.logs = log_lines(nullable(raw)?)?,
                "returnvalue" => response.return_value = nullable(raw)?,
                _ => {}
            }
        }
        Ok(response)
    }

    /// The value of the output binding `name`, in any case; [`RETURN`] names the return value. The
    /// members of a returned object serve as outputs, too, as for the real host.
    pub fn output(&self, name: &str) -> Option<&Value> {
        if name == RETURN {
            return Some(&self.return_value);
        }
        let returned = self.return_value.as_object();
        member(&self.outputs, name).or_else(|| member(returned?, name))
    }
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut members = object.iter();
    let found = members.find(|(member, _)| member.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

fn nullable<T: DeserializeOwned + Default>(raw: &RawValue) -> Result<T, ResponseError> {
    let value: Option<T> = serde_json::from_str(raw.get()).map_err(ResponseError::Shape)?;
    Ok(value.unwrap_or_default())
}

/// A line that is a number or a flag is taken as its text and `null` as nothing, as the real host
/// does; anything else is no line.
fn log_lines(lines: Vec<Value>) -> Result<Vec<String>, ResponseError> {
    let line = |value| match value {
        Value::Null => None,
        Value::String(line) => Some(Ok(line)),
        Value::Bool(_) | Value::Number(_) => Some(Ok(value.to_string())),
        Value::Array(_) | Value::Object(_) => {
            let what = "a line of Logs is no text";
            Some(Err(ResponseError::Shape(serde::de::Error::custom(what))))
        }
    };
    lines.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content_type: Option<&str>, body: &str) -> Result<Response, String> {
        Response::parse(content_type, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_handlers_own_answer_is_a_success() {
        assert_eq!(parse(Some(CONTENT_TYPE), SUCCESS), Ok(Response::default()));
    }

    #[test]
    fn member_names_ignore_case_and_unknown_ones_are_skipped() {
        let body = r#"{"outputs":null,"LOGS":["a",1,true,null],"returnValue":2,"more":[1],
            "ReturnValue":{"x":1}}"#;
        let response = parse(Some("Application/JSON; charset=utf-8"), body).unwrap();
        assert_eq!(response.logs, ["a", "1", "true"]);
        assert_eq!(response.return_value["x"], 1);
    }

    #[test]
    fn what_would_hang_or_confuse_the_real_host_is_refused() {
        let json = Some(CONTENT_TYPE);
        let empty = "the handler answered with an empty body; answer a JSON object, at least {}";
        assert_eq!(parse(json, ""), Err(empty.to_owned()));
        assert_eq!(parse(None, ""), Err(empty.to_owned()));
        assert_eq!(parse(json, " null "), Err(empty.to_owned()));
        assert!(
            parse(Some("text/html"), "<p>")
                .unwrap_err()
                .contains("text/html")
        );
        assert!(parse(None, "{}").unwrap_err().contains("none"));
        assert!(parse(json, "[]").unwrap_err().contains("not an object"));
        assert!(
            parse(json, r#"{"Logs":[{}]}"#)
                .unwrap_err()
                .contains("not an object")
        );
    }
}
