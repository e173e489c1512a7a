//! The functions of the work benchmark: one idempotent row for each message.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nightshift_contract::Payload;
use nightshift_job::{
    BatchFunction, Cx, Item, JobError, Outcome, Policy, RateLimit, TransactionalFunction, WhenAway,
};
use nightshift_settings::{Environment, Source};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

/// The statement that writes the rows, from arrays of ids and loads.
pub const EFFECT: &str = include_str!("effect.sql");

/// The table for the rows.
pub const SCHEMA: &str = include_str!("schema.sql");

/// The setting with the loopback port that is told of rows that are committed.
pub const TELL: &str = "NIGHTSHIFT_TEST_TELL";

/// One message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    schema_version: u32,
    /// Which measurement it belongs to.
    load: String,
    /// When it was sent, in microseconds since 1970, if its commit is to be told.
    sent: Option<u64>,
}

impl Payload for Order {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

impl Order {
    /// A message of the measurement `load`.
    pub fn of(load: &str) -> Self {
        Self {
            schema_version: 1,
            load: load.to_owned(),
            sent: None,
        }
    }

    /// Like [`Order::of`], sent now and told when it is committed.
    pub fn told(load: &str) -> Self {
        Self {
            sent: Some(micros_now()),
            ..Self::of(load)
        }
    }
}

/// Microseconds since 1970 by this machine's clock.
fn micros_now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "two processes of one machine compare it; nothing is decided by it"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Tells the benchmark how long messages took from their sending until the database had said that
/// their commit is done: datagrams of eight bytes, microseconds.
#[derive(Debug, Clone)]
pub struct Teller(Option<Arc<UdpSocket>>);

impl Teller {
    /// As the environment says; without a port it is silent.
    pub fn of_environment() -> io::Result<Self> {
        let port = Environment.get(TELL).and_then(|port| port.parse().ok());
        let Some(port) = port else {
            return Ok(Self(None));
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self(Some(Arc::new(socket))))
    }

    fn tell_after_commit(&self, items: &[&Item<Order>], cx: &Cx) {
        let sent: Vec<u64> = items.iter().filter_map(|item| item.input.sent).collect();
        let Some(socket) = self.0.clone().filter(|_| !sent.is_empty()) else {
            return;
        };
        cx.after_commit(async move {
            let now = micros_now();
            for sent in sent {
                let took = now.saturating_sub(sent);
                // What is not told is missed by the benchmark, which says so.
                let _ = socket.send(&took.to_be_bytes());
            }
        });
    }
}

/// A batch, one commit.
#[derive(Debug)]
pub struct Batch(pub Teller);

impl BatchFunction for Batch {
    const NAME: &'static str = "bench-batch";
    const CONFIG: &'static str = include_str!("app/functions/bench/batch/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = Order;

    async fn run(
        &self,
        items: &[&Item<Order>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        write(items, tx).await?;
        self.0.tell_after_commit(items, cx);
        Ok(items.iter().map(|_| Outcome::Completed).collect())
    }
}

/// A batch, one commit, behind a rate that nothing ever waits for. Without Redis it stands still.
#[derive(Debug)]
pub struct Limited;

impl BatchFunction for Limited {
    const NAME: &'static str = "bench-limited";
    const CONFIG: &'static str = include_str!("app/functions/bench/limited/function.json");
    const POLICY: Policy = Policy {
        rate: Some(RateLimit {
            name: "bench",
            count: 1_000_000,
            per: Duration::from_secs(1),
            burst: 1_000_000,
            when_away: WhenAway::Closed,
        }),
        ..Policy::DEFAULT
    };
    type Input = Order;

    async fn run(
        &self,
        items: &[&Item<Order>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        write(items, tx).await?;
        Ok(items.iter().map(|_| Outcome::Completed).collect())
    }
}

/// A commit for each message.
#[derive(Debug)]
pub struct Single;

impl TransactionalFunction for Single {
    const NAME: &'static str = "bench-single";
    const CONFIG: &'static str = include_str!("app/functions/bench/single/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = Order;

    async fn run(
        &self,
        item: &Item<Order>,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        write(&[item], tx).await?;
        Ok(Outcome::Completed)
    }
}

async fn write(items: &[&Item<Order>], tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = items.iter().map(|item| item.key.0).collect();
    let loads: Vec<&str> = items.iter().map(|item| item.input.load.as_str()).collect();
    sqlx::query(EFFECT)
        .bind(ids)
        .bind(loads)
        .execute(tx)
        .await?;
    Ok(())
}
