//! Two runners, and what they need: a Postgres, a Redis and a broker of the test's own.

use std::process::Child;
use std::time::Instant;

use nightshift_bus::Message;
use nightshift_cli::servers::{Postgres, Redis, RedisVersion};
use nightshift_crashpoint::{CrashPoint, FOLDER};
use nightshift_job::JobKey;
use nightshift_tests::chaos::start_postgres;
use nightshift_tests::{App, Stack, StackOptions, children_named};
use nightshift_time::SystemClock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::look::shown_is_counted;
use super::super::*;
use super::reader::{self, Report};
use super::writer;
use crate::cache::{Relay, connect};

/// How long a lock lasts: what a host that is killed holds is free again after this.
const LOCK_SECONDS: u64 = 5;

/// How often a message asks for a count; in life it is each minute.
const TICK: Duration = Duration::from_millis(200);

/// One in so many asks for all sources, and becomes a message for each.
const TICKS_TO_A_FAN_OUT: usize = 3;

/// How many write at once.
const WRITERS: u64 = 4;

/// How long one is held at a crash point while the others go on.
const HELD: Duration = Duration::from_millis(300);

/// How long one is frozen, or its Redis does not answer: others count and show several times meanwhile.
const FROZEN: Duration = Duration::from_millis(1_500);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// The handler dies; its host starts it again.
    KillHandler,
    /// The host dies, and its handler with it.
    KillHost,
    /// The handler stands still and goes on later.
    FreezeHandler,
    /// Postgres dies, and keeps what was committed.
    KillPostgres,
    /// All connections to Postgres break.
    CutPostgres,
    /// Redis dies, and loses everything.
    KillRedis,
    /// Redis loses everything.
    EmptyRedis,
    /// One runner's connection to Redis breaks.
    CutRedis,
    /// One runner's Redis does not answer for a while, and then does.
    HoldRedis,
}

impl Blow {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..15 => Self::KillHandler,
            15..30 => Self::KillHost,
            30..45 => Self::FreezeHandler,
            45..55 => Self::KillPostgres,
            55..65 => Self::CutPostgres,
            65..72 => Self::KillRedis,
            72..80 => Self::EmptyRedis,
            80..88 => Self::CutRedis,
            _ => Self::HoldRedis,
        }
    }
}

/// A host with its handler, and its own way to Redis.
struct Runner {
    host: Child,
    relay: Relay,
    /// Its crash points.
    folder: TempDir,
}

impl Runner {
    async fn start(stack: &Stack, redis: &str) -> Self {
        let relay = Relay::start(redis).await;
        let folder = tempfile::tempdir().unwrap();
        Self {
            host: start_host(stack, &relay, &folder),
            relay,
            folder,
        }
    }

    /// The handler, as soon as there is one.
    async fn handler(&self) -> Pid {
        let found = async || children_named(self.host.id(), "handler").first().copied();
        let pid = until("a handler", found).await;
        Pid::from_raw(i32::try_from(pid).unwrap())
    }
}

fn start_host(stack: &Stack, relay: &Relay, folder: &TempDir) -> Child {
    let settings = [
        ("NIGHTSHIFT_REDIS_URL", relay.url().into()),
        (FOLDER, folder.path().into()),
    ];
    stack.start_another_host_with(&settings).unwrap()
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed; it is gone already.
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// Everything that runs.
pub(super) struct World {
    runners: [Runner; 2],
    stack: Stack,
    pool: PgPool,
    postgres: Postgres,
    redis: Redis,
    writers: Vec<JoinHandle<usize>>,
    reader: JoinHandle<Report>,
    ticks: JoinHandle<usize>,
    /// Ends the writers; ends the ticks; ends the reader.
    ends: [CancellationToken; 3],
    _folders: [TempDir; 2],
}

impl World {
    pub(super) async fn start() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let postgres = start_postgres(folders[0].path()).await.unwrap();
        let redis = Redis::start(RedisVersion::Found, folders[1].path()).await;
        let redis = redis.unwrap_or_else(|error| panic!("{error}"));
        let url = postgres.url();
        let options = StackOptions {
            postgres_url: url.clone(),
            lock_seconds: LOCK_SECONDS,
        };
        let app = App {
            queues: &["leaderboard-rollup"],
            ..App::of_checkout()
        };
        let stack = Stack::prepare_app(options, app).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(8);
        let pool = pool.connect_lazy(&url).unwrap();
        pool.execute(APP).await.unwrap();
        pool.execute(
            "ALTER TABLE app.score_event ADD COLUMN pair uuid;
            CREATE INDEX ON app.score_event (user_id);
            UPDATE nightshift.leaderboard SET name = 'account', groups = '{country}' WHERE name = 'points'",
        )
        .await
        .unwrap();
        let ends: [CancellationToken; 3] = std::array::from_fn(|_| CancellationToken::new());
        let writers = (0..WRITERS)
            .map(|seed| tokio::spawn(writer::write(pool.clone(), seed, ends[0].clone())))
            .collect();
        let ticks = tokio::spawn(tick(stack.sender().await.unwrap(), ends[1].clone()));
        let reader = tokio::spawn(reader::read(redis.url(), ends[2].clone()));
        let url = redis.url();
        let runners = [
            Runner::start(&stack, &url).await,
            Runner::start(&stack, &url).await,
        ];
        let world = Self {
            postgres,
            redis,
            pool,
            runners,
            stack,
            writers,
            reader,
            ticks,
            ends,
            _folders: folders,
        };
        world.recover().await;
        world
    }

    /// Holds the next one who comes to `point` in a runner while the other goes on, lets it happen there,
    /// and lets go.
    pub(super) async fn strike(&mut self, point: CrashPoint, runner: usize, blow: Blow) {
        println!("{}: {blow:?}, of runner {runner}", point.name());
        let folder = self.runners[runner].folder.path().to_owned();
        point.arm(&folder).unwrap();
        let what = format!("somebody at {}", point.name());
        until(&what, async || point.is_held(&folder).then_some(())).await;
        sleep(HELD).await;
        if blow == Blow::HoldRedis {
            // It goes on, as far as it comes without Redis.
            self.runners[runner].relay.hold();
            point.release(&folder).unwrap();
            sleep(FROZEN).await;
            self.runners[runner].relay.forward();
        } else {
            self.blow(blow, runner).await;
            point.release(&folder).unwrap();
        }
        self.recover().await;
    }

    /// Has it happen, to `runner` where it is somebody's own.
    pub(super) async fn blow(&mut self, blow: Blow, runner: usize) {
        let own = &mut self.runners[runner];
        match blow {
            Blow::KillHandler => kill(own.handler().await, Signal::SIGKILL).unwrap(),
            Blow::KillHost => {
                own.host.kill().unwrap();
                own.host.wait().unwrap();
                own.host = start_host(&self.stack, &own.relay, &own.folder);
            }
            Blow::FreezeHandler => {
                let handler = own.handler().await;
                kill(handler, Signal::SIGSTOP).unwrap();
                sleep(FROZEN).await;
                kill(handler, Signal::SIGCONT).unwrap();
            }
            Blow::KillPostgres => {
                self.postgres.kill();
                self.postgres.restart().await.unwrap();
            }
            Blow::CutPostgres => {
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                sqlx::query(cut).execute(&self.pool).await.unwrap();
            }
            Blow::KillRedis => {
                self.redis.kill();
                self.redis.restart().await.unwrap();
            }
            Blow::EmptyRedis => {
                let mut connection = connect(&self.redis.url()).await;
                let () = redis::cmd("FLUSHALL")
                    .query_async(&mut connection)
                    .await
                    .unwrap();
            }
            Blow::CutRedis => own.relay.cut(),
            Blow::HoldRedis => {
                own.relay.hold();
                sleep(FROZEN).await;
                own.relay.forward();
            }
        }
    }

    /// Waits until there is another count.
    pub(super) async fn recover(&self) {
        let before = self.run().await.unwrap_or_default();
        let counted = async || (self.run().await? > before).then_some(());
        until("another count", counted).await;
    }

    /// The number of the last count, if the database says one.
    async fn run(&self) -> Option<i64> {
        let run = sqlx::query_scalar("SELECT run FROM nightshift.leaderboard_progress");
        run.fetch_optional(&self.pool).await.ok().flatten()
    }

    /// Ends the writers, has everything counted, asks for one more count, and compares.
    ///
    /// # Panics
    /// When Postgres is not what the events come to, Redis is not what Postgres says, or the reader has
    /// seen what must not be.
    pub(super) async fn settle(mut self) {
        self.ends[0].cancel();
        let mut committed = 0;
        for writer in self.writers.drain(..) {
            committed += writer.await.unwrap();
        }
        let all: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let counted = async || {
            let sql = "SELECT watermark::text::bigint FROM nightshift.leaderboard_progress";
            let watermark: Result<i64, _> = sqlx::query_scalar(sql).fetch_one(&self.pool).await;
            (watermark.ok()? > all).then_some(())
        };
        until("everything to be counted", counted).await;
        self.ends[1].cancel();
        let asked = (&mut self.ticks).await.unwrap();
        self.one_more_tick().await;
        let scores = check(&self.pool).await;
        let mut connection = connect(&self.redis.url()).await;
        let now = SystemClock.now();
        let (keys, rows) = shown_is_counted(&self.pool, &mut connection, now).await;
        self.ends[2].cancel();
        let report = (&mut self.reader).await.unwrap();
        let events: i64 = sqlx::query_scalar("SELECT count(*) FROM app.score_event")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let voided: i64 = sqlx::query_scalar("SELECT count(*) FROM nightshift.leaderboard_void")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        println!(
            "{events} events of {committed} transactions, {voided} voided; asked for {asked} counts; {scores} scores, {rows} rows in {keys} keys; boards read {} times, {} counts of them, the server emptied {} times",
            report.looks, report.runs, report.emptied
        );
        assert_eq!(report.faults, [""; 0]);
        assert!(
            events > 500 && voided > 5 && scores > 100 && rows > scores,
            "hardly anything was written"
        );
        assert!(
            report.looks > 500 && report.runs > 15 && report.emptied > 0,
            "hardly anything was seen"
        );
        self.pool.close().await;
    }

    /// Asks for one count that finds nothing else at work, and waits for its end.
    async fn one_more_tick(&self) {
        // What was asked for before has been done or is waited for no more.
        let mut last = None;
        let still = async || {
            sleep(Duration::from_secs(1)).await;
            let run = self.run().await;
            (last.replace(run) == Some(run)).then_some(())
        };
        until("the counts to end", still).await;
        let (client, sender) = self.stack.sender().await.unwrap();
        for n in 0.. {
            let id = format!("last-{n}");
            sender.send_message(due_now(&id, true)).await.unwrap();
            let key = JobKey::of_message_id("leaderboard-rollup-work", &id).0;
            let ended = async || {
                let sql = "SELECT i.skipped FROM nightshift.inbox AS i WHERE i.key = $1
                    AND NOT EXISTS (SELECT FROM nightshift.open_message AS o WHERE o.key = $1)";
                let row: Result<Option<Option<String>>, _> = sqlx::query_scalar(sql)
                    .bind(key)
                    .fetch_optional(&self.pool)
                    .await;
                row.ok().flatten()
            };
            match until("the last count to end", ended).await {
                None => break,
                // The schedule's own has come in between.
                Some(why) => println!("once more: {why}"),
            }
        }
        client.close().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join("nightshift-leaderboards-chaos.log");
            // Without it the failure is told all the same.
            if std::fs::copy(self.stack.log(), &kept).is_ok() {
                println!("the log of hosts and handlers: {}", kept.display());
            }
        }
    }
}

/// A message that asks for a count of the source, or of all sources.
fn due_now(id: &str, names_source: bool) -> Message {
    let mut body = json!({ "schema_version": 1, "due": SystemClock.now() });
    if names_source {
        body["source"] = json!("scores");
    }
    Message::new(body.to_string()).with_message_id(id)
}

/// Asks for counts until it is to end. Says how often.
async fn tick(
    (client, sender): (nightshift_bus::ServiceBusClient, nightshift_bus::Sender),
    end: CancellationToken,
) -> usize {
    let mut asked = 0;
    while !end.is_cancelled() {
        let names_source = asked % TICKS_TO_A_FAN_OUT != 0;
        let message = due_now(&format!("tick-{asked}"), names_source);
        sender.send_message(message).await.unwrap();
        asked += 1;
        sleep(TICK).await;
    }
    client.close().await;
    asked
}

/// Waits until `found` finds something.
///
/// # Panics
/// When that takes too long.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        sleep(LOOK).await;
    }
}
