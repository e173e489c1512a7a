//! The command line's grammar.

use std::ffi::OsString;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nightshift_job::{Missed, Overlap};

use crate::commands::plan;
use crate::ops::args::OpsCommand;

/// Exit codes, shown under every help text.
const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed; the reason is on standard error. Or `check`, `status` or `audit --verify` has found
      something, which is on standard output
  2   the command line makes no sense
  64  settings are missing or wrong; a table of all problems is on standard error; or `cron` or
      `plan` was given something that is no schedule or no time zone
`servers exec` ends with the exit code of its command, or 128 + N when signal N ended it.";

/// Nightshift: background jobs for your application, on Azure Functions or on your own machine.
#[derive(Debug, Parser)]
#[command(name = "nightshift", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Print results as JSON, one object, on standard output.
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Start everything on this machine, send sample notifications, and stay until Ctrl-C.
    #[command(after_help = EXIT_CODES)]
    Up(UpArgs),
    /// Private servers for tests.
    #[command(subcommand, after_help = EXIT_CODES)]
    Servers(ServersCommand),
    /// Run a Service-Bus-compatible broker, with the arguments of `nightshift-broker`.
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Broker(BrokerArgs),
    /// Run functions as the Azure Functions host does.
    #[command(subcommand, after_help = EXIT_CODES)]
    Host(HostCommand),
    /// Write a new job: its folder, with a function that works, a sample and tests, and its lines in
    /// the files that list jobs.
    #[command(after_help = EXIT_CODES)]
    New(NewArgs),
    /// Call a function of a running host once, with its sample or with data of yours.
    #[command(after_help = EXIT_CODES)]
    Invoke(InvokeArgs),
    /// Compare the names of functions, queues, schedules and settings all over this checkout.
    #[command(after_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Send a message to a queue.
    #[command(after_help = EXIT_CODES)]
    Send(SendArgs),
    /// Show when a schedule (NCRONTAB or a time span) runs next, or what is wrong with it.
    #[command(after_help = EXIT_CODES)]
    Cron(CronArgs),
    /// Show when every scheduled function runs until a date, what the changes of the clocks do to it,
    /// and what would run after an outage.
    #[command(after_help = EXIT_CODES)]
    Plan(PlanArgs),
    /// Ask the admin API.
    #[command(flatten)]
    Ops(OpsCommand),
    /// Bring the schema `nightshift` of the database in `NIGHTSHIFT_POSTGRES_URL` up to date.
    #[command(after_help = EXIT_CODES)]
    Migrate,
    /// Show every setting, where it comes from, and what is wrong with it.
    #[command(after_help = EXIT_CODES)]
    Settings,
    /// Ends the processes it reads about on standard input once that closes.
    #[command(name = crate::servers::WATCHDOG_COMMAND, hide = true)]
    Watchdog,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Do the whole round, print the result, stop everything, and end.
    #[arg(long)]
    pub once: bool,
}

/// Commands about private servers.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum ServersCommand {
    /// Start throw-away servers, run a command with their addresses in its environment, and stop
    /// them.
    Exec(ExecArgs),
}

/// A private server, or something else that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Part {
    /// `NIGHTSHIFT_TEST_POSTGRES`: URL of a superuser, database `postgres`.
    Postgres,
    /// `NIGHTSHIFT_TEST_PYTHONPATH`: folder with the Python packages of the conformance tests.
    Python,
    /// `NIGHTSHIFT_TEST_NODE_MODULES`: folder with the npm packages of the conformance tests.
    Node,
    /// `NIGHTSHIFT_TEST_REDIS`: URL.
    Redis,
    /// `NIGHTSHIFT_TEST_REDIS_SIX`: URL of a Redis 6.2.
    RedisSix,
    /// `NIGHTSHIFT_TEST_REDIS_CLUSTER`: URL of a Redis cluster of two.
    RedisCluster,
    /// `NIGHTSHIFT_TEST_BLOB`: storage connection string.
    Azurite,
}

/// Arguments of `servers exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// What to start.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "postgres,python,node,redis,redis-six,redis-cluster"
    )]
    pub with: Vec<Part>,
    /// Give Postgres its defaults (a committed row survives a power cut) instead of skipping
    /// every fsync. For measurements.
    #[arg(long)]
    pub durable: bool,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// What `nightshift-broker --help` lists.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Commands about the host.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum HostCommand {
    /// Start the handler and the triggers of one function app.
    Start(HostStartArgs),
}

/// Arguments of `host start`.
#[derive(Debug, Args)]
pub struct HostStartArgs {
    /// The folder with `host.json`, perhaps `local.settings.json`, and one folder per function.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub app_root: PathBuf,
}

/// Arguments of `new`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("kind").required(true).args(["queue", "timer", "http"]))]
pub struct NewArgs {
    /// The job: lower-case letters, digits and dashes, such as token-cleanup.
    pub job: String,
    /// Its work comes from this queue; from one that is called like the job if none is named.
    #[arg(long, value_name = "QUEUE", num_args = 0..=1, default_missing_value = "")]
    pub queue: Option<String>,
    /// It runs by the clock: six fields (second minute hour day month day-of-week), in UTC.
    #[arg(long, value_name = "NCRONTAB", allow_hyphen_values = true)]
    pub timer: Option<String>,
    /// It answers HTTP requests at this route; at one that is called like the job if none is named.
    #[arg(long, value_name = "ROUTE", num_args = 0..=1, default_missing_value = "")]
    pub http: Option<String>,
    /// Only show what would be written.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `invoke`.
#[derive(Debug, Args)]
pub struct InvokeArgs {
    /// The function, such as notifications-dispatch.
    pub function: String,
    /// Send the sample NAME of the function's folder (`NAME.sample.json`); without a name, or without
    /// `--data`, its `sample.json`.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
          conflicts_with = "data")]
    pub sample: Option<String>,
    /// Send this file, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Where the host answers. Otherwise `NIGHTSHIFT_HOST_LISTEN` says so, or the stack that runs in this
    /// checkout, and else it is <http://127.0.0.1:7071>.
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
    /// The file with the key to show. Otherwise it is `host.master` in `NIGHTSHIFT_HOST_KEYS_DIR`.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Of an HTTP function: the method. Otherwise the first that it takes, POST before others if there is
    /// something to send.
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Of an HTTP function: the value of a parameter of its route; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::commands::invoke::parameter)]
    pub param: Vec<(String, String)>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Rewrite docs/FUNCTIONS.md first.
    #[arg(long)]
    pub write: bool,
    /// Ask this program of the handler, too, which functions it has.
    #[arg(long, value_name = "FILE")]
    pub handler: Option<PathBuf>,
    /// Build the handler's program from this checkout and ask it.
    #[arg(long, conflicts_with = "handler")]
    pub build: bool,
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The queue.
    pub queue: String,
    /// The file whose bytes are the message's body, or `-` for standard input.
    pub file: PathBuf,
    /// The message's id; a random one otherwise. With `--count`, `-1`, `-2` and so on follow it.
    #[arg(long, value_name = "ID")]
    pub message_id: Option<String>,
    /// How many messages to send, all with the same body.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
}

fn rfc_3339(text: &str) -> Result<DateTime<Utc>, chrono::ParseError> {
    DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc())
}

/// Arguments of `cron`.
#[derive(Debug, Args)]
pub struct CronArgs {
    /// Six fields (second minute hour day month day-of-week), five (no second), or a time span.
    #[arg(allow_hyphen_values = true)]
    pub expression: String,
    /// Show what comes after this instant, in RFC 3339; now otherwise.
    #[arg(long, value_name = "RFC 3339", value_parser = rfc_3339)]
    pub from: Option<DateTime<Utc>>,
    /// How many occurrences to show.
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// The time zone whose clocks the schedule follows, such as Europe/Berlin.
    #[arg(long, value_name = "NAME", default_value = "UTC")]
    pub zone: String,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Show this function only; may be given several times.
    #[arg(long, value_name = "NAME", conflicts_with = "cron")]
    pub function: Vec<String>,
    /// Show what comes after this instant (RFC 3339) or day; now otherwise.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub from: Option<DateTime<Utc>>,
    /// Show what comes until this instant (RFC 3339) or day; for 7 days otherwise.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub until: Option<DateTime<Utc>>,
    /// How many runs of each function to show; the others are counted.
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub most: usize,
    /// Show what would run and what would be skipped, had nothing woken between these.
    #[arg(long, value_name = "FROM..TO", value_parser = plan::outage)]
    pub outage: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The handler's program, which knows the schedules; built from this checkout otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "cron")]
    pub handler: Option<PathBuf>,
    /// Try out this schedule (NCRONTAB, six fields) instead of showing those of the functions.
    #[arg(long, value_name = "NCRONTAB", allow_hyphen_values = true)]
    pub cron: Option<String>,
    /// The zone whose clocks `--cron` follows.
    #[arg(long, value_name = "NAME", default_value = "UTC", requires = "cron")]
    pub zone: String,
    /// What happens to a tick of `--cron` while an earlier one has not ended: skip, buffer-one,
    /// buffer-all, cancel-running or allow.
    #[arg(long, value_name = "RULE", default_value = "skip", requires = "cron",
          value_parser = plan::overlap)]
    pub overlap: Overlap,
    /// Which ticks of `--cron` are run that were missed: none, last or all:N.
    #[arg(long, value_name = "RULE", default_value = "last", requires = "cron",
          value_parser = plan::missed)]
    pub missed: Missed,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_after_two_dashes_keeps_its_own_options() {
        let cli = Cli::parse_from(["nightshift", "servers", "exec", "--", "cargo", "--json"]);
        let Command::Servers(ServersCommand::Exec(args)) = cli.command else {
            panic!()
        };
        assert_eq!(args.command, ["cargo", "--json"]);
        assert_eq!(
            args.with,
            [
                Part::Postgres,
                Part::Python,
                Part::Node,
                Part::Redis,
                Part::RedisSix,
                Part::RedisCluster,
            ]
        );
        assert!(!cli.json);
    }
}
