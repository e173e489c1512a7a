//! Starts the parts of the stack, side by side where they do not need each other.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nightshift_settings::{Environment, Source};
use nix::sys::signal::Signal;
use rand::Rng;
use sqlx::{Connection, PgConnection};

use super::addresses::Addresses;
use super::leaderboard::Shown;
use super::live::Live;
use super::ports::Ports;
use super::screen::{Part, Report};
use super::settings::Own;
use super::stack::Stack;
use super::{build, logs, round};
use crate::commands::migrate;
use crate::commands::settings::{API_KEY, API_URL, BUS, POSTGRES, REDIS, STORAGE};
use crate::servers::{
    Account, Azurite, BlobPlace, Home, Launch, Postgres, PostgresOptions, Programs, Progress,
    Redis, RedisVersion, ServerError, ServerProcess, Stop, Supervisor, descendants, loopback,
    on_free_port, process_name, resident_kib, tail,
};
use crate::stage::{Staged, stage};

/// The sample application's table and users.
const SAMPLE_APPLICATION: &str = include_str!("../../sample/app.sql");

/// Its scores and boards, which need our own tables.
const SAMPLE_LEADERBOARDS: &str = include_str!("../../sample/leaderboards.sql");

/// The database of the sample application and of the jobs.
const DATABASE: &str = "nightshift";

/// Our own processes are ready within a fraction of a second, unless the machine is very busy.
const READY: Duration = Duration::from_mins(1);

/// Deliveries before the broker itself gives a message up: so many that an outage of the database
/// does not turn messages into dead letters. The functions count their own attempts.
const MAX_DELIVERY_COUNT: &str = "100";

/// AMQP's registered port, which clients of the official emulator expect.
const AMQP_PORT: u16 = 5672;

/// The port of the Functions tools, and the settings that say where else the host answers requests.
const HOST_PORT: u16 = 7071;
const LISTEN: &str = "NIGHTSHIFT_HOST_LISTEN";
const URLS: &str = "ASPNETCORE_URLS";

/// Who asks the admin API with the key that the stack makes for itself.
const OPS_KEYS: &str = "NIGHTSHIFT_OPS_KEYS";
const LOCAL_OPERATOR: &str = "local";

/// Above the host's own grace for invocations.
const HOST_GRACE: Duration = Duration::from_secs(45);
const BROKER_GRACE: Duration = Duration::from_secs(10);

/// What it takes to start.
pub(super) struct Start<'a> {
    pub(super) own: Own,
    pub(super) checkout: &'a Path,
    pub(super) home: &'a Home,
    pub(super) stack: &'a Stack,
    pub(super) supervisor: &'a Supervisor,
    pub(super) progress: &'a Progress,
    pub(super) stays: bool,
}

/// The started stack, after its first round.
pub(super) struct Running {
    pub(super) report: Report,
    pub(super) is_coloured: bool,
    pub(super) live: Live,
    /// Removed when dropped.
    pub(super) addresses: Addresses,
}

/// A key that nobody can guess, for as long as the stack runs.
fn admin_key() -> String {
    let random: u128 = rand::rng().random();
    format!("{random:032x}")
}

/// A part with the address that clients use, which may hold a password.
struct Started {
    part: Part,
    address: String,
}

impl Start<'_> {
    /// Starts everything and does the first round.
    pub(super) async fn everything(&self) -> anyhow::Result<Running> {
        let ports = Ports::read(&self.home.run()?);
        logs::begin_anew(&self.home.logs());
        let (postgres, redis, storage, broker, staged) = tokio::try_join!(
            Box::pin(self.postgres(&ports)),
            Box::pin(self.redis(&ports)),
            Box::pin(self.azurite(&ports)),
            Box::pin(self.broker(&ports)),
            Box::pin(self.app()),
        )?;
        ports.write()?;
        let values = [
            (POSTGRES, postgres.address.clone()),
            (REDIS, redis.address.clone()),
            (STORAGE, storage.address.clone()),
            (BUS, broker.address.clone()),
        ];
        let key = admin_key();
        let keys = Environment.get(OPS_KEYS).unwrap_or_default();
        let keys = format!("{keys},{LOCAL_OPERATOR}:Admin:{key}");
        let settings = [&values[..], &[(OPS_KEYS, keys)]].concat();
        let (host, handler) = self.host(&ports, &staged, &settings).await?;
        ports.write()?;
        let api = ports.current("host");
        let api = api.map(|port| format!("http://127.0.0.1:{port}/api"));
        let console = api.as_ref().map(|api| {
            let url = format!("{api}/ops");
            [(API_URL, url), (API_KEY, key)]
        });
        let values = values.into_iter().chain(console.into_iter().flatten());
        let values: Vec<_> = values.collect();
        let addresses = Addresses::write(&self.home.run()?, &values)?;
        self.progress
            .say("samples", "sending through the whole path");
        let run: u32 = rand::rng().random();
        let run = format!("{run:08x}");
        let shown = Shown::at(&redis.address)?;
        let round = Box::pin(round::go(&broker.address, &postgres.address, &shown, &run));
        let round = round.await.with_context(|| self.what_the_host_says())?;
        let live = Live::new(postgres.address, shown, round.leaderboard.clone());
        let here = |path: &Path| path.strip_prefix(self.checkout).unwrap_or(path).to_owned();
        let is_private = self.own.bus.is_none();
        let report = Report {
            took: self.progress.elapsed(),
            connection_string: is_private.then_some(broker.address),
            api,
            parts: [
                postgres.part,
                redis.part,
                storage.part,
                broker.part,
                host,
                handler,
            ]
            .into_iter()
            .map(with_memory)
            .collect(),
            functions: staged.functions,
            round,
            addresses: here(addresses.path()),
            logs: here(&self.home.logs()),
            stays: self.stays,
        };
        Ok(Running {
            report,
            is_coloured: self.progress.is_coloured(),
            live,
            addresses,
        })
    }

    async fn postgres(&self, ports: &Ports) -> anyhow::Result<Started> {
        let started = match &self.own.postgres {
            Some(url) => own("postgres", POSTGRES, url),
            None => self.private_postgres(ports).await?,
        };
        let mut connection = PgConnection::connect(&started.address)
            .await
            .context("cannot connect to the database")?;
        sqlx::raw_sql(SAMPLE_APPLICATION)
            .execute(&mut connection)
            .await
            .context("cannot load the sample application")?;
        let applied = migrate::migrate(&started.address).await?;
        sqlx::raw_sql(SAMPLE_LEADERBOARDS)
            .execute(&mut connection)
            .await
            .context("cannot load the sample application's scores and boards")?;
        connection
            .close()
            .await
            .context("cannot close the connection to the database")?;
        let what = format!("sample users and boards are there, {applied} migrations were applied");
        self.progress.say("postgres", &what);
        Ok(started)
    }

    async fn private_postgres(&self, ports: &Ports) -> anyhow::Result<Started> {
        let account = Account::unprivileged()?;
        let programs =
            Programs::find_or_fetch(&Environment, self.home, account.as_ref(), self.progress)
                .await?;
        let data_dir = self.home.reachable_by(account.as_ref())?.join("postgres");
        let options = PostgresOptions {
            data_dir,
            durable: true,
            port: ports.remembered("postgres"),
        };
        let log = self.home.logs().join("postgres.log");
        let postgres = Postgres::launch(options, programs, account, &log, self.supervisor).await?;
        postgres.ensure_database(DATABASE).await?;
        ports.remember("postgres", postgres.port());
        self.progress.say(
            "postgres",
            &format!("{}, port {}", postgres.origin(), postgres.port()),
        );
        let shown = format!("127.0.0.1:{}, database {DATABASE}", postgres.port());
        let part = running("postgres", shown, postgres.pid());
        let address = postgres.url_of(DATABASE);
        self.stack.push(postgres.into_process());
        Ok(Started { part, address })
    }

    async fn redis(&self, ports: &Ports) -> anyhow::Result<Started> {
        if let Some(url) = &self.own.redis {
            return Ok(own("redis", REDIS, url));
        }
        let wanted = ports.remembered("redis");
        let redis = Redis::launch(
            RedisVersion::Found,
            &Environment,
            self.home,
            wanted,
            self.progress,
            self.supervisor,
        )
        .await?;
        ports.remember("redis", redis.port());
        self.progress.say(
            "redis",
            &format!("{}, port {}", redis.origin(), redis.port()),
        );
        let part = running("redis", format!("127.0.0.1:{}", redis.port()), redis.pid());
        let address = redis.url();
        self.stack.push(redis.into_process());
        Ok(Started { part, address })
    }

    async fn azurite(&self, ports: &Ports) -> anyhow::Result<Started> {
        if let Some(connection_string) = &self.own.storage {
            return Ok(own("blob", STORAGE, connection_string));
        }
        let place = BlobPlace::Folder(self.home.root().join("azurite"));
        let wanted = ports.remembered("azurite");
        let azurite = Azurite::launch(
            &Environment,
            self.home,
            &place,
            wanted,
            self.progress,
            self.supervisor,
        )
        .await?;
        ports.remember("azurite", azurite.port());
        self.progress
            .say("azurite", &format!("blob service, port {}", azurite.port()));
        let part = running(
            "azurite",
            format!("http://127.0.0.1:{}", azurite.port()),
            azurite.pid(),
        );
        let address = azurite.connection_string();
        self.stack.push(azurite.into_process());
        Ok(Started { part, address })
    }

    async fn broker(&self, ports: &Ports) -> anyhow::Result<Started> {
        if let Some(connection_string) = &self.own.bus {
            return Ok(own("broker", BUS, connection_string));
        }
        let data = self.home.root().join("broker");
        let wanted = ports.remembered("broker").or(Some(AMQP_PORT));
        let (port, process) =
            on_free_port(wanted, async |port| self.broker_on(port, &data).await).await?;
        let address =
            logs::connection_string(process.log()).context("the broker's log has vanished")?;
        ports.remember("broker", port);
        self.progress.say("broker", &format!("port {port}"));
        let shown = format!("amqp://127.0.0.1:{port}, {}", self.shown(&data));
        let broker = running("broker", shown, process.pid());
        self.stack.push(process);
        Ok(Started {
            part: broker,
            address,
        })
    }

    async fn broker_on(&self, port: u16, data: &Path) -> Result<ServerProcess, ServerError> {
        let listen = loopback(port).to_string();
        let arguments = [
            "--json".as_ref(),
            "broker".as_ref(),
            "--data".as_ref(),
            data.as_os_str(),
            "--listen".as_ref(),
            listen.as_ref(),
            "--app-root".as_ref(),
            ".".as_ref(),
            "--max-delivery-count".as_ref(),
            MAX_DELIVERY_COUNT.as_ref(),
        ];
        // An empty setting counts as absent: the private broker needs no key.
        let environment = vec![("NIGHTSHIFT_BROKER_KEY".to_owned(), OsString::new())];
        let launch = self.launch("broker", &arguments, environment, BROKER_GRACE)?;
        let mut process = ServerProcess::spawn(&launch, self.supervisor)?;
        let log = process.log().to_owned();
        let announced = || async { logs::connection_string(&log).is_some() };
        process.ready(&listen, READY, announced).await?;
        Ok(process)
    }

    async fn app(&self) -> anyhow::Result<Staged> {
        self.progress.say("handler", "building");
        let handler = build::handler(self.checkout).await?;
        let staged = stage(self.checkout, &handler, &self.home.root().join("app"))?;
        self.progress.say("handler", "built and staged");
        Ok(staged)
    }

    /// Starts the host and waits until it has started the handler.
    async fn host(
        &self,
        ports: &Ports,
        staged: &Staged,
        values: &[(&'static str, String)],
    ) -> anyhow::Result<(Part, Part)> {
        if [LISTEN, URLS]
            .iter()
            .any(|name| Environment.get(name).is_some())
        {
            let process = self.host_on(None, staged, values).await?;
            return self.started_host("as the settings say", process);
        }
        let wanted = ports.remembered("host").or(Some(HOST_PORT));
        let (port, process) = on_free_port(wanted, async |port| {
            self.host_on(Some(port), staged, values).await
        })
        .await?;
        ports.remember("host", port);
        self.started_host(&format!("http://127.0.0.1:{port}"), process)
    }

    /// Starts the host on `port`, or where the user's own settings say.
    async fn host_on(
        &self,
        port: Option<u16>,
        staged: &Staged,
        values: &[(&'static str, String)],
    ) -> Result<ServerProcess, ServerError> {
        let listen = port.map(|port| (LISTEN, loopback(port).to_string()));
        let environment = values
            .iter()
            .cloned()
            .chain(listen)
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let arguments = [
            "host".as_ref(),
            "start".as_ref(),
            "--app-root".as_ref(),
            staged.root.as_os_str(),
        ];
        let launch = self.launch("host", &arguments, environment, HOST_GRACE)?;
        let mut process = ServerProcess::spawn(&launch, self.supervisor)?;
        let log = process.log().to_owned();
        let is_ready = || async { logs::handler_port(&log).is_some() };
        process.ready("its queue", READY, is_ready).await?;
        Ok(process)
    }

    /// The host in `process`, which answers requests at `address`, and its handler.
    fn started_host(&self, address: &str, process: ServerProcess) -> anyhow::Result<(Part, Part)> {
        let port = logs::handler_port(process.log()).context("the host's log has vanished")?;
        self.progress
            .say("host", &format!("ready, and so is the handler; {address}"));
        let pid = process.pid();
        let host = running("host", address.to_owned(), pid);
        let handler = descendants(pid)
            .into_iter()
            .find(|pid| process_name(*pid).is_some_and(|name| name == "handler"));
        let handler = Part {
            name: "handler",
            address: format!("http://127.0.0.1:{port}"),
            pid: handler,
            resident_kib: None,
        };
        self.stack.push(process);
        Ok((host, handler))
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.checkout)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// One of this program's own commands as a process.
    fn launch(
        &self,
        name: &str,
        arguments: &[&OsStr],
        environment: Vec<(String, OsString)>,
        grace: Duration,
    ) -> Result<Launch, ServerError> {
        Ok(Launch {
            name: name.to_owned(),
            program: std::env::current_exe().map_err(ServerError::file("find", "this program"))?,
            arguments: arguments.iter().map(OsString::from).collect(),
            environment,
            folder: self.checkout.to_owned(),
            account: None,
            log: self.home.logs().join(format!("{name}.log")),
            stop: Stop::new(Signal::SIGTERM, grace),
        })
    }

    fn what_the_host_says(&self) -> String {
        let log = self.home.logs().join("host.log");
        format!(
            "the samples were not processed; the end of {}:\n{}\n",
            log.display(),
            tail(&log)
        )
    }
}

fn running(name: &'static str, address: String, pid: u32) -> Part {
    Part {
        name,
        address,
        pid: Some(pid),
        resident_kib: None,
    }
}

/// A server of the user's own, named by its setting and not by its address, which may be secret.
fn own(name: &'static str, setting: &str, address: &str) -> Started {
    let part = Part {
        name,
        address: format!("from {setting}"),
        pid: None,
        resident_kib: None,
    };
    Started {
        part,
        address: address.to_owned(),
    }
}

fn with_memory(part: Part) -> Part {
    Part {
        resident_kib: part.pid.and_then(resident_kib),
        ..part
    }
}
