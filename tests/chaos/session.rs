//! `chaos-session`: messages whose effects are to be in the order of their sessions.

use nightshift_job::{BatchFunction, Cx, Item, JobError, Outcome, Policy};
use sqlx::PgConnection;

use super::function::Fault;
use super::order::{BACKOFF, Mishap, Order};

/// The function.
#[derive(Debug)]
pub struct InSession;

impl BatchFunction for InSession {
    const NAME: &'static str = "chaos-session";
    const CONFIG: &'static str = include_str!("app/functions/chaos/session/function.json");
    const POLICY: Policy = Policy {
        backoff: BACKOFF,
        ..Policy::DEFAULT
    };
    type Input = Order;

    async fn run(
        &self,
        items: &[&Item<Order>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        for item in items {
            let mishap = item.input.mishap(item.attempt);
            assert!(mishap != Some(Mishap::Panic), "as ordered");
            if mishap.is_some() {
                return Err(Fault::Ordered.into());
            }
            sqlx::query("INSERT INTO chaos.in_session (id) VALUES ($1)")
                .bind(&item.input.id)
                .execute(&mut *tx)
                .await?;
        }
        Ok(vec![Outcome::Completed; items.len()])
    }
}
