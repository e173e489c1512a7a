//! Functions whose messages have concurrency keys.

use std::sync::atomic::{AtomicBool, Ordering};

use nightshift_job::{ExternalFunction, KeyOf, Prepared, RateLimit, WhenAway};
use nightshift_postgres::run::{LongFunction, Run};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::*;

/// A call takes this long, so that those that overlap are seen to.
const CALL: Duration = Duration::from_millis(3);

/// Longer between two slots than a test takes, and six of them within the minute for which a place is kept.
pub(super) const RARELY: RateLimit = RateLimit {
    name: "keyed",
    count: 6,
    per: Duration::from_mins(1),
    burst: 1,
    when_away: WhenAway::Closed,
};

/// The first word of a title is its key, `-` is none; `held` in it waits for the gate.
fn key_of(title: &str) -> Option<String> {
    let key = title.split(' ').next()?;
    (key != "-").then(|| key.to_owned())
}

/// Calls are rows in `at_work`, which say when each began and ended. `LIMITED`: behind a rate, too.
#[derive(Debug, Clone)]
pub(super) struct Keyed<const PLACES: u32, const LIMITED: bool> {
    pub(super) pool: PgPool,
    pub(super) gate: Arc<Semaphore>,
    pub(super) is_away: Arc<AtomicBool>,
}

impl<const PLACES: u32, const LIMITED: bool> ExternalFunction for Keyed<PLACES, LIMITED> {
    const NAME: &'static str = "keyed";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "keyed", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        concurrency: PLACES,
        timeout: Duration::from_secs(8),
        rate: if LIMITED { Some(RARELY) } else { None },
        ..Scripted::POLICY
    };
    type Input = NotificationRequested;
    type Call = ();
    type Answer = ();

    const CONCURRENCY_KEY: Option<KeyOf<NotificationRequested>> = Some(|input| {
        let title = input.title.as_str();
        assert!(!title.contains("panics"), "the script says so");
        key_of(title)
    });

    async fn prepare(
        &self,
        item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        let title = item.input.title.as_str();
        if title.contains("refused") {
            return Ok(Prepared::End(Outcome::refused(
                "told",
                "the script says so",
            )));
        }
        if title.contains("fails") && item.attempt == 1 {
            return Err(Told(Disposition::Retry).into());
        }
        Ok(Prepared::Call(()))
    }

    async fn call(
        &self,
        item: &Item<NotificationRequested>,
        (): (),
        _cx: &Cx,
    ) -> Result<(), JobError> {
        let title = item.input.title.as_str();
        sqlx::query("INSERT INTO at_work (title, key) VALUES ($1, $2)")
            .bind(title)
            .bind(key_of(title))
            .execute(&self.pool)
            .await?;
        if title.contains("held") {
            self.gate.acquire().await.unwrap().forget();
        }
        tokio::time::sleep(CALL).await;
        sqlx::query("UPDATE at_work SET ended = clock_timestamp() WHERE title = $1")
            .bind(title)
            .execute(&self.pool)
            .await?;
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Told(Disposition::Retry).into());
        }
        Ok(())
    }

    async fn record(
        &self,
        _item: &Item<NotificationRequested>,
        (): &(),
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        Ok(Outcome::Completed)
    }

    async fn unknown(
        &self,
        _item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<()>, JobError> {
        Ok(Prepared::End(Outcome::Completed))
    }
}

/// Long work: a message that is `held` goes on with a second slice.
#[derive(Debug, Clone)]
pub(super) struct KeyedLong {
    pub(super) pool: PgPool,
    pub(super) gate: Arc<Semaphore>,
}

impl LongFunction for KeyedLong {
    const NAME: &'static str = "keyed-long";
    const CONFIG: &'static str = Keyed::<1, false>::CONFIG;
    const POLICY: Policy = Scripted::POLICY;
    type Input = NotificationRequested;

    const CONCURRENCY_KEY: Option<KeyOf<NotificationRequested>> =
        Some(|input| key_of(input.title.as_str()));

    async fn run(
        &self,
        item: &Item<NotificationRequested>,
        _run: &Run,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        let title = item.input.title.as_str();
        sqlx::query("INSERT INTO at_work (title, key) VALUES ($1, $2)")
            .bind(title)
            .bind(key_of(title))
            .execute(&self.pool)
            .await?;
        if !title.contains("held") {
            return Ok(Outcome::Completed);
        }
        self.gate.acquire().await.unwrap().forget();
        let mut next = item.input.clone();
        next.title = serde_json::from_value("a second slice".into()).unwrap();
        Ok(Outcome::go_on_with(&next)?)
    }
}

/// The same in a batch, whose work is its transaction.
#[derive(Debug, Clone)]
pub(super) struct KeyedBatch<const PLACES: u32>;

impl<const PLACES: u32> BatchFunction for KeyedBatch<PLACES> {
    const NAME: &'static str = "keyed-batch";
    const CONFIG: &'static str = Keyed::<1, false>::CONFIG;
    const POLICY: Policy = Policy {
        concurrency: PLACES,
        timeout: Duration::from_secs(8),
        ..Scripted::POLICY
    };
    type Input = NotificationRequested;

    const CONCURRENCY_KEY: Option<KeyOf<NotificationRequested>> =
        Some(|input| key_of(input.title.as_str()));

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let mut outcomes = Vec::new();
        for item in items {
            let title = item.input.title.as_str();
            sqlx::query(
                "INSERT INTO at_work (title, key, began, ended)
                 SELECT $1, $2, began, clock_timestamp()
                 FROM (SELECT clock_timestamp() AS began OFFSET 0) AS began, pg_sleep(0.003)",
            )
            .bind(title)
            .bind(key_of(title))
            .execute(&mut *tx)
            .await?;
            outcomes.push(Outcome::Completed);
        }
        Ok(outcomes)
    }
}
