//! `nightshift servers exec`: throw-away servers around one command.
//!
//! Whatever the command leaves behind is ended too, such as a server that a killed test had
//! started.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nightshift_settings::{Environment, Source};
use nix::sys::signal::{Signal, killpg};

use crate::args::{ExecArgs, Part};
use crate::environment::without_cargo;
use crate::servers::{
    Account, Azurite, BlobPlace, Home, Postgres, PostgresOptions, Programs, Progress, Redis,
    RedisCluster, RedisVersion, ServerProcess, Stop, Supervisor, as_pid, node_packages,
    python_packages, remove, send, try_lock,
};
use crate::signals::{Signals, exit_code};

/// The prefix of the folders that throw-away servers work in.
const FOLDER_PREFIX: &str = "test-";

/// How long a command may go on after it was told to end.
const GRACE: Duration = Duration::from_secs(30);

/// As long as a test run may take; a year is longer.
const FOR_EVER: Duration = Duration::from_hours(365 * 24);

/// Which Python packages the conformance tests need.
const REQUIREMENTS: &str = "tests/conformance/python/requirements.txt";

/// Where `package.json` and its lock say which npm packages they need.
const NODE_MANIFEST: &str = "tests/conformance/javascript";

/// Runs the command and returns its exit code.
pub(crate) async fn run(args: ExecArgs) -> anyhow::Result<u8> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let checkout = super::checkout()?;
    let home = Home::open(&checkout.join(crate::servers::FOLDER))?;
    let account = Account::unprivileged()?;
    let workplace = Workplace::open(&home, account.as_ref())?;
    let supervisor = Supervisor::start(&workplace.folder.join("roster"))?;
    let start = Start {
        args: &args,
        checkout: &checkout,
        home: &home,
        account,
        workplace: &workplace,
        supervisor: &supervisor,
        progress: Progress::on_errors(&Environment),
    };
    let started = tokio::select! {
        started = start.all() => started,
        signal = signals.next() => {
            supervisor.end_orphans();
            return Ok(exit_code(signal));
        }
    };
    let (servers, variables) = started.inspect_err(|_| supervisor.end_orphans())?;
    let ended = follow(&args.command, &variables, &supervisor, &mut signals).await;
    supervisor.end_orphans();
    for mut server in servers.into_iter().rev() {
        server.stop().await;
    }
    supervisor.end_orphans();
    ended
}

/// Everything that starting the servers needs.
struct Start<'a> {
    args: &'a ExecArgs,
    checkout: &'a Path,
    home: &'a Home,
    account: Option<Account>,
    workplace: &'a Workplace,
    supervisor: &'a Supervisor,
    progress: Progress,
}

type Started = (Vec<ServerProcess>, Vec<(&'static str, OsString)>);

impl Start<'_> {
    async fn all(&self) -> anyhow::Result<(Vec<ServerProcess>, Vec<(&'static str, OsString)>)> {
        let (postgres, python, node, redis, six, cluster, azurite) = tokio::try_join!(
            Box::pin(self.postgres()),
            Box::pin(self.python()),
            Box::pin(self.node()),
            Box::pin(self.redis()),
            Box::pin(self.redis_six()),
            Box::pin(self.redis_cluster()),
            Box::pin(self.azurite()),
        )?;
        let mut servers = Vec::new();
        let mut variables = Vec::new();
        for (server, names) in [postgres, python, node, redis, six, cluster, azurite]
            .into_iter()
            .flatten()
        {
            servers.extend(server);
            variables.extend(names);
        }
        Ok((servers, variables))
    }

    fn wants(&self, part: Part) -> bool {
        self.args.with.contains(&part)
    }

    async fn postgres(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::Postgres) {
            return Ok(None);
        }
        let account = self.account.clone();
        let programs =
            Programs::find_or_fetch(&Environment, self.home, account.as_ref(), &self.progress)
                .await?;
        let folder = self.workplace.folder.join("postgres");
        let options = PostgresOptions {
            data_dir: folder,
            durable: self.args.durable,
            port: None,
        };
        let log = self.workplace.folder.join("postgres.log");
        let postgres = Postgres::launch(options, programs, account, &log, self.supervisor).await?;
        self.progress.say(
            "postgres",
            &format!("{}, port {}", postgres.origin(), postgres.port()),
        );
        let variables = vec![
            ("NIGHTSHIFT_TEST_POSTGRES", postgres.url().into()),
            (
                "NIGHTSHIFT_TEST_POSTGRES_PROGRAMS",
                postgres.programs().into(),
            ),
        ];
        Ok(Some((vec![postgres.into_process()], variables)))
    }

    async fn python(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::Python) {
            return Ok(None);
        }
        let requirements = self.checkout.join(REQUIREMENTS);
        let folder = python_packages(&requirements, self.home, &self.progress).await?;
        Ok(Some((
            Vec::new(),
            vec![("NIGHTSHIFT_TEST_PYTHONPATH", folder.into())],
        )))
    }

    async fn node(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::Node) {
            return Ok(None);
        }
        let manifest = self.checkout.join(NODE_MANIFEST);
        let folder = node_packages(&manifest, self.home, &self.progress).await?;
        Ok(Some((
            Vec::new(),
            vec![("NIGHTSHIFT_TEST_NODE_MODULES", folder.into())],
        )))
    }

    async fn redis(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::Redis) {
            return Ok(None);
        }
        self.one_redis(RedisVersion::Found, "NIGHTSHIFT_TEST_REDIS")
            .await
    }

    async fn redis_six(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::RedisSix) {
            return Ok(None);
        }
        self.one_redis(RedisVersion::Six, "NIGHTSHIFT_TEST_REDIS_SIX")
            .await
    }

    async fn one_redis(
        &self,
        version: RedisVersion,
        variable: &'static str,
    ) -> anyhow::Result<Option<Started>> {
        let redis = Redis::launch(
            version,
            &Environment,
            self.home,
            None,
            &self.progress,
            self.supervisor,
        )
        .await?;
        self.progress.say(
            "redis",
            &format!("{}, port {}", redis.origin(), redis.port()),
        );
        let variables = vec![(variable, redis.url().into())];
        Ok(Some((vec![redis.into_process()], variables)))
    }

    async fn redis_cluster(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::RedisCluster) {
            return Ok(None);
        }
        let cluster = RedisCluster::launch(
            &Environment,
            self.home,
            &self.workplace.folder.join("redis-cluster"),
            &self.progress,
            self.supervisor,
        )
        .await?;
        let ports: Vec<String> = cluster.ports().iter().map(u16::to_string).collect();
        let place = format!(
            "{}, a cluster, ports {}",
            cluster.origin(),
            ports.join(" and ")
        );
        self.progress.say("redis", &place);
        let variables = vec![("NIGHTSHIFT_TEST_REDIS_CLUSTER", cluster.url().into())];
        Ok(Some((cluster.into_processes(), variables)))
    }

    async fn azurite(&self) -> anyhow::Result<Option<Started>> {
        if !self.wants(Part::Azurite) {
            return Ok(None);
        }
        let place = BlobPlace::Memory;
        let azurite = Azurite::launch(
            &Environment,
            self.home,
            &place,
            None,
            &self.progress,
            self.supervisor,
        )
        .await?;
        self.progress
            .say("azurite", &format!("blob service, port {}", azurite.port()));
        let variables = vec![("NIGHTSHIFT_TEST_BLOB", azurite.connection_string().into())];
        Ok(Some((vec![azurite.into_process()], variables)))
    }
}

/// A folder for one run's throw-away files, locked while it is in use and removed afterwards.
struct Workplace {
    folder: PathBuf,
    _lock: std::fs::File,
}

impl Workplace {
    /// Makes a folder, and removes those of runs that were killed.
    fn open(home: &Home, account: Option<&Account>) -> anyhow::Result<Self> {
        let parent = home.reachable_by(account)?;
        // One at a time: a folder that is made but not yet locked would look abandoned.
        let turn = home.run()?.join("sweep.lock");
        let deadline = Instant::now() + GRACE;
        let _turn = loop {
            match try_lock(&turn)? {
                Some(lock) => break lock,
                None if Instant::now() >= deadline => {
                    anyhow::bail!("another process keeps {} locked", turn.display())
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        remove_abandoned(&parent)?;
        let folder = parent.join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = try_lock(&folder.join("lock"))?
            .with_context(|| format!("{} is in use", folder.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            // The next run removes it.
            tracing::warn!(error = %error, "throw-away files are left");
        }
    }
}

/// Removes the folders of runs whose process is gone, and ends what still works in them.
fn remove_abandoned(parent: &Path) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))?;
    for folder in entries.flatten().map(|entry| entry.path()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(FOLDER_PREFIX)
            && folder.is_dir()
            && let Some(_lock) = try_lock(&folder.join("lock"))?
        {
            crate::servers::end_leftovers(&folder.join("roster"));
            remove(&folder)?;
        }
    }
    Ok(())
}

/// Runs the command, hands signals on to it, and returns its exit code.
async fn follow(
    words: &[OsString],
    variables: &[(&'static str, OsString)],
    supervisor: &Supervisor,
    signals: &mut Signals,
) -> anyhow::Result<u8> {
    let (program, arguments) = words.split_first().context("no command")?;
    // At a terminal the command shares our group, so that it may read from the terminal and gets
    // Ctrl-C by itself; otherwise it gets one of its own, and signals reach all of it.
    let is_interactive = std::io::stdin().is_terminal();
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)));
    for name in without_cargo(&Environment.names()) {
        command.env_remove(name);
    }
    if !is_interactive {
        command.stdin(Stdio::null()).process_group(0);
    }
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child.id().context("the command has no process id")?;
    supervisor.watch_over(
        pid,
        &program.to_string_lossy(),
        Stop::new(Signal::SIGTERM, GRACE),
    )?;
    let mut deadline = std::pin::pin!(tokio::time::sleep(FOR_EVER));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.context("cannot follow the command")?,
            signal = signals.next() => {
                deadline.as_mut().reset(tokio::time::Instant::now() + GRACE);
                if is_interactive && signal != Signal::SIGINT {
                    send(pid, signal);
                } else if !is_interactive && let Some(group) = as_pid(pid) {
                    // A group that is gone needs no signal.
                    let _ = killpg(group, signal);
                }
            }
            () = &mut deadline => child.kill().await.context("cannot kill the command")?,
        }
    };
    supervisor.release(pid);
    Ok(code_of(status))
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_killed_run_is_removed_and_a_used_one_is_kept() {
        let top = tempfile::tempdir().unwrap();
        for name in ["test-1", "test-2", "other"] {
            std::fs::create_dir(top.path().join(name)).unwrap();
        }
        let _used = try_lock(&top.path().join("test-2/lock")).unwrap().unwrap();
        remove_abandoned(top.path()).unwrap();
        let left = |name: &str| top.path().join(name).exists();
        assert!(!left("test-1") && left("test-2") && left("other"));
    }

    #[test]
    fn a_signal_shows_in_the_exit_code() {
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
    }
}
