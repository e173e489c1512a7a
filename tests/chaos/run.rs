//! One run: a stack, its load, and its deaths.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nightshift_bus::{ClientOptions, ServiceBusClient};
use nightshift_cli::servers::{Postgres, PostgresOptions};
use nightshift_crashpoint::{CrashPoint, FOLDER};
use nightshift_job::ScheduledFunction;
use nightshift_postgres::schedule::{ScheduleError, pause};
use nightshift_time::{Clock as _, SystemClock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgPool};
use tempfile::TempDir;

use super::checker::{Evidence, Ordered, Report};
use super::clock::Clock;
use super::evidence::{PEEK, Progress};
use super::function::TRIES;
use super::load::{Load, send_until_accepted};
use super::order::{IN_SESSIONS, Mishap, Order, QUEUE, QUEUES};
use super::victim::Victim;
use crate::{App, Stack, StackOptions, children_named};

/// How long a lock lasts: what a host that is killed holds is free again after this.
const LOCK_SECONDS: u64 = 5;

/// How long it may take until somebody comes to a crash point, and until a process is there again.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long nothing may have moved until the run is over, although something is left: longer than it takes
/// a host to start its handler again (up to 10 s), and the handler to look for what others have left (5 s).
const STILL: Duration = Duration::from_secs(20);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// For how long a process that dies at a crash point is missed: whoever was held there goes on without it.
const ABSENCE: Duration = Duration::from_millis(200);

/// How many messages keep those company that end their process: as many as a batch has.
const NEIGHBOURS: usize = 20;

/// How long a handler is frozen: what it holds is locked no longer, its runs are taken over, and it wakes up
/// in the midst of what others have done meanwhile.
const FROZEN: Duration = Duration::from_secs(LOCK_SECONDS + 2);

/// Once in so many random blows a handler is frozen.
const BLOWS_TO_A_FREEZE: usize = 20;

/// The pauses between two random blows.
const LIVES_MS: std::ops::Range<u64> = 20..800;

/// A broker, hosts and handlers under load, with a database of their own.
#[derive(Debug)]
pub struct Run<'a> {
    name: String,
    postgres: &'a mut Postgres,
    pool: PgPool,
    stack: Stack,
    hosts: Vec<Host>,
    /// Armed crash points, and the file of tries.
    folder: TempDir,
    load: Option<Load>,
    ordered: Ordered,
    /// How many processes were killed.
    pub kills: usize,
    /// How many handlers were frozen and have woken up.
    pub thawed: usize,
}

/// A handler that stands still.
#[derive(Debug)]
struct Frozen {
    host: usize,
    handler: Pid,
    since: Instant,
}

impl Frozen {
    fn freeze(host: usize, handler: Pid) -> anyhow::Result<Self> {
        kill(handler, Signal::SIGSTOP)?;
        let since = Instant::now();
        Ok(Self {
            host,
            handler,
            since,
        })
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= FROZEN
    }

    /// Lets it go on, and says whether it had been there all the time.
    fn thaw(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.handler));
        // The state follows the name in parentheses.
        let is_there = stat.is_ok_and(|stat| stat.contains(") T "));
        is_there && kill(self.handler, Signal::SIGCONT).is_ok()
    }
}

/// A host, which is killed when it is dropped.
#[derive(Debug)]
struct Host(Child);

impl Host {
    fn start(stack: &Stack) -> anyhow::Result<Self> {
        stack.start_another_host().map(Self)
    }

    /// Kills it with SIGKILL; its handler ends with it.
    fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    fn handler(&self) -> Option<u32> {
        children_named(self.0.id(), "handler").first().copied()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed; it is gone already.
        let _ = self.kill();
    }
}

/// A Postgres for runs, whose commits survive its death.
pub async fn start_postgres(folder: &Path) -> anyhow::Result<Postgres> {
    let options = PostgresOptions {
        data_dir: folder.join("data"),
        durable: true,
        port: None,
    };
    Ok(Postgres::start(options).await?)
}

impl<'a> Run<'a> {
    /// Starts a stack with `hosts` hosts in the new database `name` of `postgres`, and the load.
    pub async fn start(
        name: &str,
        postgres: &'a mut Postgres,
        hosts: usize,
    ) -> anyhow::Result<Self> {
        Self::start_with(name, postgres, hosts, Vec::new()).await
    }

    /// As [`Run::start`], with more settings for the hosts and handlers, such as another way to the
    /// database.
    pub async fn start_with(
        name: &str,
        postgres: &'a mut Postgres,
        hosts: usize,
        settings: Vec<(&'static str, OsString)>,
    ) -> anyhow::Result<Self> {
        let mut run = Self::prepare(name, postgres, settings).await?;
        run.start_hosts(hosts)?;
        run.start_load()?;
        Ok(run)
    }

    /// As [`Run::start`], with one host, on a database that `damage` has changed before anybody works on it,
    /// so that something goes wrong.
    pub async fn start_damaged(
        name: &str,
        postgres: &'a mut Postgres,
        damage: &'static str,
    ) -> anyhow::Result<Self> {
        let mut run = Self::prepare(name, postgres, Vec::new()).await?;
        run.pool.execute(damage).await?;
        run.start_hosts(1)?;
        run.start_load()?;
        Ok(run)
    }

    /// As [`Run::start`], with one host, which is as strict as Azure's. It must not be struck: the third
    /// death of its handler stops it.
    pub async fn start_strict(name: &str, postgres: &'a mut Postgres) -> anyhow::Result<Self> {
        let strict = vec![("NIGHTSHIFT_HOST_MODE", "strict".into())];
        Self::start_with(name, postgres, 1, strict).await
    }

    /// Starts a stack to which only [`Run::send_killers`] sends.
    pub async fn start_without_load(
        name: &str,
        postgres: &'a mut Postgres,
        hosts: usize,
    ) -> anyhow::Result<Self> {
        let mut run = Self::prepare(name, postgres, Vec::new()).await?;
        run.start_hosts(hosts)?;
        Ok(run)
    }

    /// A run that has its database and its broker, but no host.
    async fn prepare(
        name: &str,
        postgres: &'a mut Postgres,
        settings: Vec<(&'static str, OsString)>,
    ) -> anyhow::Result<Self> {
        postgres.ensure_database(name).await?;
        let url = postgres.url_of(name);
        let folder = tempfile::tempdir()?;
        let tries = tries_in(&folder);
        let app = App {
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos/app"),
            handler: "chaos-handler",
            queues: QUEUES,
            session_queues: &[IN_SESSIONS],
            environment: [
                settings,
                vec![
                    (FOLDER, folder.path().into()),
                    (TRIES, tries.clone().into()),
                ],
            ]
            .concat(),
            broker_data: Some(folder.path().join("broker")),
        };
        let options = StackOptions {
            postgres_url: url.clone(),
            lock_seconds: LOCK_SECONDS,
        };
        let stack = Stack::prepare_app(options, app).await?;
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&url)?;
        pool.execute(include_str!("schema.sql")).await?;
        Ok(Self {
            name: name.to_owned(),
            postgres,
            pool,
            stack,
            hosts: Vec::new(),
            folder,
            load: None,
            ordered: Ordered::default(),
            kills: 0,
            thawed: 0,
        })
    }

    fn start_hosts(&mut self, hosts: usize) -> anyhow::Result<()> {
        for _ in 0..hosts {
            self.hosts.push(Host::start(&self.stack)?);
        }
        Ok(())
    }

    fn start_load(&mut self) -> anyhow::Result<()> {
        let connection = self.stack.connection_string().parse()?;
        let load = Load::start(self.name.clone(), connection, self.pool.clone());
        self.load = Some(load);
        Ok(())
    }

    /// Its database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The file with the hosts' and the handlers' log.
    pub fn log(&self) -> PathBuf {
        self.stack.log()
    }

    /// Holds the next one who comes to `point`, kills `victim` meanwhile, lets go, and starts the victim
    /// again. In a run with one host, whoever is held at a point of the handler or the host is the one
    /// that dies.
    ///
    /// After the death of a handler its messages are done before this returns. They come again at once, and
    /// would be in the next handler's hands when that is killed, and be taken for the cause.
    pub async fn strike(&mut self, point: CrashPoint, victim: Victim) -> anyhow::Result<()> {
        let folder = self.folder.path();
        point.arm(folder)?;
        until(|| point.is_held(folder).then_some(()))
            .await
            .with_context(|| format!("nobody has come to {}", point.name()))?;
        self.kill(victim, 0).await?;
        point.release(self.folder.path())?;
        tokio::time::sleep(ABSENCE).await;
        self.revive(victim, 0).await?;
        if victim == Victim::Handler {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Sends a message for each way to end a process, in the midst of twenty that do not.
    pub async fn send_killers(&mut self) -> anyhow::Result<()> {
        let orders = &mut self.ordered.orders;
        let begin = orders.len();
        let neighbours = |range: Range<usize>| range.map(|n| Order::nth(&self.name, begin + n));
        let (half, all) = (NEIGHBOURS / 2, NEIGHBOURS);
        orders.extend(neighbours(0..half));
        let killers = Mishap::KILLERS.into_iter().enumerate();
        orders.extend(killers.map(|(n, how)| Order::killer(&self.name, begin + all + n, how)));
        orders.extend(neighbours(half..all));
        let client = self.client().await?;
        let sender = client.create_sender(QUEUE).await?;
        send_until_accepted(&sender, &self.ordered.orders[begin..]).await?;
        client.close().await;
        Ok(())
    }

    /// Waits until everything is done that is in the queue by now, whoever holds it.
    async fn catch_up(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let now = SystemClock.now();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let queued = client.peek_messages(QUEUE, 0, PEEK).await?;
            if queued.iter().all(|message| message.enqueued_time > now) {
                break;
            }
            if Instant::now() > deadline {
                bail!("waited for {PATIENCE:?} until what was in the queue was done");
            }
            tokio::time::sleep(LOOK).await;
        }
        client.close().await;
        Ok(())
    }

    async fn client(&self) -> anyhow::Result<ServiceBusClient> {
        let connection = self.stack.connection_string().parse()?;
        Ok(ServiceBusClient::connect(&connection, ClientOptions::default()).await?)
    }

    /// Kills `kills` times whoever is drawn, at moments that are drawn, both from `seed`. Once in a while a
    /// handler is frozen; its host and it are spared until it wakes up, so that another host is needed.
    pub async fn kill_at_random(
        &mut self,
        kills: usize,
        seed: u64,
        mut told: impl FnMut(usize, Victim),
    ) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut frozen: Option<Frozen> = None;
        for n in 1..=kills {
            tokio::time::sleep(Duration::from_millis(random.random_range(LIVES_MS))).await;
            if frozen.as_ref().is_some_and(Frozen::is_over) {
                self.thawed += usize::from(frozen.take().is_some_and(Frozen::thaw));
            }
            let victim = Victim::draw(&mut random);
            let mut host = random.random_range(0..self.hosts.len());
            if n % BLOWS_TO_A_FREEZE == BLOWS_TO_A_FREEZE / 4 && frozen.is_none() {
                frozen = Some(Frozen::freeze(host, self.handler_of(host).await?)?);
            }
            if frozen.as_ref().is_some_and(|frozen| frozen.host == host) {
                host = (host + 1) % self.hosts.len();
            }
            self.kill(victim, host).await?;
            self.revive(victim, host).await?;
            told(n, victim);
        }
        if let Some(frozen) = frozen {
            tokio::time::sleep(FROZEN.saturating_sub(frozen.since.elapsed())).await;
            self.thawed += usize::from(frozen.thaw());
        }
        Ok(())
    }

    /// Ends the load, waits until nothing moves any more, and compares.
    pub async fn settle(&mut self) -> anyhow::Result<Report> {
        if let Some(load) = self.load.take() {
            self.ordered = load.stop().await?;
        }
        self.stop_clock().await?;
        let client = self.client().await?;
        let mut last = None;
        let mut since = Instant::now();
        loop {
            let progress = Progress::read(&self.pool, &client).await?;
            let has_moved = last.replace(progress) != Some(progress);
            // What moves while it is read may be seen nowhere once, but not twice.
            if progress.is_over() && !has_moved || since.elapsed() > STILL {
                break;
            }
            if has_moved || progress.is_put_off() {
                since = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
        let tries = tries_in(&self.folder);
        let ordered = self.ordered.clone();
        let evidence = Evidence::gather(ordered, &self.pool, &client, &tries).await?;
        client.close().await;
        Ok(evidence.check())
    }

    /// From now on ticks are skipped.
    async fn stop_clock(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // The schedule is there as soon as the first handler is.
        while let Err(error) = self.try_stop_clock().await {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn try_stop_clock(&self) -> Result<(), ScheduleError> {
        let mut tx = self.pool.begin().await?;
        pause(&mut tx, Clock::NAME).await?;
        Ok(tx.commit().await?)
    }

    /// Ends everything but Postgres, whose database of this run goes.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(load) = self.load.take() {
            load.stop().await?;
        }
        self.hosts.clear();
        self.pool.close().await;
        drop(self.stack);
        let server = PgPool::connect(&self.postgres.url()).await?;
        let drop = format!("DROP DATABASE \"{}\" WITH (FORCE)", self.name);
        server.execute(sqlx::AssertSqlSafe(drop)).await?;
        server.close().await;
        Ok(())
    }

    async fn kill(&mut self, victim: Victim, host: usize) -> anyhow::Result<()> {
        self.kills += 1;
        match victim {
            Victim::Handler => kill(self.handler_of(host).await?, Signal::SIGKILL)?,
            Victim::Host => self.hosts[host].kill()?,
            Victim::Broker => self.stack.kill_broker()?,
            Victim::Postgres => self.postgres.kill(),
        }
        Ok(())
    }

    async fn handler_of(&self, host: usize) -> anyhow::Result<Pid> {
        // The last one may just have died.
        let handler = until(|| self.hosts[host].handler()).await;
        let pid = handler.context("there is no handler")?;
        Ok(Pid::from_raw(i32::try_from(pid)?))
    }

    async fn revive(&mut self, victim: Victim, host: usize) -> anyhow::Result<()> {
        match victim {
            // Its host does that.
            Victim::Handler => {}
            Victim::Host => self.hosts[host] = Host::start(&self.stack)?,
            Victim::Broker => self.stack.restart_broker().await?,
            Victim::Postgres => self.postgres.restart().await?,
        }
        Ok(())
    }
}

fn tries_in(folder: &TempDir) -> PathBuf {
    folder.path().join("tries")
}

/// Waits until `found` finds something.
async fn until<T>(mut found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited for {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
