//! What can go wrong with Redis.

use std::sync::Arc;
use std::time::Duration;

use nightshift_identity::IdentityError;
use nightshift_job::{Classify, Disposition};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The codes of a server that is there and cannot do what it is asked now.
const NOT_READY: [&str; 6] = [
    "OOM",
    "READONLY",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "LOADING",
];

/// Why Redis did not do as it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be reached, or the connection broke.
    #[error("Redis cannot be reached")]
    Unreachable(#[source] RedisError),
    /// It has not answered in time.
    #[error("Redis has not answered within {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// It is there and does not work: it is starting, a replica, or out of memory.
    #[error("Redis is not ready")]
    NotReady(#[source] RedisError),
    /// It does not know the password, or does not let its user do what is needed.
    #[error(
        "Redis does not let us in; look at the user and password of NIGHTSHIFT_REDIS_URL (or whether the identity has an access policy there), and at its rights"
    )]
    Denied(#[source] RedisError),
    /// Nobody gives us a token that would be the password.
    #[error("there is no token to show to Redis")]
    Token(#[source] Arc<IdentityError>),
    /// It has answered something else than was expected.
    #[error("Redis has answered something unexpected")]
    Unexpected(#[source] RedisError),
    /// What was written for a publication is not what is there when it is to be shown.
    #[error(
        "{written} members were written to {key:?} and {found} are there: Redis was emptied meanwhile, or a member was given twice; nothing was shown, publish again"
    )]
    Disturbed {
        /// The temporary key.
        key: String,
        /// How many members were written to it.
        written: u64,
        /// How many it has.
        found: u64,
    },
}

impl CacheError {
    /// For an answer that cannot be read, because of `what` in it.
    pub(crate) fn unreadable(what: String) -> Self {
        let error = (ErrorKind::Parse, "this is not what was written there", what);
        Self::Unexpected(error.into())
    }

    /// Whether the server does not know the script that it was to run.
    pub(crate) fn is_unknown_script(&self) -> bool {
        let kind = ErrorKind::Server(ServerErrorKind::NoScript);
        matches!(self, Self::Unexpected(error) if error.kind() == kind)
    }
}

impl From<RedisError> for CacheError {
    fn from(error: RedisError) -> Self {
        let code = code(&error);
        match (error.kind(), code.as_deref().unwrap_or_default()) {
            (ErrorKind::Io | ErrorKind::ClusterConnectionNotFound, _) => Self::Unreachable(error),
            (ErrorKind::AuthenticationFailed, _)
            // A cluster of which we may not know that it is one.
            | (_, "WRONGPASS" | "NOAUTH" | "NOPERM" | "MOVED") => Self::Denied(error),
            (_, "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN") => Self::NotReady(error),
            (_, code) if NOT_READY.contains(&code) => Self::NotReady(error),
            _ => Self::Unexpected(error),
        }
    }
}

/// What the server calls it. In a transaction that was called off this is why; before Redis 7 what has
/// stopped a script is somewhere in the text.
fn code(error: &RedisError) -> Option<String> {
    if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort) {
        let causes = error.clone().into_server_errors()?;
        return causes.first().map(|(_, cause)| cause.code().to_owned());
    }
    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();
    let within = NOT_READY
        .iter()
        .find(|within| code == "ERR" && detail.contains(&format!(" -{within} ")));
    Some((*within.unwrap_or(&code)).to_owned())
}

/// Each of them ends when somebody does something about the server, or about its rights.
impl Classify for CacheError {
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}
