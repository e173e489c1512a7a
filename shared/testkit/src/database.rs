//! A migrated database per test, cloned from a template that is built once per server.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use nightshift_settings::{Environment, Source};
use nightshift_time::Ids;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// The setting that names the server: a URL with which databases can be created.
pub const SERVER: &str = "NIGHTSHIFT_TEST_POSTGRES";

/// The sample application: the tables that functions read, and users.
const APPLICATION: &str = include_str!("../../../host/cli/sample/app.sql");

/// Serialises the building of the template between test processes; the number means nothing.
const TEMPLATE_LOCK: i64 = 0x6e69_6768_7473;

/// A database of one test, with our schema and the application's.
#[derive(Debug)]
pub struct TestDatabase {
    pool: PgPool,
    url: String,
    name: String,
    server: String,
}

impl TestDatabase {
    /// Clones the template.
    ///
    /// # Panics
    /// When no server is named or it does not do as it is told: a test cannot go on then.
    pub async fn create() -> Self {
        let server = Environment.get(SERVER).unwrap_or_else(|| {
            panic!("{SERVER} is not set: run `make test`, or name a PostgreSQL server on which databases can be created")
        });
        let admin: PgConnectOptions = must(server.parse(), "its URL is malformed");
        let mut connection = must(
            PgConnection::connect_with(&admin).await,
            "it cannot be reached",
        );
        let template = must(
            template(&mut connection, &admin).await,
            "the template failed",
        );
        let name = format!(
            "test_{}",
            Ids::random().next(chrono::DateTime::UNIX_EPOCH).simple()
        );
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        must(
            connection.execute(AssertSqlSafe(create)).await,
            "cloning the template failed",
        );
        let url = url_of(&server, &name);
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(admin.clone().database(&name));
        Self {
            pool,
            url,
            name,
            server,
        }
    }

    /// Connections to the database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The database's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets the database's clock, by which schedules go, show `now` until it is told otherwise.
    ///
    /// # Panics
    /// When the database fails: a test cannot go on then.
    pub async fn set_clock(&self, now: DateTime<Utc>) {
        let now = now.to_rfc3339();
        let set = format!(
            "CREATE OR REPLACE FUNCTION nightshift.now() RETURNS timestamptz
             LANGUAGE sql VOLATILE AS $$ SELECT timestamptz '{now}' $$"
        );
        must(
            self.pool.execute(AssertSqlSafe(set)).await,
            "its clock cannot be set",
        );
    }

    /// Removes the database. One that a failing test leaves behind goes with the server.
    pub async fn remove(self) {
        self.pool.close().await;
        let mut connection = must(
            PgConnection::connect(&self.server).await,
            "it cannot be reached",
        );
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        must(
            connection.execute(AssertSqlSafe(drop)).await,
            "dropping failed",
        );
    }
}

async fn template(
    connection: &mut PgConnection,
    admin: &PgConnectOptions,
) -> Result<String, sqlx::Error> {
    let name = template_name();
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut *connection)
            .await?;
    if !exists {
        // Under another name until it is complete, so that a crash leaves no half template.
        let building = format!("{name}_building");
        let drop = format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)");
        connection.execute(AssertSqlSafe(drop)).await?;
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {building}")))
            .await?;
        let mut inside = PgConnection::connect_with(&admin.clone().database(&building)).await?;
        must(
            nightshift_postgres::migrate(&mut inside).await,
            "the migrations failed",
        );
        inside.execute(APPLICATION).await?;
        inside.close().await?;
        let rename = format!("ALTER DATABASE {building} RENAME TO {name}");
        connection.execute(AssertSqlSafe(rename)).await?;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(connection)
        .await?;
    Ok(name)
}

/// A name that changes with the schema, so that an old template is never used.
fn template_name() -> String {
    let mut hasher = DefaultHasher::new();
    for migration in nightshift_postgres::MIGRATIONS.iter() {
        migration.checksum.hash(&mut hasher);
    }
    APPLICATION.hash(&mut hasher);
    let mut name = "template_".to_owned();
    let _ = write!(name, "{:016x}", hasher.finish());
    name
}

/// `server` with another database name.
fn url_of(server: &str, database: &str) -> String {
    let (base, query) = server
        .split_once('?')
        .map_or((server, None), |(b, q)| (b, Some(q)));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let base = base[authority..]
        .find('/')
        .map_or(base, |at| &base[..authority + at]);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{base}/{database}{query}")
}

fn must<T, E: std::fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("the server of {SERVER} is of no use: {what}: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        assert_eq!(
            url_of("postgres://u:p@h:1/postgres", "x"),
            "postgres://u:p@h:1/x"
        );
        assert_eq!(
            url_of("postgres://h?host=/tmp/a", "x"),
            "postgres://h/x?host=/tmp/a"
        );
    }
}
