//! The `nightshift` command: the local stack, the broker and the host as processes, and the small
//! tools around them.

pub mod servers;

mod args;
mod check;
mod checkout;
mod commands;
mod environment;
mod ops;
mod output;
mod private_file;
mod scaffold;
mod signals;
pub mod stage;
mod up;

pub use args::{Cli, Command};

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use nightshift_settings::Problems;

/// Runs the command to its end and says, on standard error, why it failed if it did.
pub fn main(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start")),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

/// Half of the processors. The host waits for others nearly all the time, and the handler and the
/// broker beside it need processors too. A worker that is woken wakes the next one to look for more;
/// on two processors that takes the second one away from the handler with every message.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).max(1)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let problems = error.downcast_ref::<Problems>();
    let text = match problems {
        Some(problems) => problems.to_string(),
        None => format!("nightshift: {error:#}\n"),
    };
    // Nobody may be reading any more; the exit code says the same.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(if problems.is_some() {
        nightshift_settings::EXIT_CODE
    } else {
        1
    })
}
