//! Single ticks over histories of different length, by turns.
//!
//! Each history is a table of its own, all of it counted, with a board on which everybody has a score in
//! four windows; they are the same but for the length. A tick finds what is new in it by the index on `xid`, and
//! the scores that change by their key:
//!
//! ```text
//! Insert on leaderboard_score s
//!   Conflict Resolution: UPDATE
//!   Conflict Arbiter Indexes: leaderboard_score_pkey
//!   ->  Sort (by board_window, user_id)
//!         ->  … (the sums of the windows, from the CTE "level")
//!               CTE level
//!                 ->  HashAggregate
//!                       ->  Index Scan using longest_xid_idx on longest e
//!                             Index Cond: ((xid >= …) AND (xid < …))
//! ```

use anyhow::ensure;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::{Bench, USERS, declare, end_of_numbers, fill, index, is_counted, middle, times};
use crate::report::{Bar, Section};

/// How many events are new at each tick, and how many of them come with one transaction.
const NEW: i32 = 1_000;
const A_COMMIT: i32 = 10;

/// How often each is measured, after some that do not count. The middle one counts.
const ROUNDS: usize = 60;
const WARM_UP: usize = 5;

/// Events a transaction of the histories.
const OLD_A_COMMIT: i32 = 1_000;

/// What each history must not exceed, of what the shortest one needs.
const BAR: Bar = Bar::AtMost(1.1);

/// A history, and what its ticks took.
struct History {
    name: &'static str,
    events: i32,
    took_ms: Vec<f64>,
    buffers: Vec<f64>,
}

pub(super) async fn measure(section: &mut Section, longest: i32) -> anyhow::Result<()> {
    let bench = Bench::prepare().await?;
    let history = |name, events| History {
        name,
        events,
        took_ms: Vec::with_capacity(ROUNDS),
        buffers: Vec::with_capacity(ROUNDS),
    };
    let mut histories = [
        history("short", longest / 30),
        history("longer", longest / 3),
        history("longest", longest),
    ];
    for history in &histories {
        declare(&bench.pool, history.name, 10_000).await?;
        // Makes the windows of this instant, and knows of no event yet.
        bench.count(history.name).await?;
    }
    let [short, longer, longest] = &histories;
    // Two at once: the machines that this runs on have two processors or more.
    tokio::try_join!(
        async {
            prepare(&bench, short).await?;
            prepare(&bench, longer).await
        },
        prepare(&bench, longest)
    )?;
    bench.pool.execute("VACUUM ANALYZE").await?;
    bench.pool.execute("CHECKPOINT").await?;
    let mut connection = PgConnection::connect(&bench.postgres.url()).await?;
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..histories.len() {
            let history = &mut histories[(round + turn) % 3];
            let (took_ms, buffers) = tick(&bench, &mut connection, history.name).await?;
            if round >= WARM_UP {
                history.took_ms.push(took_ms);
                history.buffers.extend(buffers);
            }
        }
    }
    for history in &histories {
        check(&bench.pool, history.name).await?;
    }
    connection.close().await?;
    bench.end().await;
    tell(section, histories);
    Ok(())
}

fn tell(section: &mut Section, histories: [History; 3]) {
    let [short, longer, longest] = histories.map(|history| {
        let buffers = (!history.buffers.is_empty()).then(|| middle(history.buffers));
        (history.events, middle(history.took_ms), buffers)
    });
    let (events, base_ms, base_buffers) = short;
    let label = format!("a tick with {NEW} new events, after {events} old ones");
    section.tell("tick_ms", base_ms, "ms", label);
    for ([time, reads], (events, took_ms, buffers)) in [
        (["tick_ratio_longer", "tick_buffers_longer"], longer),
        (["tick_ratio_longest", "tick_buffers_longest"], longest),
    ] {
        let label = format!("times of that after {events}");
        section.hold(time, took_ms / base_ms, "", label, BAR);
        if let (Some(buffers), Some(base)) = (buffers, base_buffers) {
            let label = format!("times of its buffers, of which it reads {base}");
            section.hold(reads, buffers / base, "", label, BAR);
        }
    }
}

/// Makes the history, all of which was counted, and a score in each window for everybody.
async fn prepare(bench: &Bench, history: &History) -> anyhow::Result<()> {
    let History { name, events, .. } = history;
    let mut connection = PgConnection::connect(&bench.postgres.url()).await?;
    let many = (*events, OLD_A_COMMIT);
    fill(&mut connection, name, many, times()?).await?;
    index(&mut connection, name).await?;
    sqlx::query(
        "INSERT INTO nightshift.leaderboard_score (board_window, user_id, score, achieved_at, events)
        SELECT w.id, u.id, 1000, $3, 0
        FROM nightshift.leaderboard_window AS w JOIN nightshift.leaderboard AS b ON b.id = w.board,
            (SELECT md5(n::text)::uuid AS id FROM generate_series(0, $2 - 1) AS n) AS u
        WHERE b.name = $1 ORDER BY 1, 2",
    )
    .bind(name)
    .bind(USERS)
    .bind(times()?.0)
    .execute(&mut connection)
    .await?;
    sqlx::query(
        "UPDATE nightshift.leaderboard_progress SET watermark = pg_current_xact_id() WHERE source = $1",
    )
    .bind(name)
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

/// One tick: milliseconds, and buffers if the server counts them.
async fn tick(
    bench: &Bench,
    connection: &mut PgConnection,
    name: &str,
) -> anyhow::Result<(f64, Option<f64>)> {
    let (_, now) = times()?;
    fill(connection, name, (NEW, A_COMMIT), (now, now)).await?;
    let until = end_of_numbers(&bench.pool).await?;
    if bench.counts_buffers {
        connection
            .execute("SELECT pg_stat_statements_reset()")
            .await?;
    }
    let took = bench.count(name).await?;
    let buffers = if bench.counts_buffers {
        Some(buffers(connection).await?)
    } else {
        None
    };
    let counted = is_counted(&bench.pool, name, until).await?;
    ensure!(counted, "a transaction of somebody else holds the count up");
    Ok((took.as_secs_f64() * 1000.0, buffers))
}

/// How many buffers all statements since the reset have looked into.
async fn buffers(connection: &mut PgConnection) -> anyhow::Result<f64> {
    let sum = sqlx::query_scalar(
        "SELECT sum(shared_blks_hit + shared_blks_read)::float8 FROM pg_stat_statements",
    );
    Ok(sum.fetch_one(connection).await?)
}

/// Whether every new event was counted, once.
async fn check(pool: &PgPool, name: &str) -> anyhow::Result<()> {
    let counted: i64 = sqlx::query_scalar(
        "SELECT sum(s.events)::bigint FROM nightshift.leaderboard_score AS s
        JOIN nightshift.leaderboard_window AS w ON w.id = s.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.name = $1 AND w.kind = 'all-time'",
    )
    .bind(name)
    .fetch_one(pool)
    .await?;
    let wanted = i64::from(NEW) * i64::try_from(WARM_UP + ROUNDS)?;
    ensure!(
        counted == wanted,
        "{counted} of {wanted} events were counted"
    );
    Ok(())
}
