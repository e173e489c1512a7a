//! Connection poolers between us and the database.
//!
//! In transaction mode each transaction may go to another server connection. Nothing of ours needs the
//! same one twice but prepared statements: a client prepares each once, under a name that every client of
//! its kind gives to some statement (`sqlx_s_1` and so on). A pooler that carries prepared statements
//! (`PgBouncer` from 1.21 on, with `max_prepared_statements` above 0) gives them names of its own and
//! prepares them wherever they are missing. With one that does not, a statement is not there, or, worse,
//! its name stands for another client's statement, and that is run instead. So each connection is looked
//! at before anything else is prepared on it.

use sqlx::{Connection, PgConnection};

/// A pooler does not carry prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection pooler does not carry prepared statements, so that one client's could be run in another's place: with PgBouncer, use version 1.21 or later with pool_mode = transaction and max_prepared_statements above 0 and restart it, or connect to the database's own port"
)]
pub struct NotCarried;

/// `SQLSTATE` of a prepared statement that is not there, or there already.
const MISPLACED: [&str; 2] = ["26000", "42P05"];

/// How the names begin that our client gives to statements: a function may
/// prepare others by itself, and what goes wrong with those is its own affair.
const OUR_NAMES: &str = "sqlx_s_";

/// How many statements are prepared on a connection on which only [`check`] was run.
const OWN: usize = 1;

/// Fails if a prepared statement may not be found again, or another client's in its place. A connection
/// is looked at once; one that has failed is looked at again.
///
/// # Errors
/// [`NotCarried`] as [`sqlx::Error::Configuration`], or when the database fails.
pub(crate) async fn check(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if connection.cached_statements_size() > OWN {
        return Ok(());
    }
    match Seen::through(connection).await {
        Ok(seen) if seen.is_direct || seen.carries => Ok(()),
        Err(error) if !is_misplaced(&error) => Err(error),
        _ => Err(sqlx::Error::Configuration(NotCarried.into())),
    }
}

/// Whether there is no pooler in between.
pub(crate) async fn is_direct(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let seen = Seen::through(connection).await?;
    Ok(seen.is_direct)
}

/// What a connection shows of what is between it and the database.
struct Seen {
    is_direct: bool,
    /// Whether prepared statements have other names than our client has given them.
    carries: bool,
}

impl Seen {
    async fn through(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_file_as!(Self, "sql/look_for_pooler.sql")
            .fetch_one(connection)
            .await
    }
}

/// Whether a prepared statement was not where it was prepared, or another one was there: the pooler does
/// not carry them (any more). `SQLSTATE` 26000 and 42P05.
pub fn is_misplaced(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(error) => error.is::<NotCarried>(),
        sqlx::Error::Database(error) => {
            let code = error.code();
            let is_about_names = code.is_some_and(|code| MISPLACED.contains(&code.as_ref()));
            is_about_names && error.message().contains(OUR_NAMES)
        }
        _ => false,
    }
}
