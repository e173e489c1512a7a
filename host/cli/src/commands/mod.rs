//! One module per command.

mod broker;
mod check;
pub(crate) mod cron;
pub(crate) mod exec;
mod host;
pub(crate) mod invoke;
pub(crate) mod migrate;
mod new;
pub(crate) mod plan;
pub(crate) mod send;
pub(crate) mod settings;

use std::path::PathBuf;

use anyhow::Context;

use crate::args::{Cli, Command, HostCommand, ServersCommand};
use crate::ops;
use crate::servers::{checkout_above, watch};
use crate::up;

/// Does what the command line says and returns the exit code.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Up(args) => Box::pin(up::run(args, cli.json)).await,
        Command::Servers(ServersCommand::Exec(args)) => Box::pin(exec::run(args)).await,
        Command::Broker(args) => match broker::become_it(&args, cli.json)? {},
        Command::Host(HostCommand::Start(args)) => Box::pin(host::run(args)).await,
        Command::New(args) => new::run(&args, cli.json),
        Command::Invoke(args) => Box::pin(invoke::run(args, cli.json)).await,
        Command::Check(args) => Box::pin(check::run(args, cli.json)).await,
        Command::Send(args) => Box::pin(send::run(args, cli.json)).await,
        Command::Cron(args) => Ok(cron::run(&args, cli.json)),
        Command::Plan(args) => Box::pin(plan::run(args, cli.json)).await,
        Command::Ops(command) => Box::pin(ops::run(command, cli.json)).await,
        Command::Migrate => migrate::run(cli.json).await,
        Command::Settings => settings::run(cli.json),
        Command::Watchdog => {
            watch(std::io::stdin().lock());
            Ok(0)
        }
    }
}

/// The checkout that this process works in.
pub(crate) fn checkout() -> anyhow::Result<PathBuf> {
    let working = std::env::current_dir().context("cannot find the working folder")?;
    checkout_above(&working)
        .map(std::path::Path::to_owned)
        .with_context(|| {
            format!(
                "{} is not inside a checkout of Nightshift",
                working.display()
            )
        })
}
