//! What can go wrong with Redis.

use std::time::Duration;

use nightshift_job::{Classify, Disposition};
use redis::{ErrorKind, RedisError, ServerErrorKind};

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
        "Redis does not let us in; look at the user and password of NIGHTSHIFT_REDIS_URL, and at its rights"
    )]
    Denied(#[source] RedisError),
    /// It has answered something else than was expected.
    #[error("Redis has answered something unexpected")]
    Unexpected(#[source] RedisError),
}

impl From<RedisError> for CacheError {
    fn from(error: RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        match (error.kind(), code) {
            (ErrorKind::Io, _) => Self::Unreachable(error),
            (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
            | (_, "WRONGPASS" | "NOAUTH") => Self::Denied(error),
            (
                ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain,
                ),
                _,
            )
            | (_, "OOM" | "BUSY" | "MISCONF" | "NOREPLICAS") => Self::NotReady(error),
            _ => Self::Unexpected(error),
        }
    }
}

/// Each of them ends when somebody does something about the server, or about its rights.
impl Classify for CacheError {
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}
