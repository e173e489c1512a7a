//! The handler process that the Functions host starts: settings, log, functions, serve.
//!
//! With the argument `functions` it only says, as JSON, which functions it has, and with `schedules` when
//! they run by the clock.

use std::path::Path;
use std::process::ExitCode;

use nightshift_bindings::host_json::HostJson;
use nightshift_cache::Cache;
use nightshift_cache::board::Boards;
use nightshift_functions::{Access, Settings, registry};
use nightshift_handler::{
    EXIT_CODE_STOPPED, Handler, HandlerSettings, Outbox, PingSettings, Registry, RegistryError,
};
use nightshift_settings::{EXIT_CODE, Environment, Lookup, Reader};
use nightshift_telemetry::Telemetry;
use nightshift_time::SystemClock;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// The `host.json` that is deployed with this program.
const HOST_JSON: &str = include_str!("../host.json");

#[tokio::main]
async fn main() -> ExitCode {
    let command = std::env::args_os().nth(1);
    match command.as_ref().and_then(|command| command.to_str()) {
        Some("functions") => return list(|registry| serde_json::to_string(&registry.functions())),
        Some("schedules") => return list(|registry| serde_json::to_string(&registry.schedules())),
        _ => {}
    }
    let mut reader = Reader::new(&Environment);
    let settings = HandlerSettings::read(&mut reader);
    let access = Access::read(&mut reader);
    let pings = PingSettings::read(&mut reader, schedules);
    let used = Settings::of(&reader);
    let problems = reader.finish(HandlerSettings::KNOWN_ELSEWHERE);
    let settings = match (settings, problems) {
        (Some(settings), Ok(())) => settings,
        (_, problems) => {
            if let Err(problems) = problems {
                eprint!("{problems}");
            }
            return ExitCode::from(EXIT_CODE);
        }
    };
    let telemetry = Telemetry::start(&settings.telemetry);
    let ended = Box::pin(run(settings, access, pings, used)).await;
    if let Err(error) = &ended {
        tracing::error!(error = format!("{error:#}"), "handler cannot run");
    }
    telemetry.close().await;
    match ended {
        Ok(()) => ExitCode::from(EXIT_CODE_STOPPED),
        Err(_told) => ExitCode::FAILURE,
    }
}

async fn run(
    settings: HandlerSettings,
    access: Access,
    pings: PingSettings,
    used: Settings,
) -> anyhow::Result<()> {
    let pool = settings.postgres.connect_lazy();
    let clock = SystemClock::shared();
    let outbox = Outbox::new(pool.clone(), clock.clone(), settings.bus.clone());
    let outbox = outbox.with_pings(pings);
    let mut empty = Registry::new(pool, outbox, clock);
    if let Some(released_at) = settings.released_at {
        empty = empty.released_at(released_at);
    }
    let host = HostJson::parse(
        Path::new("host.json"),
        HOST_JSON,
        Lookup::new(&Environment).into_pairs(),
    )?;
    empty = empty.with_route_prefix(host.http.route_prefix);
    if let Some(redis) = settings.redis.clone() {
        empty = empty.with_cache(Cache::connect_lazy(redis));
    }
    let boards = settings.redis.clone().map(Boards::connect_lazy);
    Ok(
        Handler::new(registry(empty, access, used, boards)?, settings)
            .serve()
            .await?,
    )
}

/// Prints what `said` says of the functions, without connecting to anything.
fn list(said: impl FnOnce(&Registry) -> serde_json::Result<String>) -> ExitCode {
    let listed = unconnected()
        .map_err(anyhow::Error::from)
        .and_then(|registry| Ok(said(&registry)?));
    match listed {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The functions without anything that they work with.
fn unconnected() -> Result<Registry, RegistryError> {
    let nowhere = PgPoolOptions::new().connect_lazy_with(PgConnectOptions::new_without_pgpass());
    let clock = SystemClock::shared();
    let outbox = Outbox::left_to_others(nowhere.clone(), clock.clone());
    registry(
        Registry::new(nowhere, outbox, clock),
        Access::closed(),
        Settings::default(),
        None,
    )
}

/// The names of the schedules. Functions that do not fit together have none; the start says why.
fn schedules() -> Vec<String> {
    let schedules = unconnected().map(|registry| registry.schedules());
    let schedules = schedules.unwrap_or_default().into_iter();
    schedules.map(|listed| listed.function).collect()
}
