//! A request in the hands of whoever answers it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Datelike, Utc};
use http::{HeaderValue, Request, Response, StatusCode, header};
use nightshift_handler::Registry;
use nightshift_job::JobKey;
use nightshift_postgres::Lease;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Executor, PgConnection};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::Api;
use crate::access::Principal;
use crate::problem::{Kind, Problem};

/// How long the answer to a request may take, a wait for the database included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// Opens a transaction that looks, and one that changes something.
const LOOK: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'";
const CHANGE: &str = "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '20s'";

/// As [`CHANGE`], for what may have to wait for a transaction of work that hangs.
const WAIT: &str = "BEGIN; SET LOCAL lock_timeout = '15s'; SET LOCAL statement_timeout = '20s'";

/// What is answered.
pub(crate) type Answer = Result<Response<Bytes>, Problem>;

/// A request of somebody who may make it.
pub(crate) struct Ask<'a> {
    pub(crate) api: &'a Api,
    pub(crate) app: &'a Registry,
    pub(crate) principal: Principal,
    pub(crate) request: &'a Request<Bytes>,
    /// The values of the parameters in the path.
    pub(crate) parameters: Vec<String>,
}

impl Ask<'_> {
    /// The `n`-th parameter of the path.
    pub(crate) fn parameter(&self, n: usize) -> &str {
        self.parameters.get(n).map_or("", String::as_str)
    }

    /// The `n`-th parameter of the path, as a message's key.
    pub(crate) fn key(&self, n: usize) -> Result<JobKey, Problem> {
        let text = self.parameter(n);
        let key = Uuid::try_parse(text).map_err(|_| {
            let what = format!("{text:?} is no key: 32 hexadecimal digits, as lists show them");
            Problem::bad_request(what)
        })?;
        Ok(JobKey(key))
    }

    /// What stands in the query. A member that is not known is refused.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let query = self.request.uri().query().unwrap_or_default();
        if query.contains("%00") {
            return Err(Problem::bad_request("the query has a NUL character"));
        }
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map_err(|error| Problem::bad_request(format!("the query cannot be read: {error}")))
    }

    /// What stands in the body; an empty one is `{}`. A member that is not known is refused.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = self.request.body();
        if body.is_empty() {
            return read_json(b"{}");
        }
        let kind = self.request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let what = format!("the body's Content-Type is {kind:?}; it must be application/json");
            return Err(Problem::new(Kind::UnsupportedMediaType, what));
        }
        read_json(body)
    }

    /// Begins a transaction that only looks.
    pub(crate) async fn look(&self) -> Result<Tx<'_>, Problem> {
        self.begin(LOOK).await
    }

    /// Begins a transaction that changes something.
    pub(crate) async fn change(&self) -> Result<Tx<'_>, Problem> {
        self.begin(CHANGE).await
    }

    /// Begins a transaction that changes something which somebody may be at work on for long.
    pub(crate) async fn change_patiently(&self) -> Result<Tx<'_>, Problem> {
        self.begin(WAIT).await
    }

    async fn begin(&self, begin: &'static str) -> Result<Tx<'_>, Problem> {
        let turn = self.api.turns.acquire().await;
        let turn = turn.map_err(|_closed| Problem::new(Kind::Internal, "the API is closed"))?;
        let mut lease = Lease::take(self.app.pool()).await?;
        lease.connection().execute(begin).await?;
        Ok(Tx { lease, _turn: turn })
    }
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader);
    let read =
        read.map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))?;
    reader
        .end()
        .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))?;
    Ok(read)
}

/// A transaction. One that is dropped before its end is rolled back, and its connection closed.
pub(crate) struct Tx<'a> {
    lease: Lease,
    /// The work of functions needs connections more.
    _turn: SemaphorePermit<'a>,
}

impl Tx<'_> {
    /// Where its statements go.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.lease.connection()
    }

    /// Commits.
    pub(crate) async fn commit(self) -> Result<(), Problem> {
        self.end("COMMIT").await
    }

    /// Ends it without a trace: for one that has only looked, or is not to be.
    pub(crate) async fn roll_back(self) -> Result<(), Problem> {
        self.end("ROLLBACK").await
    }

    /// Ends it: its effects were wanted, or only to be seen.
    pub(crate) async fn finish(self, dry_run: bool) -> Result<(), Problem> {
        if dry_run {
            self.roll_back().await
        } else {
            self.commit().await
        }
    }

    async fn end(mut self, how: &'static str) -> Result<(), Problem> {
        self.lease.connection().execute(how).await?;
        self.lease.end();
        Ok(())
    }
}

/// The answer that says `what`.
pub(crate) fn json(what: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(what).map_err(|error| {
        tracing::error!(%error, "an answer of the admin API cannot be written");
        Problem::new(Kind::Internal, "the answer cannot be written as JSON")
    })?;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `at`, if the database has room for it.
pub(crate) fn storable_time(name: &str, at: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    if (1970..=9999).contains(&at.year()) {
        return Ok(at);
    }
    Err(Problem::bad_request(format!(
        "{name} must be in the years 1970 to 9999"
    )))
}

/// Two instants, either of which may be open.
pub(crate) type Range = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// The range from `from` to `to`.
pub(crate) fn range(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<Range, Problem> {
    let from = from.map(|at| storable_time("from", at)).transpose()?;
    let to = to.map(|at| storable_time("to", at)).transpose()?;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        let what = format!("from, {from}, must be before to, {to}");
        return Err(Problem::bad_request(what));
    }
    Ok((from, to))
}

/// The longest reason that is taken, in characters.
const LONGEST_WHY: usize = 1000;

/// `why`, if it says something.
pub(crate) fn reason(why: &str) -> Result<&str, Problem> {
    let why = why.trim();
    if why.is_empty() || why.chars().count() > LONGEST_WHY {
        return Err(Problem::bad_request(format!(
            "why must say in 1 to {LONGEST_WHY} characters why, for the audit"
        )));
    }
    Ok(why)
}
