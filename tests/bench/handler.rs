//! The handler of the work benchmark, which a host starts.

use std::process::ExitCode;

use anyhow::Context;
use nightshift_cache::Cache;
use nightshift_handler::{EXIT_CODE_STOPPED, Handler, HandlerSettings, Outbox, Registry};
use nightshift_settings::{Environment, Reader};
use nightshift_telemetry::Telemetry;
use nightshift_tests::bench::{Batch, Limited, Single, Teller};
use nightshift_time::SystemClock;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut reader = Reader::new(&Environment);
    let settings = HandlerSettings::read(&mut reader);
    reader.finish(HandlerSettings::KNOWN_ELSEWHERE)?;
    let settings = settings.context("the settings have problems that nobody told")?;
    let telemetry = Telemetry::start(&settings.telemetry);
    let pool = settings.postgres.connect_lazy();
    let clock = SystemClock::shared();
    let outbox = Outbox::new(pool.clone(), clock.clone(), settings.bus.clone());
    let mut empty = Registry::new(pool, outbox, clock);
    if let Some(redis) = settings.redis.clone() {
        empty = empty.with_cache(Cache::connect_lazy(redis));
    }
    let registry = empty
        .with_batch(Batch(Teller::of_environment()?))?
        .with_batch(Limited)?
        .with_transactional(Single)?;
    Handler::new(registry, settings).serve().await?;
    telemetry.close().await;
    Ok(ExitCode::from(EXIT_CODE_STOPPED))
}
