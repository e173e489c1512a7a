//! `chaos-run`: works in steps, each of which is a transaction of its own.

use std::time::Duration;

use nightshift_job::{Cx, Item, JobError, Outcome, Policy};
use nightshift_postgres::run::{LongFunction, Run};

use super::order::{BACKOFF, Order, STEPS};

/// How long a step takes.
const STEP: Duration = Duration::from_millis(400);

/// The function.
#[derive(Debug)]
pub struct Long;

impl LongFunction for Long {
    const NAME: &'static str = "chaos-run";
    const CONFIG: &'static str = include_str!("app/functions/chaos/run/function.json");
    const POLICY: Policy = Policy {
        backoff: BACKOFF,
        ..Policy::DEFAULT
    };
    /// With a sign of life in each run.
    const LEASE: Duration = Duration::from_secs(3);
    type Input = Order;

    async fn run(&self, item: &Item<Order>, run: &Run, _cx: &Cx) -> Result<Outcome, JobError> {
        let done: i32 = run.saved()?.unwrap_or(0);
        for step in done + 1..=STEPS {
            tokio::time::sleep(STEP).await;
            let mut tx = run.begin().await?;
            sqlx::query("INSERT INTO chaos.step (id, step, epoch) VALUES ($1, $2, $3)")
                .bind(&item.input.id)
                .bind(step)
                .bind(run.epoch())
                .execute(&mut *tx)
                .await?;
            run.save(&mut tx, &step).await?;
            tx.commit().await?;
        }
        Ok(Outcome::Completed)
    }
}
