//! Sends what committed transactions have promised.
//!
//! Whoever commits flushes at once, in the background. A process that dies in between leaves the
//! rows, and so does a broker that is away: the sweeper of any handler that lives finds them ten
//! seconds later. A message is sent again when nobody knows whether it arrived, under the same id.
//! The sweeper also rescues messages that wait and whose copy has not come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nightshift_bus::{BusError, ClientOptions, Message, PropertyValue};
use nightshift_connection::{Connection, Connections};
use nightshift_postgres::Lease;
use nightshift_postgres::open_message;
use nightshift_postgres::outbox::{self, Promised};
use nightshift_telemetry::causes;
use nightshift_time::{Ids, SharedClock};
use serde_json::{Map, Value};
use sqlx::{Connection as _, PgPool};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::copy::{CopyOf, Original};

/// How often the sweeper looks.
const PERIOD: Duration = Duration::from_secs(5);

/// How many messages the sweeper takes at a time: what is sent in well under ten seconds.
const AT_A_TIME: i64 = 200;

/// How long a flush that is under way may hold up the end of the process.
const GRACE: Duration = Duration::from_secs(5);

/// Sends promised messages. Clones share everything.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    clock: SharedClock,
    /// `None`: the messages stay where they are.
    bus: Option<(Connections, Connection)>,
    flushes: TaskTracker,
}

/// Why promised messages are still there.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("the outbox cannot be read or written")]
    Database(#[from] sqlx::Error),
    #[error("{count} promised messages could not be sent")]
    Unsent {
        count: usize,
        #[source]
        first: BusError,
    },
}

impl Outbox {
    /// Sends to the namespace of `connection`, to which it connects when there is something to send.
    pub fn new(pool: PgPool, clock: SharedClock, connection: Connection) -> Self {
        let connections = Connections::new(ClientOptions::default());
        Self::with(pool, clock, Some((connections, connection)))
    }

    /// Sends nothing: another process does.
    pub fn left_to_others(pool: PgPool, clock: SharedClock) -> Self {
        Self::with(pool, clock, None)
    }

    fn with(pool: PgPool, clock: SharedClock, bus: Option<(Connections, Connection)>) -> Self {
        Self(Arc::new(Inner {
            pool,
            clock,
            bus,
            flushes: TaskTracker::new(),
        }))
    }

    /// Sends in the background what a transaction that has just committed has promised.
    pub(crate) fn flush(&self, promised: Vec<Promised>) {
        if promised.is_empty() || self.0.bus.is_none() {
            return;
        }
        let inner = Arc::clone(&self.0);
        self.0.flushes.spawn(async move {
            if let Err(error) = inner.send(promised).await {
                let error = causes(&error);
                tracing::warn!(error, "promised messages were not sent; the sweeper will");
            }
        });
    }

    /// Sends what others have left, again and again until `stop`; then waits for flushes that are
    /// under way and closes the connections.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut was_well = true;
        while !stop.is_cancelled() {
            let swept = async {
                let sent = self.0.sweep().await?;
                Ok::<_, Kept>((sent, self.0.rescue().await?))
            };
            let swept = swept.await;
            match &swept {
                Ok((0, 0)) => {}
                Ok((sent, rescued)) => {
                    tracing::info!(
                        outbox.sent = sent,
                        outbox.rescued = rescued,
                        "swept the outbox"
                    );
                }
                // Once for each outage.
                Err(error) if was_well => {
                    let error = causes(error);
                    tracing::warn!(error, "the outbox cannot be swept; trying on");
                }
                Err(_) => {}
            }
            was_well = swept.is_ok();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        self.0.flushes.close();
        // What is not sent by then stays in the outbox.
        let _ = tokio::time::timeout(GRACE, self.0.flushes.wait()).await;
        if let Some((connections, _)) = &self.0.bus {
            connections.close().await;
        }
    }
}

impl Inner {
    async fn sweep(&self) -> Result<usize, Kept> {
        let mut sent = 0;
        if self.bus.is_none() {
            return Ok(sent);
        }
        loop {
            let mut lease = Lease::take(&self.pool).await?;
            let taken = outbox::take(lease.connection(), AT_A_TIME).await?;
            lease.end();
            let count = taken.len();
            if count == 0 {
                return Ok(sent);
            }
            self.send(taken).await?;
            sent += count;
        }
    }

    /// Sends another copy for messages that wait and whose copy has not come.
    async fn rescue(&self) -> Result<usize, Kept> {
        let mut rescued = 0;
        if self.bus.is_none() {
            return Ok(rescued);
        }
        loop {
            let promised = self.take_overdue().await?;
            let count = promised.len();
            if count == 0 {
                return Ok(rescued);
            }
            self.send(promised).await?;
            rescued += count;
        }
    }

    async fn take_overdue(&self) -> Result<Vec<Promised>, sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        let mut tx = lease.connection().begin().await?;
        let overdue = open_message::take_overdue(&mut tx, AT_A_TIME).await?;
        let mut ids = Ids::random();
        let now = self.clock.now();
        let promised = overdue.into_iter().map(|row| {
            tracing::warn!(
                function.name = row.function,
                job.key = %row.key,
                job.rescues = row.rescues,
                "the copy of a message that waits has not come; sending another"
            );
            let copy = CopyOf {
                key: row.key,
                r#gen: row.r#gen,
                attempt: row.attempt,
                enqueued: row.enqueued,
            };
            let original = Original {
                queue: row.queue,
                due: None,
                session_id: row.session_id,
                // What we have written ourselves is an object.
                properties: serde_json::from_str(&row.properties).unwrap_or_default(),
                body: row.body.into(),
                rescues: row.rescues,
            };
            copy.promise(ids.next(now), original)
        });
        let promised: Vec<Promised> = promised.collect();
        outbox::promise(&mut tx, &promised).await?;
        tx.commit().await?;
        lease.end();
        Ok(promised)
    }

    /// Sends all of them and forgets those that the broker has.
    async fn send(&self, promised: Vec<Promised>) -> Result<(), Kept> {
        let mut by_queue: BTreeMap<String, Vec<Promised>> = BTreeMap::new();
        for message in promised {
            by_queue
                .entry(message.queue.clone())
                .or_default()
                .push(message);
        }
        let sends = by_queue
            .into_iter()
            .map(|(queue, messages)| self.send_to(queue, messages));
        let mut sent = Vec::new();
        let mut unsent: Vec<(Uuid, BusError)> = Vec::new();
        for (id, outcome) in join_all(sends).await.into_iter().flatten() {
            match outcome {
                Ok(()) => sent.push(id),
                Err(error) => unsent.push((id, error)),
            }
        }
        let mut lease = Lease::take(&self.pool).await?;
        if !sent.is_empty() {
            outbox::forget(lease.connection(), &sent).await?;
        }
        let ids: Vec<Uuid> = unsent.iter().map(|(id, _)| *id).collect();
        if let Some((_, first)) = unsent.into_iter().next() {
            outbox::note_failure(lease.connection(), &ids, &causes(&first)).await?;
            lease.end();
            let count = ids.len();
            return Err(Kept::Unsent { count, first });
        }
        lease.end();
        Ok(())
    }

    async fn send_to(
        &self,
        queue: String,
        messages: Vec<Promised>,
    ) -> Vec<(Uuid, Result<(), BusError>)> {
        let Some((connections, connection)) = &self.bus else {
            return Vec::new();
        };
        let ids = messages.iter().map(|message| message.id);
        let sender = match connections.sender(connection, &queue).await {
            Ok(sender) => sender,
            Err(error) => return ids.map(|id| (id, Err(error.clone()))).collect(),
        };
        let ids: Vec<Uuid> = ids.collect();
        let sends = messages
            .into_iter()
            .map(|message| sender.send_message(as_sent(message)));
        let outcomes = join_all(sends).await;
        ids.into_iter().zip(outcomes).collect()
    }
}

fn as_sent(promised: Promised) -> Message {
    // What we have written ourselves is an object.
    let properties: Map<String, Value> =
        serde_json::from_str(&promised.properties).unwrap_or_default();
    let properties = properties.into_iter();
    Message {
        message_id: Some(promised.message_id),
        content_type: Some("application/json".to_owned()),
        session_id: promised.session_id,
        scheduled_enqueue_time: promised.due,
        application_properties: properties
            .map(|(name, value)| (name, property(value)))
            .collect(),
        ..Message::new(promised.body)
    }
}

/// A property as it arrived in an invocation, whose JSON knows fewer types than AMQP.
fn property(value: Value) -> PropertyValue {
    match value {
        Value::Null => PropertyValue::Null,
        Value::Bool(value) => PropertyValue::Bool(value),
        Value::Number(number) => number.as_i64().map_or_else(
            || PropertyValue::F64(number.as_f64().unwrap_or_default()),
            PropertyValue::I64,
        ),
        Value::String(text) => PropertyValue::String(text),
        Value::Array(_) | Value::Object(_) => PropertyValue::String(value.to_string()),
    }
}
