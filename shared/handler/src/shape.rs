//! The shapes of a function as one: what runs in the transaction of the claim, and, for some of them,
//! what is called after it.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use nightshift_contract::Payload;
use nightshift_crashpoint::CrashPoint;
use nightshift_job::{
    BatchFunction, Cx, ExternalFunction, Item, JobError, KeyOf, Outcome, Policy, Prepared,
    TransactionalFunction,
};
use nightshift_postgres::in_time;
use nightshift_postgres::run::{self, LongFunction, Run, RunError, Started};
use nightshift_telemetry::causes;
use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;

/// A function in any shape.
pub(crate) trait Shape: Send + Sync + 'static {
    const NAME: &'static str;
    const CONFIG: &'static str;
    const POLICY: Policy;
    /// Whether several messages may share a transaction.
    const TOGETHER: bool;
    /// Whether all that it does is done in the transaction of the claim.
    const IS_IN_COMMIT: bool;
    /// For how long a call is its process's, where a heartbeat renews that; `None`: as long as it may
    /// take.
    const LEASE: Option<Duration> = None;
    /// Of messages with one key only so many are at work at a time.
    const CONCURRENCY_KEY: Option<KeyOf<Self::Input>>;
    type Input: Payload;
    type Call: Send;
    type Answer: Send + Sync;

    /// What happens to `items` in the transaction of their claims. `is_unknown`: nobody knows how the
    /// last call for the one item ended.
    fn run(
        &self,
        items: &[&Item<Self::Input>],
        is_unknown: bool,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Vec<Prepared<Self::Call>>, JobError>> + Send;

    fn call(
        &self,
        item: &Item<Self::Input>,
        call: Self::Call,
        cx: &Cx,
    ) -> impl Future<Output = Result<Self::Answer, JobError>> + Send;

    fn record(
        &self,
        item: &Item<Self::Input>,
        answer: &Self::Answer,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send;
}

/// A function that does all it does in the transaction of the claim.
#[derive(Debug)]
pub(crate) struct InCommit<F, const TOGETHER: bool>(pub(crate) F);

impl<F: BatchFunction, const TOGETHER: bool> Shape for InCommit<F, TOGETHER> {
    const NAME: &'static str = F::NAME;
    const CONFIG: &'static str = F::CONFIG;
    const POLICY: Policy = F::POLICY;
    const TOGETHER: bool = TOGETHER;
    const IS_IN_COMMIT: bool = true;
    const CONCURRENCY_KEY: Option<KeyOf<F::Input>> = F::CONCURRENCY_KEY;
    type Input = F::Input;
    type Call = Infallible;
    type Answer = Infallible;

    async fn run(
        &self,
        items: &[&Item<F::Input>],
        _is_unknown: bool,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Prepared<Infallible>>, JobError> {
        let outcomes = self.0.run(items, tx, cx).await?;
        Ok(outcomes.into_iter().map(Prepared::End).collect())
    }

    async fn call(
        &self,
        _item: &Item<F::Input>,
        call: Infallible,
        _cx: &Cx,
    ) -> Result<Infallible, JobError> {
        match call {}
    }

    async fn record(
        &self,
        _item: &Item<F::Input>,
        answer: &Infallible,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        match *answer {}
    }
}

/// A [`TransactionalFunction`] as a batch function, whose batches have one message.
#[derive(Debug)]
pub(crate) struct OneByOne<F>(pub(crate) F);

impl<F: TransactionalFunction> BatchFunction for OneByOne<F> {
    const NAME: &'static str = F::NAME;
    const CONFIG: &'static str = F::CONFIG;
    const POLICY: Policy = F::POLICY;
    const CONCURRENCY_KEY: Option<KeyOf<F::Input>> = F::CONCURRENCY_KEY;
    type Input = F::Input;

    async fn run(
        &self,
        items: &[&Item<F::Input>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            outcomes.push(self.0.run(item, tx, cx).await?);
        }
        Ok(outcomes)
    }
}

/// An [`ExternalFunction`].
#[derive(Debug)]
pub(crate) struct External<F>(pub(crate) F);

impl<F: ExternalFunction> Shape for External<F> {
    const NAME: &'static str = F::NAME;
    const CONFIG: &'static str = F::CONFIG;
    const POLICY: Policy = F::POLICY;
    const TOGETHER: bool = false;
    const IS_IN_COMMIT: bool = false;
    const CONCURRENCY_KEY: Option<KeyOf<F::Input>> = F::CONCURRENCY_KEY;
    type Input = F::Input;
    type Call = F::Call;
    type Answer = F::Answer;

    async fn run(
        &self,
        items: &[&Item<F::Input>],
        is_unknown: bool,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Prepared<F::Call>>, JobError> {
        let mut prepared = Vec::with_capacity(items.len());
        for item in items {
            prepared.push(if is_unknown {
                self.0.unknown(item, tx, cx).await?
            } else {
                self.0.prepare(item, tx, cx).await?
            });
        }
        Ok(prepared)
    }

    async fn call(
        &self,
        item: &Item<F::Input>,
        call: F::Call,
        cx: &Cx,
    ) -> Result<F::Answer, JobError> {
        CrashPoint::BeforeCall.reach().await;
        let answer = self.0.call(item, call, cx).await?;
        CrashPoint::AfterCall.reach().await;
        Ok(answer)
    }

    fn record(
        &self,
        item: &Item<F::Input>,
        answer: &F::Answer,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> impl Future<Output = Result<Outcome, JobError>> + Send {
        self.0.record(item, answer, tx, cx)
    }
}

/// How many signs of life a run's process gives while its lease lasts.
const SIGNS_OF_LIFE: u32 = 3;

/// A [`LongFunction`], and where its runs are.
#[derive(Debug)]
pub(crate) struct Long<F> {
    pub(crate) function: F,
    pub(crate) pool: PgPool,
}

impl<F: LongFunction> Shape for Long<F> {
    const NAME: &'static str = F::NAME;
    const CONFIG: &'static str = F::CONFIG;
    const POLICY: Policy = F::POLICY;
    const TOGETHER: bool = false;
    const IS_IN_COMMIT: bool = false;
    const LEASE: Option<Duration> = Some(F::LEASE);
    const CONCURRENCY_KEY: Option<KeyOf<F::Input>> = F::CONCURRENCY_KEY;
    type Input = F::Input;
    type Call = Started;
    /// With the epoch that it belongs to.
    type Answer = (Outcome, i32);

    async fn run(
        &self,
        items: &[&Item<F::Input>],
        _is_unknown: bool,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Prepared<Started>>, JobError> {
        let mut started = Vec::with_capacity(items.len());
        for item in items {
            started.push(Prepared::Call(run::start(tx, item.key, F::NAME).await?));
        }
        Ok(started)
    }

    async fn call(
        &self,
        item: &Item<F::Input>,
        started: Started,
        cx: &Cx,
    ) -> Result<(Outcome, i32), JobError> {
        let run = Run::new(self.pool.clone(), item.key, F::LEASE, started);
        tokio::select! {
            outcome = self.function.run(item, &run, cx) => Ok((outcome?, run.epoch())),
            lost = keep_alive(&run, F::LEASE / SIGNS_OF_LIFE) => Err(lost.into()),
        }
    }

    async fn record(
        &self,
        item: &Item<F::Input>,
        (outcome, epoch): &(Outcome, i32),
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        if !matches!(outcome, Outcome::Snooze(_) | Outcome::Continue(_)) {
            run::end(tx, item.key, *epoch).await?;
        }
        Ok(outcome.clone())
    }
}

/// Gives signs of life for `run` until it is somebody else's. A database that is away is waited for: if
/// that takes longer than the lease, the run may be taken over, and the next sign finds out.
async fn keep_alive(run: &Run, pause: Duration) -> RunError {
    loop {
        sleep(pause).await;
        CrashPoint::InHeartbeat.reach().await;
        match in_time(pause, run.beat()).await {
            Ok(()) => {}
            Err(lost @ RunError::TakenOver { .. }) => return lost,
            Err(error) => {
                tracing::warn!(job.key = %run.key(), error = causes(&error), "a run could give no sign of life");
            }
        }
    }
}
