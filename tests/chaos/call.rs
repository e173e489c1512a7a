//! `chaos-call`: calls another system, which remembers every call and does not mind two of the same.

use nightshift_job::{Cx, ExternalFunction, Item, JobError, Outcome, Policy, Prepared};
use sqlx::{PgConnection, PgPool};

use super::function::Fault;
use super::order::{BACKOFF, CALL_TIMEOUT, Mishap, Order};

/// The function. The other system is a table to which it writes by a connection of its own.
#[derive(Debug)]
pub struct Call {
    /// The other system.
    pub other_side: PgPool,
}

impl ExternalFunction for Call {
    const NAME: &'static str = "chaos-call";
    const CONFIG: &'static str = include_str!("app/functions/chaos/call/function.json");
    const POLICY: Policy = Policy {
        backoff: BACKOFF,
        timeout: CALL_TIMEOUT,
        ..Policy::DEFAULT
    };
    type Input = Order;
    type Call = ();
    type Answer = ();

    async fn prepare(
        &self,
        _item: &Item<Order>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        Ok(Prepared::Call(()))
    }

    async fn call(&self, item: &Item<Order>, (): (), _cx: &Cx) -> Result<(), JobError> {
        let mishap = item.input.mishap(item.attempt);
        if mishap == Some(Mishap::Error) {
            return Err(Fault::Ordered.into());
        }
        sqlx::query("INSERT INTO chaos.acted (id) VALUES ($1)")
            .bind(&item.input.id)
            .execute(&self.other_side)
            .await
            .map_err(|error| JobError::from(error).outcome_unknown())?;
        assert!(mishap != Some(Mishap::Panic), "as ordered");
        Ok(())
    }

    async fn record(
        &self,
        item: &Item<Order>,
        (): &(),
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        answer(item, false, tx).await
    }

    /// Asks the other side, and calls again what it does not know.
    async fn unknown(
        &self,
        item: &Item<Order>,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        let acted: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM chaos.acted WHERE id = $1)")
                .bind(&item.input.id)
                .fetch_one(&self.other_side)
                .await?;
        Ok(if acted {
            Prepared::End(answer(item, true, tx).await?)
        } else {
            Prepared::Call(())
        })
    }
}

/// Writes that the other side has acted; `is_asked`: it had to be asked.
async fn answer(
    item: &Item<Order>,
    is_asked: bool,
    tx: &mut PgConnection,
) -> Result<Outcome, JobError> {
    sqlx::query("INSERT INTO chaos.answer (id, is_asked) VALUES ($1, $2)")
        .bind(&item.input.id)
        .bind(is_asked)
        .execute(tx)
        .await?;
    Ok(Outcome::Completed)
}
