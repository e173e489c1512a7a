//! The handler of the bad night, which a host starts.

use std::process::ExitCode;

use anyhow::Context;
use nightshift_functions::{Access, Api, Settings};
use nightshift_handler::{EXIT_CODE_STOPPED, Handler, HandlerSettings, Outbox, Registry};
use nightshift_settings::{Environment, Reader, Source};
use nightshift_telemetry::Telemetry;
use nightshift_tests::night::{Orders, RELEASE, Receipts, ReportSchedule, Reports, Restore};
use nightshift_time::SystemClock;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut reader = Reader::new(&Environment);
    let settings = HandlerSettings::read(&mut reader);
    let access = Access::read(&mut reader);
    let used = Settings::of(&reader);
    reader.finish(HandlerSettings::KNOWN_ELSEWHERE)?;
    let settings = settings.context("the settings have problems that nobody told")?;
    let telemetry = Telemetry::start(&settings.telemetry);
    let release = Environment.get(RELEASE).context("no release is named")?;
    let pool = settings.postgres.connect_lazy();
    let clock = SystemClock::shared();
    let outbox = Outbox::new(pool.clone(), clock.clone(), settings.bus.clone());
    let registry = Registry::new(pool, outbox, clock)
        .with_http(Api::new(access, used))?
        .with_batch(Orders {
            release: release.into(),
        })?
        .with_schedule(ReportSchedule)?
        .with_batch(Reports)?
        .with_transactional(Receipts)?
        .with_long(Restore)?;
    Handler::new(registry, settings).serve().await?;
    telemetry.close().await;
    Ok(ExitCode::from(EXIT_CODE_STOPPED))
}
