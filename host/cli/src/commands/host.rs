//! `nightshift host start`: the Functions-compatible host as a process of its own.

use std::time::Duration;

use anyhow::{Context, bail};
use nightshift_runtime::{Host, HostConfig, HostExit, HostProblems};
use nightshift_settings::{EXIT_CODE, Environment, Reader};
use nightshift_telemetry::{Telemetry, TelemetrySettings};
use nightshift_time::SystemClock;

use super::settings::ELSEWHERE;
use crate::args::HostStartArgs;
use crate::signals::Signals;

/// How long the handler and the broker may take until a warning says what is missing. Nothing is
/// given up then: the host goes on trying.
const READY: Duration = Duration::from_secs(30);

pub(super) async fn run(args: HostStartArgs) -> anyhow::Result<u8> {
    let mut reader = Reader::new(&Environment);
    let telemetry = TelemetrySettings::read(&mut reader, "nightshift-host");
    reader.finish(ELSEWHERE)?;
    let config = match HostConfig::load(&args.app_root, &Environment) {
        Ok(config) => config,
        Err(problems) => return Ok(refuse(&problems)),
    };
    let telemetry = Telemetry::start(&telemetry);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let host = Host::start(config, SystemClock::shared())?;
    let exit = tokio::select! {
        exit = serve(&host) => exit,
        _ = signals.next() => HostExit::Stopped,
    };
    host.stop().await;
    telemetry.close().await;
    match exit {
        HostExit::HandlerFailed(what) => bail!("the handler failed too often: {what}"),
        _ => Ok(0),
    }
}

async fn serve(host: &Host) -> HostExit {
    let report = async {
        match host.wait_until_ready(READY).await {
            Ok(()) => {
                let handler = host.stats().handler;
                tracing::info!(
                    handler.pid = handler.pid,
                    handler.port = handler.port,
                    "the host is ready"
                );
            }
            Err(error) => tracing::warn!(error = %error, "the host goes on trying"),
        }
        std::future::pending().await
    };
    tokio::select! {
        exit = host.wait() => exit,
        exit = report => exit,
    }
}

fn refuse(problems: &HostProblems) -> u8 {
    use std::io::Write;
    // Nobody may be reading any more; the exit code says the same.
    let _ = writeln!(std::io::stderr().lock(), "{problems}");
    EXIT_CODE
}
