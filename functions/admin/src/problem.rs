//! What the API answers when it does not do what was asked: `application/problem+json` (RFC 9457) with a
//! `type` that never changes for one kind of problem.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use nightshift_postgres::schedule::ScheduleError;
use nightshift_postgres::{is_conflict, is_not_in_order, is_timed_out, is_unreachable};
use nightshift_telemetry::causes;
use serde::Serialize;
use utoipa::ToSchema;

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The request cannot be read: a parameter, a filter, a cursor, a body.
    BadRequest,
    /// Nobody knows who asks.
    Unauthenticated,
    /// Whoever asks may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// What is asked for does not fit what is there now, or somebody else was faster.
    Conflict,
    /// What was to be changed has been changed by somebody else since it was read.
    Changed,
    /// The body is too long.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// Too many failures from there.
    TooManyFailures,
    /// The API itself failed.
    Internal,
    /// Something that the answer needs is away: the database, Redis, the broker.
    Unavailable,
}

impl Kind {
    /// All of them, for the documentation.
    pub const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Changed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyFailures,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The word that ends its `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::Changed => "changed",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::TooManyFailures => "too-many-failures",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// A sentence that is the same for all problems of the kind.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be read",
            Self::Unauthenticated => "It is not known who asks",
            Self::Forbidden => "This is not allowed",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The method does not fit the path",
            Self::Conflict => "This does not fit what is there now",
            Self::Changed => "Somebody else has changed it",
            Self::TooLarge => "The body is too long",
            Self::UnsupportedMediaType => "The body is not JSON",
            Self::TooManyFailures => "Too many failures from here",
            Self::Internal => "The API failed",
            Self::Unavailable => "Something that is needed is away",
        }
    }

    /// Its status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyFailures => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A problem with one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.title())]
pub struct Problem {
    pub(crate) kind: Kind,
    /// What it is about in this case, and what to do.
    pub(crate) detail: String,
    /// For how many seconds trying again is useless.
    pub(crate) retry_after: Option<u64>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Sent<'a> {
    /// The kind of problem, a URI that never changes.
    #[schema(example = "urn:nightshift:problem:not-found")]
    r#type: String,
    /// A sentence about the kind.
    title: &'a str,
    /// The answer's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What it is about in this case, and what to do.
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after = (kind == Kind::Unavailable).then_some(5);
        Self {
            kind,
            detail: detail.into(),
            retry_after,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    /// The answer that says it.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let status = self.kind.status();
        let sent = Sent {
            r#type: format!("urn:nightshift:problem:{}", self.kind.name()),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&sent).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = header::HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == Kind::Unauthenticated {
            let bearer = header::HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let why = causes(&error);
        if is_timed_out(&error) {
            let what = "the database needed longer for this than it may; ask for less at a time";
            let mut problem = Self::new(Kind::Unavailable, what);
            problem.retry_after = None;
            problem
        } else if is_unreachable(&error) {
            Self::new(
                Kind::Unavailable,
                format!("the database cannot be used: {why}"),
            )
        } else if is_conflict(&error) {
            Self::conflict(format!("somebody else is at work on it, try again: {why}"))
        } else if is_not_in_order(&error) {
            let what = format!(
                "the database is not as this release expects it; run `nightshift migrate`: {why}"
            );
            Self::new(Kind::Unavailable, what)
        } else {
            tracing::error!(error = why, "a request of the admin API failed");
            Self::new(
                Kind::Internal,
                "the database refused a statement; the handler's log says which",
            )
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Database(error) => error.into(),
            ScheduleError::Unknown(_) => Self::not_found(error.to_string()),
            ScheduleError::TooMany { .. } | ScheduleError::NotOver { .. } => {
                Self::bad_request(error.to_string())
            }
            error => {
                tracing::error!(error = causes(&error), "a request of the admin API failed");
                Self::new(Kind::Internal, causes(&error))
            }
        }
    }
}
