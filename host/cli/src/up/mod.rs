//! `nightshift up`: the whole platform on this machine, with one command.
//!
//! Servers are found or fetched and started while cargo builds the handler; then the schema is
//! migrated, the sample application loaded, the function app staged, the host started, and a
//! first round of messages and scores sent through all of it. Every process is a child of this one, under
//! one supervisor: whatever happens, an error, a signal, even SIGKILL, none is left.

pub(crate) mod addresses;
pub(crate) mod build;
mod leaderboard;
mod live;
mod logs;
pub(crate) mod ports;
mod round;
mod scores;
mod screen;
mod settings;
mod stack;
mod start;

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, bail};
use nightshift_settings::Environment;
use nix::sys::signal::Signal;

use crate::args::UpArgs;
use crate::output;
use crate::servers::{FOLDER, Home, Progress, Supervisor, try_lock};
use crate::signals::{Signals, exit_code};
use settings::Own;
use stack::Stack;
use start::{Running, Start};

/// How long a stop may take before everything left is killed: the host's grace for invocations
/// and the database's for its checkpoint, with some to spare.
const STOP: Duration = Duration::from_secs(90);

/// Why the stack is stopped.
enum End {
    /// The round is done and nothing more was wanted.
    Done,
    /// The user wants it.
    Asked(Signal),
    /// Something failed.
    Failed(anyhow::Error),
}

/// Starts everything, does the round, stays if it should, stops everything. Returns the exit code.
pub(crate) async fn run(args: UpArgs, is_json: bool) -> anyhow::Result<u8> {
    let own = Own::read(&Environment)?;
    let checkout = crate::commands::checkout()?;
    let home = Home::open(&checkout.join(FOLDER))?;
    let _only_one = only_one(&home)?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let progress = if is_json {
        Progress::on_errors(&Environment)
    } else {
        Progress::on_output(&Environment)
    };
    let supervisor = Supervisor::start(&home.run()?.join("roster"))?;
    let stack = Stack::default();
    let start = Start {
        own,
        checkout: &checkout,
        home: &home,
        stack: &stack,
        supervisor: &supervisor,
        progress: &progress,
        stays: !args.once,
    };
    let (end, was_up) = tokio::select! {
        up = Box::pin(start.everything()) => match up {
            Ok(running) => {
                let end = stay(&args, is_json, running, &stack, &mut signals, &progress);
                (Box::pin(end).await, true)
            }
            Err(error) => (End::Failed(error), false),
        },
        error = stack.first_end() => (End::Failed(error), false),
        signal = signals.next() => (End::Asked(signal), false),
    };
    stop(&stack, &mut signals, &progress).await;
    supervisor.end_orphans();
    match end {
        End::Failed(error) => Err(error),
        End::Asked(signal) if !was_up => Ok(exit_code(signal)),
        End::Asked(_) | End::Done => Ok(0),
    }
}

/// Shows the screen, and lets the sample users play until there is a reason to stop.
async fn stay(
    args: &UpArgs,
    is_json: bool,
    running: Running,
    stack: &Stack,
    signals: &mut Signals,
    progress: &Progress,
) -> End {
    let Running {
        report,
        is_coloured,
        live,
        addresses: _addresses,
    } = running;
    if is_json {
        match serde_json::to_string(&report) {
            Ok(text) => output::line(text),
            Err(error) => return End::Failed(error.into()),
        }
    } else {
        output::line(screen::render(&report, is_coloured));
    }
    if args.once {
        return End::Done;
    }
    tokio::select! {
        error = stack.first_end() => End::Failed(error),
        signal = signals.next() => End::Asked(signal),
        never = live.go_on(progress) => match never {},
    }
}

/// Stops everything in order; a second signal or too long a wait kills what is left.
async fn stop(stack: &Stack, signals: &mut Signals, progress: &Progress) {
    progress.say("stopping", "everything");
    let stopped = tokio::select! {
        () = stack.stop() => true,
        _ = signals.next() => false,
        () = tokio::time::sleep(STOP) => false,
    };
    progress.say(
        "stopped",
        if stopped {
            "nothing is left running"
        } else {
            "by force"
        },
    );
}

/// The lock that makes this the only stack of the checkout.
fn only_one(home: &Home) -> anyhow::Result<File> {
    let file = home.run()?.join("up.lock");
    match try_lock(&file)? {
        Some(lock) => Ok(lock),
        None => bail!(
            "this checkout's stack runs already ({} is locked); stop that one with Ctrl-C, or use \
             another checkout",
            file.display()
        ),
    }
}
