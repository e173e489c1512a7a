//! `host.json`: what an app asks of its host.
//!
//! Every key that this host acts on is typed here; keys it does not know are ignored, as the real
//! host ignores them, because the same file must serve both. A known key with a wrong value is an
//! error with its place and with what is expected, and all such errors come at once. Keys that the
//! real host acts on and that would change what a user sees, but that this host does not act on
//! yet, are collected in [`HostJson::unsupported`], so that it can refuse them by name instead of
//! running the app in some other way than it asks for.

mod custom_handler;
mod http;
mod service_bus;
mod singleton;
mod unsupported;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use custom_handler::{CustomHandler, HandlerDescription, HandlerRoute, HttpMode};
pub use http::HttpOptions;
pub use service_bus::{ClientRetryOptions, ServiceBusOptions};
pub use singleton::SingletonOptions;

use crate::document::{Document, Kind};
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::reader::Reader;
use crate::retry::RetryPolicy;

/// Settings with this prefix override keys: `AzureFunctionsJobHost__functionTimeout`.
pub const OVERRIDE_PREFIX: &str = "AzureFunctionsJobHost__";

/// The function time-out where `host.json` names none, as on every plan but the oldest.
const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_mins(30);

/// How long an invocation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionTimeout {
    /// At most this long.
    After(Duration),
    /// As long as it wants (`"-1"`).
    Unlimited,
}

/// The `NuGet` package of binding extensions that the real host loads. This host has its bindings
/// built in and only reads the key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtensionBundle {
    /// The package.
    pub id: String,
    /// The version range.
    pub version: String,
}

/// A read `host.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostJson {
    /// How long an invocation may take; 30 minutes when not given.
    pub function_timeout: FunctionTimeout,
    /// The only functions to run; empty for all.
    pub functions: Vec<String>,
    /// The handler process, if the app has one.
    pub custom_handler: Option<CustomHandler>,
    /// How Service Bus triggers receive.
    pub service_bus: ServiceBusOptions,
    /// How HTTP functions are reached.
    pub http: HttpOptions,
    /// How hosts decide which of them runs a timer.
    pub singleton: SingletonOptions,
    /// What becomes of runs that fail, for functions that do not say it themselves.
    pub retry: Option<RetryPolicy>,
    /// The extension bundle the real host would load.
    pub extension_bundle: Option<ExtensionBundle>,
    /// Log levels by category in lower case, such as `default` or `function.orders-work.user`.
    pub log_levels: BTreeMap<String, String>,
    /// What the file asks for that this host cannot do yet.
    pub unsupported: Vec<ConfigProblem>,
}

impl HostJson {
    /// Reads `text`, the content of `file`; `settings` are all settings of the host, of which those
    /// that begin with [`OVERRIDE_PREFIX`] (in any case) override the file.
    pub fn parse(
        file: &Path,
        text: &str,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigProblems> {
        let mut document = Document::parse(file, text)?;
        for (name, value) in settings {
            let prefix = name.get(..OVERRIDE_PREFIX.len());
            if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(OVERRIDE_PREFIX)) {
                document.override_with(&name, &name[OVERRIDE_PREFIX.len()..], value);
            }
        }
        let mut reader = Reader::new(&document);
        read_version(&mut reader);
        let host = Self {
            function_timeout: read_function_timeout(&mut reader),
            functions: reader.texts("functions"),
            custom_handler: custom_handler::read(&mut reader),
            service_bus: service_bus::read(&mut reader),
            http: http::read(&mut reader),
            singleton: singleton::read(&mut reader),
            retry: crate::retry::read(&mut reader, "retry"),
            extension_bundle: read_extension_bundle(&mut reader),
            log_levels: read_log_levels(&mut reader),
            unsupported: unsupported::find(&document),
        };
        reader.finish().map(|()| host)
    }
}

fn read_version(reader: &mut Reader<'_>) {
    match reader.scalar("version", "the text \"2.0\"") {
        Some(entry) if entry.text == "2.0" && entry.kind == Kind::Text => {}
        Some(entry) => {
            let what = format!("expected the text \"2.0\", found {}", entry.found());
            reader.problem("version", what);
        }
        None if reader.is_absent("version") => {
            reader.problem("version", "is missing: write \"version\": \"2.0\"");
        }
        None => {}
    }
}

fn read_function_timeout(reader: &mut Reader<'_>) -> FunctionTimeout {
    let path = "functionTimeout";
    if reader
        .scalar(path, "a time span")
        .is_some_and(|entry| entry.text.trim() == "-1")
    {
        return FunctionTimeout::Unlimited;
    }
    match reader.time_span(path) {
        Some(span) if span < Duration::from_secs(1) => {
            reader.problem(
                path,
                "expected at least one second (\"00:00:01\"), or \"-1\" for no limit",
            );
            FunctionTimeout::After(DEFAULT_FUNCTION_TIMEOUT)
        }
        Some(span) => FunctionTimeout::After(span),
        None => FunctionTimeout::After(DEFAULT_FUNCTION_TIMEOUT),
    }
}

fn read_extension_bundle(reader: &mut Reader<'_>) -> Option<ExtensionBundle> {
    let id = reader.text("extensionBundle:id");
    let version = reader.text("extensionBundle:version");
    Some(ExtensionBundle {
        id: id?,
        version: version?,
    })
}

fn read_log_levels(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    const LEVELS: [&str; 7] = [
        "Trace",
        "Debug",
        "Information",
        "Warning",
        "Error",
        "Critical",
        "None",
    ];
    let mut levels = BTreeMap::new();
    for category in reader.members("logging:logLevel") {
        let path = format!("logging:logLevel:{category}");
        let Some(text) = reader.text(&path) else {
            continue;
        };
        match LEVELS
            .iter()
            .find(|level| level.eq_ignore_ascii_case(&text))
        {
            Some(level) => drop(levels.insert(category, (*level).to_owned())),
            None => {
                reader.problem(
                    &path,
                    format!("expected one of {}, found {text:?}", LEVELS.join(", ")),
                );
            }
        }
    }
    levels
}

#[cfg(test)]
mod tests;
