//! What is seen from outside of the leaderboards: how far behind they are, and how far off.

use chrono::{DateTime, Utc};
use nightshift_telemetry::metrics::{LEADERBOARD_DRIFT, LEADERBOARD_LAG};
use sqlx::PgConnection;

/// How many sources and boards are shown.
const MOST: i64 = 1_000;

/// How far behind and how far off leaderboards are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaderboards {
    /// By source: for how many seconds something may have been there that is not counted.
    lag_seconds: Vec<(String, f64)>,
    /// By board: how many scores were not what the events came to when they were last counted once more.
    drift: Vec<(String, f64)>,
}

impl Leaderboards {
    /// Reads how they are. A source that was never counted lags since it was declared.
    pub(crate) async fn read(
        tx: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        let lags = sqlx::query!(
            r#"SELECT s.name, greatest(0,
                extract(epoch FROM $1::timestamptz - coalesce(p.counted_at, s.declared_at)))::float8 AS "seconds!"
            FROM nightshift.leaderboard_source AS s
            LEFT JOIN nightshift.leaderboard_progress AS p ON p.source = s.name
            WHERE EXISTS (SELECT FROM nightshift.leaderboard AS b WHERE b.source = s.name AND b.enabled)
            ORDER BY s.name LIMIT $2"#,
            now,
            MOST,
        )
        .fetch_all(&mut *tx)
        .await?;
        let drifts = sqlx::query!(
            r#"SELECT b.name, t.drift::float8 AS "scores!"
            FROM nightshift.leaderboard_built AS t
            JOIN nightshift.leaderboard AS b ON b.id = t.board
            WHERE b.enabled AND t.drift IS NOT NULL ORDER BY b.name LIMIT $1"#,
            MOST,
        )
        .fetch_all(tx)
        .await?;
        let lags = lags.into_iter().map(|row| (row.name, row.seconds));
        let drifts = drifts.into_iter().map(|row| (row.name, row.scores));
        Ok(Self {
            lag_seconds: lags.collect(),
            drift: drifts.collect(),
        })
    }

    /// Sets what this process's metrics say of them.
    pub(crate) fn show(&self) {
        for (gauge, cells) in [
            (&LEADERBOARD_LAG, &self.lag_seconds),
            (&LEADERBOARD_DRIFT, &self.drift),
        ] {
            let cells: Vec<([&str; 1], f64)> = cells
                .iter()
                .map(|(name, number)| ([name.as_str()], *number))
                .collect();
            gauge.replace(cells.iter().map(|(values, number)| (&values[..], *number)));
        }
    }
}
