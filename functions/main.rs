//! The handler process that the Functions host starts: settings, log, functions, serve.

use std::process::ExitCode;

use nightshift_functions::registry;
use nightshift_handler::{EXIT_CODE_STOPPED, Handler, HandlerSettings, Outbox};
use nightshift_settings::{EXIT_CODE, Environment, Reader};
use nightshift_time::SystemClock;

#[tokio::main]
async fn main() -> ExitCode {
    let mut reader = Reader::new(&Environment);
    let settings = HandlerSettings::read(&mut reader);
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
    nightshift_telemetry::init(&settings.log);
    match run(settings).await {
        Ok(()) => ExitCode::from(EXIT_CODE_STOPPED),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "handler cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: HandlerSettings) -> anyhow::Result<()> {
    let pool = settings.postgres.connect_lazy();
    let clock = SystemClock::shared();
    let outbox = Outbox::new(pool.clone(), clock.clone(), settings.bus.clone());
    let registry = registry(pool, outbox, clock)?;
    Ok(Handler::new(registry, settings).serve().await?)
}
