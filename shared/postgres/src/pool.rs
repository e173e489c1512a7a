//! The connection pool, and which of its errors mean what.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use nightshift_settings::{ExposeSecret, Reader};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use tokio::time::timeout;

use crate::pooler::{self, is_misplaced};

/// How long a call waits for a free or new connection. Short, because the caller holds a batch of
/// locked messages and tries again itself while their locks allow.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens a transaction in which a statement that hangs is ended, well before the locks of the messages
/// that it works for end. Time-outs are said in the transaction, because what a connection is told before
/// holds for another client's transactions too where there is a pooler.
pub const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '20s'";

/// How long a step of background work may take, for which nobody waits with a time of his own.
pub const BACKGROUND: Duration = Duration::from_mins(1);

/// Where the database is and how many connections to hold at most.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    options: PgConnectOptions,
    max_connections: u32,
}

impl PostgresSettings {
    /// The setting that holds the connection URL.
    pub const URL: &'static str = "NIGHTSHIFT_POSTGRES_URL";

    /// Reads `NIGHTSHIFT_POSTGRES_URL` (required) and `NIGHTSHIFT_POSTGRES_MAX_CONNECTIONS`
    /// (default 8). `None` means that a problem was written down.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const MAX: &str = "NIGHTSHIFT_POSTGRES_MAX_CONNECTIONS";
        let url = reader.secret(Self::URL);
        let max_connections = reader.optional(MAX, 8);
        if max_connections == 0 {
            reader.problem(MAX, "must be at least 1");
        }
        let url = url?;
        let url = url.expose_secret();
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        let parsed = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres);
        let Some(options) = parsed else {
            // The parser's own message may quote the URL, and with it the password.
            reader.problem(
                Self::URL,
                "is not a URL of the form postgres://user:password@host:5432/database",
            );
            return None;
        };
        Some(Self {
            options,
            max_connections,
        })
    }

    /// A pool that connects when it is first used, so that a process can answer its readiness probe
    /// before the database does. One connection is taken per invocation and not pinged first: a
    /// dead one shows itself at the first statement, and the invocation is tried again. The server is told
    /// nothing that a connection pooler would refuse.
    pub fn connect_lazy(&self) -> PgPool {
        let options = self
            .options
            .clone()
            .application_name("nightshift")
            .extra_float_digits(None);
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options)
    }
}

/// Whether the database could not be reached, or went away, or is starting, stopping, read-only or
/// out of resources: the same call may succeed when it is back, and nothing is known to be wrong
/// with the call itself. `SQLSTATE` classes 08, 53, 57 and 58, and 25006 (read-only), of the
/// `PostgreSQL` manual's appendix A. A pooler that does not carry prepared statements counts, too.
pub fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        error if is_misplaced(error) => true,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code == "25006"
                || ["08", "53", "57", "58"]
                    .iter()
                    .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Whether the connection was lost under a statement, or the server turned read-only: unlike
/// [`is_unreachable`], nothing that the statement itself may be to blame for, such as a time-out
/// (57014) or a full disk (53100). `SQLSTATE` class 08, 57P01 to 57P05 and 25006. A statement that a pooler
/// has lost counts, too.
pub fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        error if is_misplaced(error) => true,
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code == "25006" || code.starts_with("08") || code.starts_with("57P0")
        }),
        _ => false,
    }
}

/// Whether the database is there but not as this release expects it: a table is missing (class 42,
/// which a missing privilege is in, too), a schema or the whole database (3F, 3D).
pub fn is_not_in_order(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| {
        ["42", "3D", "3F"]
            .iter()
            .any(|class| code.starts_with(class))
    })
}

/// Whether another transaction was in the way: a lock time-out (55P03), deadlock (40P01) or
/// serialisation failure (40001).
pub fn is_conflict(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| ["55P03", "40P01", "40001"].contains(&code.as_ref()))
}

/// Whether a statement was ended because it took longer than it may: `query_canceled`, 57014.
pub fn is_timed_out(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "57014")
}

/// A connection that goes back to its pool only by [`Lease::end`]. One that is dropped in the middle
/// of something, because its time was over, is closed: the server may be out of reach without
/// anybody saying so, and the pool would wait for its answer, one place short, until the kernel gives up.
#[derive(Debug)]
pub struct Lease {
    connection: PoolConnection<Postgres>,
    is_over: bool,
}

impl Lease {
    /// Takes a connection.
    ///
    /// # Errors
    /// When none becomes free or can be opened in time, or it leads to a pooler that does not carry
    /// prepared statements ([`crate::NotCarried`]).
    pub async fn take(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut lease = Self {
            connection: pool.acquire().await?,
            is_over: false,
        };
        pooler::check(lease.connection()).await?;
        Ok(lease)
    }

    /// The connection.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the connection back as usable.
    pub fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

/// Lets `work`, which uses a [`Lease`], take no longer than `limit`: a database that is out of reach
/// without anybody saying so would keep it for ever.
///
/// # Errors
/// Those of `work`, and [`std::io::ErrorKind::TimedOut`].
pub async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    timeout(limit, work)
        .await
        .unwrap_or_else(|_elapsed| Err(timed_out().into()))
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_being_shown() {
        let source: MapSource = [(PostgresSettings::URL, "mysql:/root:hunter2")]
            .into_iter()
            .collect();
        let mut reader = Reader::new(&source);
        assert!(PostgresSettings::read(&mut reader).is_none());
        let problems = reader.finish(&[]).unwrap_err().to_string();
        assert!(problems.contains("is not a URL"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }

    #[test]
    fn a_refused_connection_is_unreachable() {
        let error = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(is_unreachable(&error));
        assert!(!is_conflict(&error));
        assert!(!is_unreachable(&sqlx::Error::RowNotFound));
    }

    #[tokio::test]
    async fn work_without_an_answer_ends_in_time_as_if_the_connection_was_lost() {
        let work = std::future::pending::<Result<(), sqlx::Error>>();
        let error = in_time(Duration::ZERO, work).await.unwrap_err();
        assert!(is_unreachable(&error) && is_lost(&error));
    }
}
