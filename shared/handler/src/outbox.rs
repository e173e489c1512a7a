//! Sends what committed transactions have promised.
//!
//! Whoever commits flushes at once, in the background. A process that dies in between leaves the
//! rows, and so does a broker that is away: the sweeper of any handler that lives finds them ten
//! seconds later. A message is sent again when nobody knows whether it arrived, under the same id.
//! The sweeper also rescues messages that wait and whose copy has not come.
//!
//! Pings leave from here, too: whoever ends a tick commits, and then tells.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::future::{join, join_all};
use nightshift_bus::{BusError, ClientOptions, Message, PropertyValue, ServiceBusClient};
use nightshift_connection::{Connection, Connections};
use nightshift_crashpoint::CrashPoint;
use nightshift_postgres::open_message::Places;
use nightshift_postgres::outbox::{self, Promised};
use nightshift_postgres::{BACKGROUND, Lease, control, in_time, inbox, is_conflict, open_message};
use nightshift_telemetry::causes;
use nightshift_telemetry::metrics::{SENT, UNSENT};
use nightshift_telemetry::trace::{self, Attribute, CONTEXT_PROPERTIES, Kind, Past};
use nightshift_time::{Ids, SharedClock};
use serde_json::{Map, Value};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::copy::copy_of;
use crate::ping::{PingSettings, Pings, TickEnd};
use crate::refused;

/// For how long one sweep may be busy with keys of which messages wait although a place is free.
const STUCK: Duration = Duration::from_secs(10);

/// How often the sweeper looks.
const PERIOD: Duration = Duration::from_secs(5);

/// How many messages the sweeper takes at a time.
const AT_A_TIME: i64 = 200;

/// Opens a transaction as others do, for a statement that is planned anew each time: a plan that was made
/// while the outbox was empty reads all of it for each message once there is much in it.
const PLANNED: &str =
    "BEGIN; SET LOCAL statement_timeout = '20s'; SET LOCAL plan_cache_mode = force_custom_plan";

/// How many flushes may be under way.
const MAX_FLUSHES: usize = 16;

/// For how long a promised message is its committer's, as the table says.
const OWNED: Duration = Duration::from_secs(10);

/// How long flushes and pings that are under way may hold up the end of the process.
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
    /// Who is told how ticks end; nobody until it is set.
    pings: OnceLock<Pings>,
    /// Told when there is something that the next sweep would find.
    is_wanted: Notify,
}

/// What became of some messages.
#[derive(Debug)]
struct Sent {
    count: usize,
    /// Why others were not sent; they are still there.
    unsent: Option<BusError>,
}

/// What one look at the outbox came to.
#[derive(Debug, Default)]
struct Swept {
    sent: usize,
    rescued: usize,
    unsent: Option<BusError>,
    /// Whether the broker took nothing of the last messages, for a cause that may pass.
    is_away: bool,
}

impl Swept {
    fn goes_on(&self) -> bool {
        !self.is_away
    }

    fn take(&mut self, sent: Sent) -> usize {
        if let Some(error) = sent.unsent {
            self.is_away = sent.count == 0 && error.is_transient();
            self.unsent = Some(error);
        }
        sent.count
    }
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
            pings: OnceLock::new(),
            is_wanted: Notify::new(),
        }))
    }

    /// Tells those of `settings` how ticks end; to be said once.
    #[must_use]
    pub fn with_pings(self, settings: PingSettings) -> Self {
        // Whoever says it twice is told nothing new.
        let _ = self.0.pings.set(settings.into());
        self
    }

    /// Tells in the background how ticks have ended in a transaction that has just committed.
    pub(crate) fn tell(&self, ends: Vec<TickEnd>) {
        self.0.tell(ends);
    }

    /// The connection on which it sends; `None` if another process does.
    pub(crate) async fn client(&self) -> Result<Option<ServiceBusClient>, BusError> {
        match &self.0.bus {
            Some((connections, connection)) => connections.client(connection).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sends in the background what a transaction that has just committed has promised. When many
    /// flushes are under way already, as while the broker is away, the sweeper does it later.
    pub(crate) fn flush(&self, promised: Vec<Promised>) {
        if promised.is_empty() || self.0.bus.is_none() || self.0.flushes.len() >= MAX_FLUSHES {
            return;
        }
        let inner = Arc::clone(&self.0);
        self.0.flushes.spawn(async move {
            CrashPoint::BeforeFlush.reach().await;
            let sent = timeout(OWNED, inner.send(promised)).await;
            if let Ok(Ok(Sent { count, .. })) = &sent {
                SENT.add(&["flush"], *count);
            }
            let why = match sent {
                Ok(Ok(Sent { unsent: None, .. })) => return,
                Ok(Ok(Sent {
                    unsent: Some(error),
                    ..
                })) => causes(&error),
                Ok(Err(error)) => causes(&error),
                Err(_) => "it took too long".to_owned(),
            };
            tracing::warn!(
                error = why,
                "promised messages were not sent; the sweeper will"
            );
        });
    }

    /// Ends the pause before the next sweep.
    pub(crate) fn sweep_soon(&self) {
        self.0.is_wanted.notify_one();
    }

    /// Sends what others have left, again and again until `stop`, and has the inbox ready for each next day.
    /// `places` says how many messages of one concurrency key each function works on at a time.
    pub(crate) async fn sweep_until(
        &self,
        places: &BTreeMap<&'static str, u32>,
        stop: CancellationToken,
    ) {
        let mut was_well = true;
        let mut ready_for = None;
        loop {
            let swept = tokio::select! {
                swept = self.0.look_after(&mut ready_for, places) => swept,
                // What is under way stays in the outbox.
                () = stop.cancelled() => return,
            };
            let problem = match swept {
                Ok(Swept {
                    sent,
                    rescued,
                    unsent,
                    ..
                }) => {
                    if sent + rescued > 0 {
                        tracing::info!(
                            outbox.sent = sent,
                            outbox.rescued = rescued,
                            "swept the outbox"
                        );
                    }
                    unsent.map(|error| causes(&error))
                }
                Err(error) => Some(causes(&error)),
            };
            if let Some(error) = &problem
                && was_well
            {
                // Once for each outage.
                tracing::warn!(
                    error,
                    "not everything in the outbox could be sent; trying on"
                );
            }
            was_well = problem.is_none();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
                () = self.0.is_wanted.notified() => {}
            }
        }
    }

    /// Waits for what is under way and closes the connections.
    pub(crate) async fn close(&self) {
        self.0.flushes.close();
        let pings = async {
            if let Some(pings) = self.0.pings.get() {
                pings.close().await;
            }
        };
        // A message that is not sent by then stays in the outbox; a ping that is not may raise an alarm.
        let _ = timeout(GRACE, join(self.0.flushes.wait(), pings)).await;
        if let Some((connections, _)) = &self.0.bus {
            connections.close().await;
        }
    }
}

impl Inner {
    fn tell(&self, ends: Vec<TickEnd>) {
        if let Some(pings) = self.pings.get() {
            pings.tell(ends);
        }
    }

    /// A sweep, and once a day tomorrow's partition, so that midnight waits for nothing.
    async fn look_after(
        &self,
        ready_for: &mut Option<NaiveDate>,
        places: &BTreeMap<&'static str, u32>,
    ) -> Result<Swept, sqlx::Error> {
        let today = self.clock.now().date_naive();
        let ready = if *ready_for == Some(today) {
            Ok(())
        } else {
            in_time(BACKGROUND, self.ready_inbox(today)).await
        };
        if ready.is_ok() {
            *ready_for = Some(today);
        }
        let swept = self.sweep(places).await?;
        ready.map(|()| swept)
    }

    async fn ready_inbox(&self, today: NaiveDate) -> Result<(), sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        inbox::ensure_partitions(lease.connection(), today).await?;
        lease.end();
        Ok(())
    }

    /// One look at the outbox, and then at the messages that wait.
    async fn sweep(&self, places: &BTreeMap<&'static str, u32>) -> Result<Swept, sqlx::Error> {
        let mut swept = Swept::default();
        if self.bus.is_none() {
            return Ok(swept);
        }
        while swept.goes_on() {
            let taken = in_time(BACKGROUND, self.take()).await?;
            if taken.is_empty() {
                break;
            }
            let sent = swept.take(self.send(taken).await?);
            SENT.add(&["sweep"], sent);
            swept.sent += sent;
        }
        in_time(BACKGROUND, self.wake_stragglers()).await?;
        let stuck = in_time(BACKGROUND, self.wake_stuck(places)).await?;
        swept.rescued += swept.take(self.send(stuck).await?);
        while swept.goes_on() {
            let overdue = in_time(BACKGROUND, self.take_overdue()).await?;
            if overdue.is_empty() {
                break;
            }
            let sent = swept.take(self.send(overdue).await?);
            SENT.add(&["rescue"], sent);
            swept.rescued += sent;
        }
        Ok(swept)
    }

    async fn take(&self) -> Result<Vec<Promised>, sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        let taken = outbox::take(lease.connection(), AT_A_TIME).await?;
        lease.end();
        Ok(taken)
    }

    async fn wake_stragglers(&self) -> Result<(), sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        control::wake_stragglers(lease.connection(), AT_A_TIME).await?;
        lease.end();
        Ok(())
    }

    /// Wakes the first of those who wait for places of a concurrency key that are free: nobody has passed
    /// them on, or there are more of them since an operator has said so.
    async fn wake_stuck(
        &self,
        places: &BTreeMap<&'static str, u32>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        let stuck = open_message::stuck_queues(lease.connection(), places, AT_A_TIME).await?;
        let mut promised = Vec::new();
        let began = Instant::now();
        for (function, key) in stuck {
            // Somebody may be at work on many of them, and overdue messages wait as well.
            if began.elapsed() > STUCK {
                break;
            }
            let places = Places {
                function: &function,
                key,
                // One at least may be at work, and wakes the others when it is done.
                declared: places.get(function.as_str()).copied().unwrap_or(1),
            };
            match self.wake_queue(lease.connection(), places).await {
                Ok(copies) => promised.extend(copies),
                // Somebody is at it.
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error),
            }
        }
        lease.end();
        Ok(promised)
    }

    async fn wake_queue(
        &self,
        connection: &mut PgConnection,
        places: Places<'_>,
    ) -> Result<Vec<Promised>, sqlx::Error> {
        let mut tx = connection.begin_with(inbox::BEGIN).await?;
        let woken = open_message::wake_queued(&mut tx, places).await?;
        let (mut ids, now) = (Ids::random(), self.clock.now());
        let copies = woken.into_iter().map(|row| {
            tracing::info!(
                function.name = row.function,
                job.key = %row.key,
                "a message waits for a place that is free; waking it"
            );
            copy_of(row, ids.next(now))
        });
        let copies: Vec<Promised> = copies.collect();
        outbox::promise(&mut tx, &copies).await?;
        tx.commit().await?;
        Ok(copies)
    }

    async fn take_overdue(&self) -> Result<Vec<Promised>, sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        let mut tx = lease.connection().begin_with(PLANNED).await?;
        let overdue = open_message::take_overdue(&mut tx, AT_A_TIME).await?;
        let mut ids = Ids::random();
        let now = self.clock.now();
        let promised = overdue.into_iter().map(|row| {
            if row.rescues > 0 {
                tracing::warn!(
                    function.name = row.function,
                    job.key = %row.key,
                    job.rescues = row.rescues,
                    "the copy of a message that waits has not come; sending another"
                );
            }
            copy_of(row, ids.next(now))
        });
        let promised: Vec<Promised> = promised.collect();
        outbox::promise(&mut tx, &promised).await?;
        tx.commit().await?;
        lease.end();
        Ok(promised)
    }

    /// Sends all of them and forgets those that the broker has.
    async fn send(&self, promised: Vec<Promised>) -> Result<Sent, sqlx::Error> {
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
        CrashPoint::InFlush.reach().await;
        in_time(BACKGROUND, self.note(&sent, &unsent)).await?;
        Ok(Sent {
            count: sent.len(),
            unsent: unsent.into_iter().next().map(|(_, error)| error),
        })
    }

    /// Writes what became of messages.
    async fn note(&self, sent: &[Uuid], unsent: &[(Uuid, BusError)]) -> Result<(), sqlx::Error> {
        let mut lease = Lease::take(&self.pool).await?;
        if !sent.is_empty() {
            outbox::forget(lease.connection(), sent).await?;
        }
        UNSENT.add(&[], unsent.len());
        for (id, error) in unsent {
            if is_about_message(error) {
                tracing::error!(outbox.id = %id, error = causes(error), "the broker refuses a promised message, which is a dead letter now");
                let (mut ids, now) = (Ids::random(), self.clock.now());
                let new_id = || ids.next(now);
                match refused::bury(lease.connection(), *id, causes(error), new_id).await {
                    // Somebody is at what waits for it; it is refused again later.
                    Err(error) if is_conflict(&error) => {}
                    buried => self.tell(buried?.into_iter().collect()),
                }
            } else {
                outbox::note_failure(lease.connection(), *id, &causes(error)).await?;
            }
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
        let contexts: Vec<Option<String>> = if trace::is_on() {
            messages.iter().map(context_of).collect()
        } else {
            Vec::new()
        };
        let began = self.clock.now();
        let sends = messages
            .into_iter()
            .map(|message| sender.send_message(as_sent(message)));
        let outcomes = join_all(sends).await;
        for (context, outcome) in contexts.iter().zip(&outcomes) {
            if let Some(parent) = context {
                record_send(&queue, parent, began, outcome.as_ref().err());
            }
        }
        ids.into_iter().zip(outcomes).collect()
    }
}

/// Whether the broker refuses the message for what it is. Other refusals (no such queue, no right to
/// send to it, a full queue) end when somebody does something about them.
fn is_about_message(error: &BusError) -> bool {
    let is_about_message = matches!(
        error,
        BusError::MessageTooLarge { .. } | BusError::Refused { .. } | BusError::InvalidArgument(_)
    );
    is_about_message && !error.is_transient()
}

/// The trace context that a message carries on.
fn context_of(promised: &Promised) -> Option<String> {
    let properties: Map<String, Value> = serde_json::from_str(&promised.properties).ok()?;
    let property = |name| properties.get(name)?.as_str();
    let context = CONTEXT_PROPERTIES.into_iter().find_map(property)?;
    Some(context.to_owned())
}

fn record_send(queue: &str, parent: &str, began: DateTime<Utc>, error: Option<&BusError>) {
    Past {
        name: "queue.send",
        kind: Kind::Producer,
        parent,
        began,
        attributes: vec![Attribute::new(
            "messaging.destination.name",
            queue.to_owned(),
        )],
        error: error.map(|error| causes(error)),
    }
    .record();
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
