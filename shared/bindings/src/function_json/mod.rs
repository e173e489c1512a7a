//! `function.json`: one function's bindings.
//!
//! The folder's name is the function's name. A file needs at least one binding and exactly one
//! trigger, and binding names are unique without regard to case, as the real host demands. Kinds
//! of bindings that this crate does not know are kept under their name, so that a host can say
//! which one it lacks; what such a host cannot do yet is collected in [`FunctionJson::unsupported`].

mod http;
mod service_bus;
mod timer;

use std::path::Path;

use crate::document::Document;
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::reader::Reader;
use crate::retry::RetryPolicy;
pub use http::{AuthLevel, HttpOutput, HttpTrigger};
pub use service_bus::{
    Cardinality, DEFAULT_CONNECTION, EntityPath, ServiceBusOutput, ServiceBusTrigger,
};
pub use timer::TimerTrigger;

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

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// A trigger by Service Bus messages.
    ServiceBusTrigger(ServiceBusTrigger),
    /// A trigger by HTTP requests.
    HttpTrigger(HttpTrigger),
    /// A trigger by the clock.
    TimerTrigger(TimerTrigger),
    /// The answer to an HTTP request.
    HttpOutput(HttpOutput),
    /// Messages to send.
    ServiceBusOutput(ServiceBusOutput),
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
    /// What becomes of runs that fail.
    pub retry: Option<RetryPolicy>,
    /// What the file asks for that the host cannot do yet.
    pub unsupported: Vec<ConfigProblem>,
    document: Document,
}

impl FunctionJson {
    /// Reads `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigProblems> {
        let document = Document::parse(file, text)?;
        let mut reader = Reader::new(&document);
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
        let mut unsupported = Vec::new();
        let bindings = paths
            .iter()
            .filter_map(|path| read_binding(&mut reader, path, &mut unsupported))
            .collect();
        let retry = crate::retry::read(&mut reader, "retry");
        reader.finish()?;
        Ok(Self {
            bindings,
            retry,
            unsupported,
            document,
        })
    }

    /// The trigger, if this crate knows its kind.
    pub fn trigger(&self) -> Option<&Binding> {
        self.bindings.iter().find(|binding| {
            matches!(
                binding,
                Binding::ServiceBusTrigger(_) | Binding::HttpTrigger(_) | Binding::TimerTrigger(_)
            )
        })
    }

    /// The Service Bus trigger, if that is what triggers the function.
    pub fn service_bus_trigger(&self) -> Option<&ServiceBusTrigger> {
        self.bindings.iter().find_map(|binding| match binding {
            Binding::ServiceBusTrigger(trigger) => Some(trigger),
            _ => None,
        })
    }

    /// The binding for the answer to an HTTP request, if there is one.
    pub fn http_output(&self) -> Option<&HttpOutput> {
        self.bindings.iter().find_map(|binding| match binding {
            Binding::HttpOutput(output) => Some(output),
            _ => None,
        })
    }

    /// The bindings by which messages are sent, each with its position among all bindings.
    pub fn service_bus_outputs(&self) -> impl Iterator<Item = (usize, &ServiceBusOutput)> {
        let bindings = self.bindings.iter().enumerate();
        bindings.filter_map(|(index, binding)| match binding {
            Binding::ServiceBusOutput(output) => Some((index, output)),
            _ => None,
        })
    }

    /// A problem of the member `key` of the trigger, found by whoever knows more than the file.
    pub fn trigger_problem(&self, key: &str, what: impl Into<String>) -> ConfigProblem {
        let trigger = self.trigger();
        let mut bindings = self.bindings.iter();
        let index = bindings.position(|binding| Some(binding) == trigger);
        self.binding_problem(index.unwrap_or_default(), key, what)
    }

    /// A problem of the top-level member `key`.
    pub fn problem(&self, key: &str, what: impl Into<String>) -> ConfigProblem {
        self.document.problem(key, what)
    }

    /// A problem of the member `key` of the binding at the position `index`.
    pub fn binding_problem(
        &self,
        index: usize,
        key: &str,
        what: impl Into<String>,
    ) -> ConfigProblem {
        // Every binding of a file without problems has been read, so the positions agree.
        self.document
            .problem(&format!("bindings:{index}:{key}"), what)
    }
}

/// What a binding's reader works with.
struct Trace<'r, 'd> {
    reader: &'r mut Reader<'d>,
    path: &'r str,
    unsupported: &'r mut Vec<ConfigProblem>,
}

impl Trace<'_, '_> {
    /// The path of the binding's member `key`.
    fn at(&self, key: &str) -> String {
        format!("{}:{key}", self.path)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let path = self.at(key);
        self.reader.text(&path)
    }

    fn boolean(&mut self, key: &str, default: bool) -> bool {
        let path = self.at(key);
        self.reader.boolean(&path, default)
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let path = self.at(key);
        self.reader.choice(&path, choices)
    }

    fn problem(&mut self, key: &str, what: impl Into<String>) {
        let path = self.at(key);
        self.reader.problem(&path, what);
    }

    /// Demands that the binding's direction is `right`; triggers may leave theirs out.
    fn require_direction(&mut self, right: &str) {
        if let Some(found) = self.text("direction")
            && !found.eq_ignore_ascii_case(right)
        {
            self.problem("direction", format!("expected {right:?}, found {found:?}"));
        }
        let path = self.at("direction");
        if right == "out" && self.reader.is_absent(&path) {
            self.problem("direction", "is missing: write \"direction\": \"out\"");
        }
    }

    fn data_type(&mut self) -> DataType {
        let types = [("string", DataType::String), ("binary", DataType::Binary)];
        self.choice("dataType", &types).unwrap_or_default()
    }

    fn unsupported(&mut self, key: &str, what: String) {
        let problem = self.reader.describe(&self.at(key), what);
        self.unsupported.push(problem);
    }
}

/// `None` if the binding has a problem that leaves nothing to hold on to.
fn read_binding(
    reader: &mut Reader<'_>,
    path: &str,
    unsupported: &mut Vec<ConfigProblem>,
) -> Option<Binding> {
    let kind = require_text(reader, path, "type", "the kind of binding");
    let name = require_text(reader, path, "name", "the binding's name");
    let (kind, name) = (kind?, name?);
    let mut trace = Trace {
        reader,
        path,
        unsupported,
    };
    match kind.to_ascii_lowercase().as_str() {
        "servicebustrigger" => service_bus::read(&mut trace, name).map(Binding::ServiceBusTrigger),
        "httptrigger" => Some(Binding::HttpTrigger(http::read_trigger(&mut trace, name))),
        "timertrigger" => timer::read(&mut trace, name).map(Binding::TimerTrigger),
        "http" => Some(Binding::HttpOutput(http::read_output(&mut trace, name))),
        "servicebus" => service_bus::read_output(&mut trace, name).map(Binding::ServiceBusOutput),
        _ => {
            let what = format!("{kind:?} is not supported by this host yet");
            trace.unsupported("type", what);
            Some(Binding::Other { kind, name })
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
mod tests;
