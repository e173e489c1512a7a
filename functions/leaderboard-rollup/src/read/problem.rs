//! What is answered in place of a board: `application/problem+json` (RFC 9457), as the admin API does.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use nightshift_postgres::{is_not_in_order, is_timed_out, is_unreachable};
use nightshift_telemetry::causes;
use serde_json::json;

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "bad-request",
            title: "The request cannot be read",
            detail: detail.into(),
        }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "not-found",
            title: "There is no such thing",
            detail: detail.into(),
        }
    }

    fn unavailable(detail: String) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "unavailable",
            title: "Something that the answer needs is away",
            detail,
        }
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = json!({
            "type": format!("urn:nightshift:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let why = causes(&error);
        if is_timed_out(&error) {
            return Self::unavailable(
                "Redis does not hold the board, and the database needed longer for this than it may"
                    .to_owned(),
            );
        }
        if is_unreachable(&error) {
            tracing::warn!(error = why, "a leaderboard cannot be read");
            return Self::unavailable(
                "Redis does not hold the board, and the database cannot be used".to_owned(),
            );
        }
        if is_not_in_order(&error) {
            tracing::error!(error = why, "a leaderboard cannot be read");
            return Self::unavailable(
                "the database is not as this release expects it; run `nightshift migrate`"
                    .to_owned(),
            );
        }
        tracing::error!(error = why, "a leaderboard cannot be read");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "internal",
            title: "The API itself failed",
            detail: "the database refused a statement; the handler's log says which".to_owned(),
        }
    }
}
