//! The official emulator's `Config.json`: which queues there are, and how they behave.
//!
//! The same file serves both, so a project that has one need not change it. Comments and trailing
//! commas are allowed. The emulator's limits are not kept: fifty entities, an hour to live, ten
//! deliveries. A property that the emulator does not have is refused, since it is more often a slip
//! than a wish; so is a wish that this broker cannot fulfil, since serving the queue without it
//! would be wrong. Topics are the exception: they are left out and named, and whoever uses one is
//! told that it is not there.

mod comments;
mod span;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error, de::IgnoredAny};

use crate::config::QueueConfig;

/// The largest file that is read. Ten thousand queues fit.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// What a configuration file says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The queues, in the order of the file, checked one by one.
    pub queues: Vec<QueueConfig>,
    /// The names of topics, which this broker does not serve.
    pub topics: Vec<String>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// It could not be read at all.
    #[error("could not read {}", file.display())]
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Its content is wrong.
    #[error("{}:{line}:{column}: {path}: {what}", file.display())]
    Invalid {
        /// The file as it was named.
        file: PathBuf,
        /// Where the value ends that is wrong, counted from 1. The column counts bytes.
        line: usize,
        /// See `line`.
        column: usize,
        /// Which value it is, such as `UserConfig.Namespaces[0].Queues[2].Properties.LockDuration`.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl ConfigFile {
    /// Reads a file of at most 8 MiB.
    pub fn read(file: &Path) -> Result<Self, ConfigFileError> {
        let unreadable = |source| ConfigFileError::Unreadable {
            file: file.to_owned(),
            source,
        };
        let mut text = String::new();
        let opened = File::open(file).map_err(unreadable)?;
        let mut limited = opened.take(MAX_BYTES + 1);
        limited.read_to_string(&mut text).map_err(unreadable)?;
        if limited.limit() == 0 {
            let text = format!("it is larger than {MAX_BYTES} bytes");
            return Err(unreadable(io::Error::new(
                io::ErrorKind::FileTooLarge,
                text,
            )));
        }
        Self::parse(file, &text)
    }

    /// Reads the content of a file, which is named in errors only.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigFileError> {
        let text = comments::blank(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut json = serde_json::Deserializer::from_str(&text);
        let document: Document = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| invalid(file, &error.path().to_string(), error.inner()))?;
        json.end().map_err(|error| invalid(file, ".", &error))?;
        let [namespace] = document.user_config.namespaces.0;
        let name = |topic: Topic| topic.name;
        Ok(Self {
            queues: namespace.queues.into_iter().map(|queue| queue.0).collect(),
            topics: namespace.topics.into_iter().map(name).collect(),
        })
    }
}

fn invalid(file: &Path, path: &str, error: &serde_json::Error) -> ConfigFileError {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = error.to_string();
    ConfigFileError::Invalid {
        file: file.to_owned(),
        line: error.line(),
        column: error.column(),
        path: if path == "." { "the file" } else { path }.to_owned(),
        what: what.strip_suffix(&position).unwrap_or(&what).to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "UserConfig")]
    user_config: UserConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UserConfig {
    namespaces: OneNamespace,
    #[serde(default, rename = "Logging")]
    _logging: Option<IgnoredAny>,
}

/// The emulator has exactly one namespace, and so has this broker.
struct OneNamespace([Namespace; 1]);

impl<'de> Deserialize<'de> for OneNamespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let namespaces = Vec::<Namespace>::deserialize(deserializer)?;
        let count = namespaces.len();
        let one = namespaces.try_into();
        one.map(Self)
            .map_err(|_| D::Error::custom(format!("expected one namespace, found {count}")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Namespace {
    #[serde(default, rename = "Name")]
    _name: Option<String>,
    #[serde(default)]
    queues: Vec<Queue>,
    #[serde(default)]
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Topic {
    name: String,
}

/// A queue whose settings are in order.
#[derive(Deserialize)]
#[serde(try_from = "QueueEntry")]
struct Queue(QueueConfig);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct QueueEntry {
    name: String,
    #[serde(default)]
    properties: Properties,
}

/// What a queue can be told. A value left out is the service's default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    dead_lettering_on_message_expiration: Option<bool>,
    #[serde(default, deserialize_with = "span")]
    default_message_time_to_live: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    duplicate_detection_history_time_window: Option<Duration>,
    #[serde(default)]
    forward_dead_lettered_messages_to: Option<String>,
    #[serde(default)]
    forward_to: Option<String>,
    #[serde(default, deserialize_with = "span")]
    lock_duration: Option<Duration>,
    #[serde(default)]
    max_delivery_count: Option<u32>,
    #[serde(default)]
    requires_duplicate_detection: Option<bool>,
    #[serde(default)]
    requires_session: Option<bool>,
}

/// The window of duplicate detection when none is given: the service's.
const DEFAULT_WINDOW: Duration = Duration::from_mins(10);

impl TryFrom<QueueEntry> for Queue {
    type Error = crate::BrokerError;

    fn try_from(entry: QueueEntry) -> Result<Self, Self::Error> {
        let given = entry.properties;
        let mut queue = QueueConfig::new(entry.name);
        queue.default_ttl = given.default_message_time_to_live;
        if let Some(yes) = given.dead_lettering_on_message_expiration {
            queue.dead_letter_on_expiration = yes;
        }
        if let Some(yes) = given.requires_session {
            queue.requires_session = yes;
        }
        // The emulator's own sample says "nowhere" by an empty text.
        let somewhere = |target: &String| !target.is_empty();
        queue.forward_to = given.forward_to.filter(somewhere);
        queue.forward_dead_letters_to = given.forward_dead_lettered_messages_to.filter(somewhere);
        if let Some(lock_duration) = given.lock_duration {
            queue.lock_duration = lock_duration;
        }
        if let Some(count) = given.max_delivery_count {
            queue.max_delivery_count = count;
        }
        if given.requires_duplicate_detection == Some(true) {
            let window = given.duplicate_detection_history_time_window;
            queue.duplicate_detection = Some(window.unwrap_or(DEFAULT_WINDOW));
        }
        queue.check()?;
        Ok(Self(queue))
    }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let span = span::parse(&text).ok_or_else(|| {
        let what = format!("{text:?} is not a duration such as PT1M (a minute) or P7D (a week)");
        D::Error::custom(what)
    });
    span.map(Some)
}

#[cfg(test)]
mod tests;
