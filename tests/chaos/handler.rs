//! The handler of the chaos tests, which a host starts: a function of each shape.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use nightshift_handler::{EXIT_CODE_STOPPED, Handler, HandlerSettings, Outbox, Registry};
use nightshift_settings::{Environment, Reader, Source};
use nightshift_telemetry::Telemetry;
use nightshift_tests::chaos::{Call, Clock, InSession, Long, TRIES, Ticked, Work};
use nightshift_time::SystemClock;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut reader = Reader::new(&Environment);
    let settings = HandlerSettings::read(&mut reader);
    reader.finish(HandlerSettings::KNOWN_ELSEWHERE)?;
    let settings = settings.context("the settings have problems that nobody told")?;
    let telemetry = Telemetry::start(&settings.telemetry);
    let tries = Environment
        .get(TRIES)
        .context("no file of tries is named")?;
    let work = Work::new(Path::new(&tries))?;
    let pool = settings.postgres.connect_lazy();
    let clock = SystemClock::shared();
    let outbox = Outbox::new(pool.clone(), clock.clone(), settings.bus.clone());
    let other_side = settings.postgres.connect_lazy();
    let registry = Registry::new(pool, outbox, clock)
        .with_batch(work)?
        .with_batch(InSession)?
        .with_external(Call { other_side })?
        .with_long(Long)?
        .with_schedule(Clock)?
        .with_batch(Ticked)?;
    Handler::new(registry, settings).serve().await?;
    telemetry.close().await;
    Ok(ExitCode::from(EXIT_CODE_STOPPED))
}
