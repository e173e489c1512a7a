//! The command line's grammar.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Exit codes, shown under the help text.
const EXIT_CODES: &str = "\
Exit codes:
  0   stopped by a signal
  1   failed; the reason is on standard error
  2   the command line makes no sense
  64  settings are missing or wrong; a table of all problems is on standard error";

/// Runs a message broker that speaks AMQP 1.0 as Azure Service Bus does.
#[derive(Debug, Parser)]
#[command(name = "nightshift-broker", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Say as JSON, one object on standard output, where it listens.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to listen; port 0 takes a free one. Beyond loopback, `NIGHTSHIFT_BROKER_KEY` is needed.
    #[arg(long, default_value = "127.0.0.1:5672")]
    pub(crate) listen: SocketAddr,
    /// A queue to serve; may be repeated. Without any queue and without a `Config.json`, the queues
    /// are those that the functions below `--app-root` name.
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// A queue to serve whose messages belong to sessions; may be repeated.
    #[arg(long = "session-queue", value_name = "NAME")]
    pub(crate) session_queues: Vec<String>,
    /// Serve the queues of a `Config.json` of the official emulator.
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["queues", "session_queues", "lock_seconds", "max_delivery_count"])]
    pub(crate) config: Option<PathBuf>,
    /// Where to look for functions: a folder with `host.json`, and with one folder per function or
    /// a folder `functions` of jobs.
    #[arg(long, value_name = "DIR", default_value = ".",
          conflicts_with_all = ["queues", "session_queues", "config"])]
    pub(crate) app_root: PathBuf,
    /// Keep messages in this folder, so that they outlive the broker. It is made when it is not
    /// there. Without it, messages are kept in memory only.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Seconds for which a received message stays locked, 1 to 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) lock_seconds: u64,
    /// Failed deliveries after which a message becomes a dead letter.
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) max_delivery_count: u32,
    /// Mebibytes that all queues together may hold; senders are told to come back later when they
    /// are reached.
    #[arg(long, value_name = "MIB", default_value_t = 2048,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory_mib: u32,
}
