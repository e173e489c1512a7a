//! Many events at once, against one plain statement over the same rows in the same session settings.
//!
//! The plain statement makes the same numbers, of the same four windows, and writes them into an empty table without
//! an index. It does not look whether an event is valid, knows no score that was there before, and would count an
//! event twice if it were run twice.

use std::time::Instant;

use anyhow::ensure;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool};

use super::{Bench, MANY, declare, end_of_numbers, fill, index, is_counted, middle, times};
use crate::report::{Bar, Section};

const NAME: &str = "many";

/// How often each is measured. The middle one counts.
const RUNS: usize = 3;

/// Events a transaction.
const A_COMMIT: i32 = 100;

/// Seconds for the same events.
struct Measured {
    job: f64,
    plain: f64,
    select: f64,
}

pub(super) async fn measure(section: &mut Section) -> anyhow::Result<()> {
    let bench = Bench::prepare().await?;
    declare(&bench.pool, NAME, 10_000).await?;
    let mut connection = bench.pool.acquire().await?.detach();
    index(&mut connection, NAME).await?;
    // The first events of a board: every score is new.
    let fresh = both(&bench, &mut connection, true).await?;
    let differing = differing(&bench.pool).await?;
    ensure!(differing == 0, "{differing} scores differ from plain SQL's");
    let mut measured = Vec::with_capacity(RUNS);
    for turn in 0..RUNS {
        measured.push(both(&bench, &mut connection, turn % 2 == 0).await?);
    }
    drop(connection);
    let total: i64 = sqlx::query_scalar(
        "SELECT sum(s.events)::bigint FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window WHERE w.kind = 'all-time'",
    )
    .fetch_one(&bench.pool)
    .await?;
    let wanted = i64::from(MANY) * i64::try_from(RUNS + 1)?;
    ensure!(total == wanted, "{total} of {wanted} events were counted");
    bench.end().await;
    let of = |seconds: fn(&Measured) -> f64| middle(measured.iter().map(seconds).collect());
    let (job, plain, select) = (of(|m| m.job), of(|m| m.plain), of(|m| m.select));
    let label = format!("{MANY} events in four windows of a board that is there");
    section.tell("seconds", job, "s", label);
    let label = "INSERT … SELECT … GROUP BY alone, into a plain table";
    section.tell("plain_seconds", plain, "s", label);
    let name = "ratio_to_plain";
    section.hold(name, job / plain, "", "times of that", Bar::AtMost(2.0));
    let label = "times of the SELECT alone, which writes nothing";
    section.tell("ratio_to_select", job / select, "", label);
    let label = "times of plain SQL, where all scores are new";
    section.tell("ratio_of_fresh", fresh.job / fresh.plain, "", label);
    Ok(())
}

/// Counts as many new events, by the job and by plain SQL.
async fn both(
    bench: &Bench,
    connection: &mut PgConnection,
    job_first: bool,
) -> anyhow::Result<Measured> {
    let from = end_of_numbers(&bench.pool).await?;
    fill(connection, NAME, (MANY, A_COMMIT), times()?).await?;
    let until = end_of_numbers(&bench.pool).await?;
    let sums = sums(from, until);
    let select = format!("SELECT count(*) FROM ({sums}) AS s");
    let insert = format!("INSERT INTO bench.plain {sums}");
    let early = if job_first {
        Some(count(bench, until).await?)
    } else {
        None
    };
    settle(&bench.pool).await?;
    let plain = seconds(&bench.pool, insert).await?;
    let select = seconds(&bench.pool, select).await?;
    let job = match early {
        Some(job) => job,
        None => count(bench, until).await?,
    };
    Ok(Measured { job, plain, select })
}

async fn count(bench: &Bench, until: i64) -> anyhow::Result<f64> {
    settle(&bench.pool).await?;
    let took = bench.count(NAME).await?;
    let counted = is_counted(&bench.pool, NAME, until).await?;
    ensure!(counted, "a transaction of somebody else holds the count up");
    Ok(took.as_secs_f64())
}

/// Leaves the server as each of the two is to find it: with nothing to write, and as its housekeeping leaves it.
async fn settle(pool: &PgPool) -> anyhow::Result<()> {
    pool.execute("TRUNCATE bench.plain").await?;
    pool.execute("VACUUM ANALYZE bench.many, nightshift.leaderboard_score")
        .await?;
    pool.execute("CHECKPOINT").await?;
    Ok(())
}

async fn seconds(pool: &PgPool, statement: String) -> anyhow::Result<f64> {
    let begun = Instant::now();
    pool.execute(AssertSqlSafe(statement)).await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// What the events of these transactions come to.
fn sums(from: i64, until: i64) -> String {
    let of = |kind: &str, starts: &str| {
        format!(
            "SELECT '{kind}', {starts}, user_id, sum(score), max(occurred_at), count(*) FROM bench.{NAME}
            WHERE xid >= '{from}'::xid8 AND xid < '{until}'::xid8 GROUP BY 2, 3"
        )
    };
    [
        of("daily", "date_trunc('day', occurred_at, 'UTC')"),
        of("weekly", "date_trunc('week', occurred_at, 'UTC')"),
        of("monthly", "date_trunc('month', occurred_at, 'UTC')"),
        of("all-time", "timestamptz '0001-01-01 00:00:00+00'"),
    ]
    .join(" UNION ALL ")
}

/// How many of the job's scores are not those of plain SQL, which has counted the same events.
async fn differing(pool: &PgPool) -> anyhow::Result<i64> {
    let differing = sqlx::query_scalar(
        "SELECT count(*) FROM (
            SELECT w.kind, w.starts_at, s.user_id, s.score, s.achieved_at, s.events
            FROM nightshift.leaderboard_score AS s JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
        ) AS s FULL JOIN bench.plain AS p USING (kind, starts_at, user_id)
        WHERE (s.score, s.achieved_at, s.events) IS DISTINCT FROM (p.score, p.achieved_at, p.events)",
    );
    Ok(differing.fetch_one(pool).await?)
}
