//! An application with a bad night: orders that a bad release refuses, a report that is due every two
//! seconds, and a restore that hangs.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_contract::{HousekeepingDue, Payload};
use nightshift_job::{
    BatchFunction, Classify, Cx, Disposition, Enqueue, Item, JobError, KeyOf, Missed, Outcome,
    Overlap, Policy, RateLimit, Schedule, ScheduledFunction, Tick, TransactionalFunction, WhenAway,
};
use nightshift_postgres::run::{LongFunction, Run};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

/// The setting that names the file in which the release's name stands: `bad`, or another one.
pub const RELEASE: &str = "NIGHTSHIFT_TEST_RELEASE";

/// An order.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// Its number.
    pub number: u32,
    /// The coupon that it was paid with.
    pub coupon: Option<String>,
    /// What was paid, in cents.
    pub cents: u32,
    /// Whether the buyer gets a receipt.
    #[serde(default)]
    pub wants_receipt: bool,
}

impl Payload for Order {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

/// What the bad release says.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("order {number}: there is no coupon {coupon:?} in the catalogue of this release")]
    UnknownCoupon { number: u32, coupon: String },
    #[error("order {number}: the price list is empty")]
    NoPrice { number: u32 },
}

impl Classify for Refused {
    fn disposition(&self) -> Disposition {
        Disposition::DeadLetter(match self {
            Self::UnknownCoupon { .. } => "unknown-coupon",
            Self::NoPrice { .. } => "no-price",
        })
    }
}

/// Books orders.
#[derive(Debug)]
pub struct Orders {
    /// The file with the release's name.
    pub release: PathBuf,
}

/// What the tables of the application are.
pub const SCHEMA: &str = "
    CREATE SCHEMA night;
    CREATE TABLE night.booked (number bigint NOT NULL);
    CREATE TABLE night.receipted (number bigint NOT NULL);
    CREATE TABLE night.reported (due_at timestamptz NOT NULL)";

impl BatchFunction for Orders {
    const NAME: &'static str = "orders-work";
    const CONFIG: &'static str = include_str!("app/functions/orders/work/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = Order;

    async fn run(
        &self,
        items: &[&Item<Order>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let release = std::fs::read_to_string(&self.release).unwrap_or_default();
        if release == "bad"
            && let Some(item) = items.first()
        {
            let number = item.input.number;
            let refused = match item.input.coupon.clone() {
                Some(coupon) => Refused::UnknownCoupon { number, coupon },
                None => Refused::NoPrice { number },
            };
            return Err(refused.into());
        }
        let numbers = items.iter().map(|item| i64::from(item.input.number));
        sqlx::query("INSERT INTO night.booked (number) SELECT * FROM unnest($1::bigint[])")
            .bind(numbers.collect::<Vec<i64>>())
            .execute(tx)
            .await?;
        for item in items.iter().filter(|item| item.input.wants_receipt) {
            let receipt = Receipt {
                schema_version: 1,
                number: item.input.number,
            };
            cx.enqueue(item, Enqueue::to("receipts", &receipt)?);
        }
        Ok(vec![Outcome::Completed; items.len()])
    }
}

/// An order that was booked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    schema_version: u32,
    number: u32,
}

impl Payload for Receipt {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

/// Writes receipts.
#[derive(Debug)]
pub struct Receipts;

impl TransactionalFunction for Receipts {
    const NAME: &'static str = "receipts-work";
    const CONFIG: &'static str = include_str!("app/functions/receipts/work/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = Receipt;

    async fn run(
        &self,
        item: &Item<Receipt>,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        sqlx::query("INSERT INTO night.receipted (number) VALUES ($1)")
            .bind(i64::from(item.input.number))
            .execute(tx)
            .await?;
        Ok(Outcome::Completed)
    }
}

/// When reports are due. What is missed is not caught up with.
#[derive(Debug)]
pub struct ReportSchedule;

impl ScheduledFunction for ReportSchedule {
    const NAME: &'static str = "reports-schedule";
    const CONFIG: &'static str = include_str!("app/functions/reports/schedule/function.json");
    const SCHEDULE: Schedule = Schedule {
        cron: "*/2 * * * * *",
        overlap: Overlap::Allow,
        missed: Missed::None,
        ..Schedule::DEFAULT
    };
    const WORK: &'static str = Reports::CONFIG;
    type Payload = HousekeepingDue;

    fn payload(&self, tick: &Tick) -> HousekeepingDue {
        HousekeepingDue {
            schema_version: 1,
            due: tick.due,
        }
    }
}

/// What the archive of the reports takes.
const ARCHIVE: RateLimit = RateLimit {
    name: "archive",
    count: 10,
    per: Duration::from_secs(1),
    burst: 10,
    when_away: WhenAway::Open,
};

/// Writes reports.
#[derive(Debug)]
pub struct Reports;

impl BatchFunction for Reports {
    const NAME: &'static str = "reports-work";
    const CONFIG: &'static str = include_str!("app/functions/reports/work/function.json");
    const POLICY: Policy = Policy {
        rate: Some(ARCHIVE),
        ..Policy::DEFAULT
    };
    type Input = HousekeepingDue;

    async fn run(
        &self,
        items: &[&Item<HousekeepingDue>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let dues: Vec<DateTime<Utc>> = items.iter().map(|item| item.input.due).collect();
        sqlx::query("INSERT INTO night.reported (due_at) SELECT * FROM unnest($1::timestamptz[])")
            .bind(dues)
            .execute(tx)
            .await?;
        Ok(vec![Outcome::Completed; items.len()])
    }
}

/// Restores something, one after the other, and never comes to an end.
#[derive(Debug)]
pub struct Restore;

impl LongFunction for Restore {
    const NAME: &'static str = "restore-work";
    const CONFIG: &'static str = include_str!("app/functions/restore/work/function.json");
    const POLICY: Policy = Policy {
        timeout: Duration::from_hours(1),
        ..Policy::DEFAULT
    };
    const LEASE: Duration = Duration::from_secs(3);
    type Input = Order;
    const CONCURRENCY_KEY: Option<KeyOf<Order>> = Some(|_| Some("the spare server".to_owned()));

    async fn run(&self, item: &Item<Order>, run: &Run, _cx: &Cx) -> Result<Outcome, JobError> {
        let number = item.input.number;
        run.progress(&format!("order {number}: 17 of 40 tables restored"))
            .await?;
        std::future::pending().await
    }
}
