//! Fills a database with what weeks of work leave: the same rows each time, but for the keys of the inbox.

use sqlx::{Executor, PgPool};

/// How many rows the inbox has when it is full.
pub(crate) const ROWS: i32 = 10_000_000;

/// How many rows of the inbox there are for each run, and for each dead letter. There are as many waiting
/// messages, ticks, and entries of the audit as dead letters.
pub(crate) const ROWS_PER_RUN: i32 = 10;
pub(crate) const ROWS_PER_LETTER: i32 = 100;

/// The retention of the inbox, today included.
const DAYS: i32 = 14;

const INBOX: &str = include_str!("fill/inbox.sql");
const RUNS: &str = include_str!("fill/runs.sql");
const WAITING: &str = include_str!("fill/waiting.sql");
const LETTERS: &str = include_str!("fill/letters.sql");
const CLAIMS: &str = include_str!("fill/claims.sql");
const TICKS: &str = include_str!("fill/ticks.sql");
const AUDIT: &str = include_str!("fill/audit.sql");

/// What [`AUDIT`] leaves undone: the newest entry is the head, which the next one follows.
const AUDIT_HEAD: &str = "
    UPDATE nightshift.audit_head AS head SET seq = entry.seq, hash = entry.hash
    FROM (SELECT seq, hash FROM nightshift.audit ORDER BY seq DESC LIMIT 1) AS entry";

/// Spreads `rows` claims over the days of the retention, today included.
pub(crate) async fn inbox(pool: &PgPool, rows: i32) -> anyhow::Result<()> {
    for day in 0..DAYS {
        sqlx::query("SELECT nightshift.ensure_inbox_partitions(current_date - $1)")
            .bind(day)
            .execute(pool)
            .await?;
        let fill = sqlx::query(INBOX).bind(day).bind(rows / DAYS);
        fill.execute(pool).await?;
    }
    settle(pool).await
}

/// Everything, in proportion to `rows` of the inbox.
pub(crate) async fn all(pool: &PgPool, rows: i32) -> anyhow::Result<()> {
    let runs = rows / ROWS_PER_RUN;
    sqlx::query(RUNS).bind(runs).execute(pool).await?;
    // A tenth of each hundredth is runs that are not done.
    let rest = rows / ROWS_PER_LETTER - runs / 100;
    sqlx::query(WAITING).bind(rest).execute(pool).await?;
    letters(pool, rest, None).await?;
    for fill in [TICKS, AUDIT] {
        let fill = sqlx::query(fill).bind(rows / ROWS_PER_LETTER);
        fill.execute(pool).await?;
    }
    pool.execute(AUDIT_HEAD).await?;
    inbox(pool, rows).await
}

/// `count` dead letters, of several functions or of `only` one, and those of the runs that are dead if
/// they are of several.
pub(crate) async fn letters(pool: &PgPool, count: i32, only: Option<&str>) -> anyhow::Result<()> {
    let fill = sqlx::query(LETTERS).bind(count).bind(only);
    fill.execute(pool).await?;
    for day in 0..DAYS {
        sqlx::query("SELECT nightshift.ensure_inbox_partitions(current_date - $1)")
            .bind(day)
            .execute(pool)
            .await?;
    }
    pool.execute(CLAIMS).await?;
    Ok(())
}

/// Leaves the server as one that has had time to look after its tables.
pub(crate) async fn settle(pool: &PgPool) -> anyhow::Result<()> {
    pool.execute("VACUUM ANALYZE").await?;
    pool.execute("CHECKPOINT").await?;
    Ok(())
}
