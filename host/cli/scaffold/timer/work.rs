//! `sample-job-work`: says in the log how many messages have died in the day before a tick.
//!
//! What: one log line for each message of the queue `sample-queue`. When: at each tick of the schedule, or
//! when somebody wants a run now. Why it is safe to run twice: it only reads. What it leaves to others: the
//! dead letters, which an operator looks at.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_contract::SampleJobDue;
use nightshift_job::{BatchFunction, Cx, Item, JobError, Outcome, Policy};
use sqlx::PgConnection;

/// How far is looked back.
const SPAN: TimeDelta = TimeDelta::days(1);

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work;

impl BatchFunction for Work {
    const NAME: &'static str = "sample-job-work";
    const CONFIG: &'static str = include_str!("../work/function.json");
    const POLICY: Policy = Policy {
        // The next tick's run does what this one could not.
        max_attempts: 3,
        ..Policy::DEFAULT
    };
    type Input = SampleJobDue;

    async fn run(
        &self,
        items: &[&Item<SampleJobDue>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        for item in items {
            let dead = died_since(item.input.due - SPAN, tx).await?;
            tracing::info!(sample_job.due = %item.input.due, sample_job.dead = dead, "sample-job has counted");
        }
        Ok(vec![Outcome::Completed; items.len()])
    }
}

/// How many messages have died since `begin` and are dead still.
async fn died_since(begin: DateTime<Utc>, tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM nightshift.dead_letter WHERE dead_at >= $1")
        .bind(begin)
        .fetch_one(tx)
        .await
}

#[cfg(test)]
mod tests {
    use nightshift_testkit::{Workbench, message};

    use super::*;

    #[tokio::test]
    async fn the_sample_is_done_and_the_dead_are_counted() {
        let now: DateTime<Utc> = "2026-11-22T04:00:00Z".parse().unwrap();
        let bench = Workbench::new(now, |registry| registry.with_batch(Work)).await;
        let sample = include_str!("../work/sample.json");
        let messages = [
            message("sample", sample, now).build(),
            message("nonsense", "nonsense", now).numbered(2).build(),
        ];
        bench.deliver(Work::NAME, &messages).await.unwrap();
        let dead = bench.dead().await;
        assert_eq!(dead.len(), 1);
        let mut connection = bench.pool().acquire().await.unwrap();
        let begin = DateTime::UNIX_EPOCH;
        assert_eq!(died_since(begin, &mut connection).await.unwrap(), 1);
        drop(connection);
        bench.remove().await;
    }
}
