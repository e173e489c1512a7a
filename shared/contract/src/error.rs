//! Why a payload was refused.

/// Why the body of a message is not the payload it should be. Every one of these is permanent: the
/// same bytes will never decode, so the message is dead-lettered at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The message has no body.
    #[error("the body is empty; send a JSON object")]
    Empty,
    /// The body is longer than the configured limit.
    #[error(
        "the body has {size_bytes} bytes, more than the limit of {limit_bytes}; store large content elsewhere and send a reference"
    )]
    TooLarge {
        /// The body's length.
        size_bytes: usize,
        /// The limit in force.
        limit_bytes: usize,
    },
    /// The body is not text.
    #[error("the body is not UTF-8: byte {position} does not belong; send JSON encoded as UTF-8")]
    NotUtf8 {
        /// The offset of the first byte that is not part of a character, from 0.
        position: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but no object.
    #[error(
        "the body is JSON but not an object; send an object such as {{\"schema_version\": 1, …}}"
    )]
    NotAnObject,
    /// A property has the name of a trigger's metadata, over which the Functions host would write
    /// it for bindings without a data type.
    #[error(
        "the body has a property {0:?}, a name that the Functions host keeps for the message's own metadata; rename it or move it below another property"
    )]
    ReservedName(String),
    /// A `CloudEvents` envelope that cannot be unwrapped.
    #[error("the CloudEvents envelope cannot be read: {0}")]
    CloudEvent(String),
    /// There is no schema version, or it is not a whole number.
    #[error(
        "the property \"schema_version\" must be a whole number; this release reads {oldest} to {newest}"
    )]
    NoSchemaVersion {
        /// The oldest version that this release reads.
        oldest: u32,
        /// The newest version that this release reads.
        newest: u32,
    },
    /// A schema version that this release does not know.
    #[error("schema version {found} is not known; this release reads {oldest} to {newest}")]
    UnknownSchemaVersion {
        /// The version of the message.
        found: u64,
        /// The oldest version that this release reads.
        oldest: u32,
        /// The newest version that this release reads.
        newest: u32,
    },
    /// A property is missing, has the wrong type or a value that is not allowed.
    #[error("{path}: {what}")]
    Property {
        /// Where it stands, such as `data.items[3].name`; `.` is the payload itself.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl PayloadError {
    /// The reason as a short, stable word for a dead letter, fit for grouping and alerting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty-body",
            Self::TooLarge { .. } => "body-too-large",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::NotJson(_) => "not-json",
            Self::NotAnObject => "not-an-object",
            Self::ReservedName(_) => "reserved-name",
            Self::CloudEvent(_) => "bad-cloud-event",
            Self::NoSchemaVersion { .. } => "no-schema-version",
            Self::UnknownSchemaVersion { .. } => "unknown-schema-version",
            Self::Property { .. } => "invalid-property",
        }
    }
}
