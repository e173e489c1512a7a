//! One time at which a scheduled function runs, and its name.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// The longest name of a scheduled function, in bytes: a tick's name, which is the id of its message,
/// must fit into the 128 characters that Service Bus allows.
pub const MAX_NAME_LENGTH: usize = 50;

/// What the id of a tick's message begins with.
const PREFIX: &str = "ns-tick:";

/// Why there is a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TickKind {
    /// The schedule says so.
    Scheduled,
    /// Somebody wanted a run now.
    RunNow(RequestId),
    /// Somebody wanted a run for this time, which the schedule names.
    Backfill(RequestId),
}

impl TickKind {
    /// The kind as a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scheduled => "tick",
            Self::RunNow(_) => "run-now",
            Self::Backfill(_) => "backfill",
        }
    }

    /// The request that asked for it, if one did.
    pub fn request(&self) -> Option<&str> {
        match self {
            Self::Scheduled => None,
            Self::RunNow(request) | Self::Backfill(request) => Some(request.as_str()),
        }
    }
}

/// A tick, as the function is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// When it is due.
    pub due: DateTime<Utc>,
    /// Why there is one.
    pub kind: TickKind,
}

impl Tick {
    /// The tick's name under `function`.
    pub fn id(&self, function: &str) -> TickId {
        let due = self.due.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut id = format!("{PREFIX}{function}:{due}");
        if let Some(request) = self.kind.request() {
            id = format!("{id}:{}:{request}", self.kind.name());
        }
        TickId(id)
    }
}

/// The name of a tick, which is also the id of its message: the same whoever writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TickId(String);

impl TickId {
    /// The tick that the message with the id `message_id` belongs to, if it belongs to one.
    pub fn of_message(message_id: &str) -> Option<Self> {
        let id = Self(message_id.to_owned());
        (!id.function().is_empty()).then_some(id)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheduled function.
    pub fn function(&self) -> &str {
        let rest = self.0.strip_prefix(PREFIX);
        let parts = rest.and_then(|rest| rest.split_once(':'));
        parts.map_or("", |(function, _)| function)
    }
}

impl fmt::Display for TickId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The name under which somebody asks for runs: the same request twice is one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

/// A text that cannot name a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request id has 1 to 36 letters, digits, - and _; {0:?} is none")]
pub struct BadRequestId(pub String);

impl RequestId {
    /// The request called `text`.
    pub fn new(text: &str) -> Result<Self, BadRequestId> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=36).contains(&text.len()) && text.bytes().all(is_good) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadRequestId(text.chars().take(60).collect()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
