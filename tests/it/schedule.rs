//! What runs by the clock: every due tick is one row, whatever becomes of the wake-ups, and runs by the
//! stated rules. The ledger and the handler's own code against a real database, whose clock a test sets.

mod deploys;
mod housekeeping;
mod overlaps;
mod pings;
mod processes;
mod registry;
mod requests;
mod wake_ups;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use nightshift_bindings::function_json::DataType;
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bindings::invocation::encode::Envelope;
use nightshift_contract::HousekeepingDue;
use nightshift_handler::{Call, InvocationFailed, Outbox, PingSettings, Registry};
use nightshift_job::{
    BatchFunction, Children, Classify, Cx, Disposition, Enqueue, Item, JobError, Missed, Outcome,
    Overlap, Policy, Schedule, ScheduledFunction, Tick,
};
use nightshift_postgres::schedule::{
    BEGIN, Decided, Looked, Occasion, ScheduleError, Scheduled, wake_up,
};
use nightshift_testkit::{TestDatabase, take_promised};
use nightshift_time::{Clock, SharedClock, TestClock};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The scheduled function of these tests, and its schedule unless a test says otherwise.
#[derive(Debug, Clone, Copy)]
struct Clocked;

const HOURLY: Schedule = Schedule {
    overlap: Overlap::Allow,
    ..Schedule::DEFAULT
};

impl ScheduledFunction for Clocked {
    const NAME: &'static str = "clocked-schedule";
    const CONFIG: &'static str =
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 0 * * * *"}]}"#;
    const SCHEDULE: Schedule = HOURLY;
    const WORK: &'static str = Work::CONFIG;
    type Payload = HousekeepingDue;

    fn payload(&self, tick: &Tick) -> HousekeepingDue {
        payload(tick)
    }
}

fn payload(tick: &Tick) -> HousekeepingDue {
    HousekeepingDue {
        schema_version: 1,
        due: tick.due,
    }
}

/// How the work goes.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Complete,
    /// In a third of a second.
    CompleteSlowly,
    Skip,
    Refuse,
    Fail,
    /// Into one part.
    Split,
}

/// The work of the ticks; it remembers which ones it has run.
#[derive(Debug, Clone)]
struct Work {
    mode: Arc<Mutex<Mode>>,
    ran: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("not yet")]
struct NotYet;

impl Classify for NotYet {
    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}

impl BatchFunction for Work {
    const NAME: &'static str = "clocked-work";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "clocked", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy::DEFAULT;
    type Input = HousekeepingDue;

    async fn run(
        &self,
        items: &[&Item<HousekeepingDue>],
        tx: &mut sqlx::PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let mode = *self.mode.lock().unwrap();
        let outcome = match mode {
            Mode::Complete => Outcome::Completed,
            Mode::CompleteSlowly => {
                sqlx::query("SELECT pg_sleep(0.3)").execute(tx).await?;
                Outcome::Completed
            }
            Mode::Split => {
                let message = || Enqueue::to("clocked", &items[0].input);
                Outcome::Children(Children {
                    parts: vec![message()?],
                    finish: message()?,
                })
            }
            Mode::Skip => Outcome::Skipped("nothing to do".to_owned()),
            Mode::Refuse => Outcome::refused("told", "the test says so"),
            Mode::Fail => return Err(NotYet.into()),
        };
        let due = |item: &&Item<HousekeepingDue>| item.input.due.format("%H:%M").to_string();
        self.ran.lock().unwrap().extend(items.iter().map(due));
        Ok(vec![outcome; items.len()])
    }
}

/// On 2 March 2026, a Monday, if it is only a time of day.
fn at(text: &str) -> DateTime<Utc> {
    let text = if text.len() > 8 {
        text.to_owned()
    } else {
        format!("2026-03-02T{text}Z")
    };
    text.parse().unwrap()
}

/// One scheduled function, its work in a handler, and a database whose clock a test sets.
struct World {
    database: TestDatabase,
    clock: TestClock,
    registry: Registry,
    work: Work,
    schedule: Schedule,
    release: DateTime<Utc>,
}

impl World {
    /// The schedule was deployed at half past nine.
    async fn new(schedule: Schedule) -> Self {
        let world = Self::undeployed(schedule).await;
        world.look("09:30:00", Occasion::Start).await;
        world
    }

    async fn undeployed(schedule: Schedule) -> Self {
        Self::with_pings(schedule, PingSettings::default()).await
    }

    async fn with_pings(schedule: Schedule, pings: PingSettings) -> Self {
        let database = TestDatabase::create().await;
        let clock = TestClock::new(at("09:00:00"));
        let work = Work {
            mode: Arc::new(Mutex::new(Mode::Complete)),
            ran: Arc::default(),
        };
        let (pool, shared): (_, SharedClock) = (database.pool().clone(), Arc::new(clock.clone()));
        let outbox = Outbox::left_to_others(pool.clone(), shared.clone()).with_pings(pings);
        let registry = Registry::new(pool, outbox, shared)
            .with_schedule(Clocked)
            .unwrap()
            .with_batch(work.clone())
            .unwrap();
        Self {
            database,
            clock,
            registry,
            work,
            schedule,
            release: at("09:00:00"),
        }
    }

    /// The same with another schedule, of the release at `release`.
    fn redeployed(&mut self, schedule: Schedule, release: &str) {
        self.schedule = schedule;
        self.release = at(release);
    }

    async fn set_clock(&self, now: DateTime<Utc>) {
        self.database.set_clock(now).await;
        self.clock.set(now);
    }

    async fn look(&self, now: &str, occasion: Occasion) -> Looked {
        self.set_clock(at(now)).await;
        self.try_look(occasion).await.unwrap()
    }

    async fn try_look(&self, occasion: Occasion) -> Result<Looked, ScheduleError> {
        let timetable = self.schedule.read()?;
        let scheduled = Scheduled {
            function: Clocked::NAME,
            queue: "clocked",
            timetable: &timetable,
            release: self.release,
        };
        let mut connection = self.database.pool().acquire().await?;
        let mut tx = connection.begin_with(BEGIN).await?;
        let looked = wake_up(&mut tx, &scheduled, occasion, &body).await?;
        tx.commit().await?;
        Ok(looked)
    }

    /// A wake-up at `now`.
    async fn wake(&self, now: &str) -> Decided {
        match self.look(now, Occasion::WakeUp).await {
            Looked::Decided(decided) => decided,
            other => panic!("{other:?}"),
        }
    }

    /// What a broker that knows ids would deliver now: a message that nobody works on is sent again.
    async fn messages(&self) -> Vec<TriggerMessage> {
        let mut messages = take_promised(self.database.pool(), self.clock.now()).await;
        let mut seen = HashSet::new();
        messages.retain(|message| seen.insert(message.message_id.clone()));
        messages
    }

    /// The one message that was promised.
    async fn message(&self) -> TriggerMessage {
        let mut messages = self.messages().await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }

    async fn deliver(&self, message: &TriggerMessage, mode: Mode) {
        *self.work.mode.lock().unwrap() = mode;
        let envelope = Envelope {
            function: Work::NAME,
            binding: "messages",
            data_type: DataType::Binary,
            now: at("09:00:00"),
            random: Uuid::nil(),
        };
        let body = envelope
            .encode_batch(std::slice::from_ref(message))
            .unwrap();
        let outcome = self.registry.invoke(Work::NAME, &body, &call(10)).await;
        outcome.unwrap().unwrap();
    }

    /// Opens what the pool may hold, so that what comes at once is not kept apart by connecting.
    async fn open_connections(&self) {
        let pool = self.database.pool();
        let most = pool.options().get_max_connections();
        join_all((0..most).map(|_| pool.acquire())).await;
    }

    /// The wake-up of the real function in its handler.
    async fn invoke(&self, seconds: u64) -> Result<(), InvocationFailed> {
        let call = call(seconds);
        let outcome = self.registry.invoke(Clocked::NAME, b"{}", &call).await;
        outcome.unwrap()
    }

    /// Every tick: when it was due, what asked for it, and what became of it.
    async fn ticks(&self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws(' ', to_char(due_at AT TIME ZONE 'UTC', 'HH24:MI'), nullif(kind, 'tick'),
                    state, CASE WHEN ticks > 1 THEN 'x' || ticks END)
             FROM nightshift.schedule_tick ORDER BY due_at, kind",
        )
        .await
    }

    /// Why ticks were not run.
    async fn whys(&self) -> Vec<String> {
        self.texts(
            "SELECT DISTINCT why FROM nightshift.schedule_tick WHERE why IS NOT NULL ORDER BY 1",
        )
        .await
    }

    async fn texts(&self, statement: &'static str) -> Vec<String> {
        sqlx::query_scalar(statement)
            .fetch_all(self.database.pool())
            .await
            .unwrap()
    }

    /// Which ticks were worked on.
    fn ran(&self) -> Vec<String> {
        self.work.ran.lock().unwrap().clone()
    }

    async fn end(self) {
        self.database.remove().await;
    }
}

fn body(tick: &Tick) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(&payload(tick)).map(Bytes::from)
}

fn call(seconds: u64) -> Call {
    let budget = Duration::from_secs(seconds);
    let cancellation = CancellationToken::new();
    Call::new(
        "test".to_owned(),
        budget,
        None,
        at("09:00:00"),
        cancellation,
    )
}
