//! Fills the inbox with what fourteen days have left.

use sqlx::PgPool;

/// How many rows.
pub(crate) const ROWS: i64 = 10_000_000;

/// Spreads [`ROWS`] claims over the days of the retention, today included.
pub(crate) async fn fill(pool: &PgPool) -> anyhow::Result<()> {
    let days = 14;
    for day in 0..days {
        sqlx::query("SELECT nightshift.ensure_inbox_partitions(current_date - $1)")
            .bind(day)
            .execute(pool)
            .await?;
        sqlx::query(
            "INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
             SELECT gen_random_uuid(), current_date - $1, gen_random_uuid(), 'bench-batch'
             FROM generate_series(1, $2)",
        )
        .bind(day)
        .bind(ROWS / i64::from(days))
        .execute(pool)
        .await?;
    }
    sqlx::query("VACUUM ANALYZE nightshift.inbox")
        .execute(pool)
        .await?;
    sqlx::query("CHECKPOINT").execute(pool).await?;
    Ok(())
}
