//! The grammar of the commands that ask the admin API.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};

use super::limits;
use crate::commands::plan;

/// Commands that ask the admin API of a deployment, or of the stack that runs in this checkout.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum OpsCommand {
    /// Show how everything is: what answers, which functions are paused, what is dead, what is in the queues.
    Status,
    /// Show runs of long work, the newest first, or one of them.
    Runs(RunsArgs),
    /// Show messages that wait and why, or what became of one.
    Messages(MessagesArgs),
    /// Show, mend and send again what is dead.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Show what became of a schedule's ticks, the newest first.
    Ticks(TicksArgs),
    /// Pause a function: its messages wait, its ticks are skipped, nothing is lost.
    Pause(PauseArgs),
    /// End a pause; what waits comes back in order.
    Resume(ResumeArgs),
    /// Run a function now, with a payload if messages call it.
    Run(RunArgs),
    /// Run a function of the clock for every tick of a time that is over.
    Backfill(BackfillArgs),
    /// End a message that waits, or a run, whoever is at it.
    Cancel(CancelArgs),
    /// Show rate limits and places of concurrency keys, or change them for all processes at once.
    Limits(LimitsArgs),
    /// Show what operators have done, the newest first, or check that nobody has changed the record.
    Audit(AuditArgs),
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Show this run in full.
    pub key: Option<String>,
    /// Only of this function.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Only those that are running, waiting, done, dead or cancelled.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only those in whose progress, report, error or message id this text is.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    #[command(flatten)]
    pub when: When,
    #[command(flatten)]
    pub most: Most,
}

/// A range of time.
#[derive(Debug, Args)]
pub struct When {
    /// Only from this instant (RFC 3339) or day on.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub from: Option<DateTime<Utc>>,
    /// Only before this instant (RFC 3339) or day.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub to: Option<DateTime<Utc>>,
}

/// How much is shown.
#[derive(Debug, Args)]
pub struct Most {
    /// How many to show.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub most: usize,
}

/// Arguments of `messages`.
#[derive(Debug, Args)]
pub struct MessagesArgs {
    /// Show what became of the message with this key.
    pub key: Option<String>,
    /// Only of this function.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Only those that wait for this: retry, snooze, paused, limited, queued and so on.
    #[arg(long, value_name = "WORD")]
    pub reason: Option<String>,
    /// Only the one with this id, of `--function`.
    #[arg(long, value_name = "ID", requires = "function")]
    pub message_id: Option<String>,
    #[command(flatten)]
    pub most: Most,
}

/// Commands about dead letters.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum DeadCommand {
    /// Show what letters died of: those of one cause are one line.
    Groups,
    /// Show letters, the newest first.
    List(DeadListArgs),
    /// Show one letter with its payload, and whether it could be decoded now.
    Show {
        /// The letter.
        key: String,
    },
    /// Give a letter another payload.
    Edit(EditArgs),
    /// Send letters again.
    Redrive(RedriveArgs),
    /// Take back what was to be sent again and has not been.
    Undo(UndoArgs),
    /// Throw letters away for good.
    Discard(DiscardArgs),
}

/// Which letters are meant.
#[derive(Debug, Args)]
pub struct Letters {
    /// Only of this function.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Only those of this group.
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Option<String>,
    /// Only those that died of this, in a word.
    #[arg(long, value_name = "WORD")]
    pub reason: Option<String>,
    /// Only those in whose description or message id this text is.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    #[command(flatten)]
    pub when: When,
}

/// Arguments of `dead list`.
#[derive(Debug, Args)]
pub struct DeadListArgs {
    #[command(flatten)]
    pub letters: Letters,
    #[command(flatten)]
    pub most: Most,
}

/// Which letters are meant by what is done with them.
#[derive(Debug, Args)]
pub struct Chosen {
    /// These letters.
    pub keys: Vec<String>,
    #[command(flatten)]
    pub letters: Letters,
    /// All letters.
    #[arg(long, conflicts_with_all = ["keys", "function", "fingerprint", "reason", "text", "from", "to"])]
    pub all: bool,
    /// Only say what would happen.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `dead edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The letter.
    pub key: String,
    /// The file with the new payload, JSON; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub payload: PathBuf,
    /// Why, for the audit.
    #[arg(long)]
    pub why: String,
}

/// Arguments of `dead redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// How many per second; all at once otherwise.
    #[arg(long, value_name = "RATE")]
    pub per_second: Option<f64>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

/// Arguments of `dead undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// Only of this function.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Why, for the audit.
    #[arg(long)]
    pub why: String,
}

/// Arguments of `dead discard`.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Why, for the audit.
    #[arg(long)]
    pub why: String,
}

/// Arguments of `ticks`.
#[derive(Debug, Args)]
pub struct TicksArgs {
    /// The function.
    pub function: String,
    /// Only those that are enqueued, buffered, done, failed, skipped or cancelled.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    #[command(flatten)]
    pub most: Most,
}

/// Arguments of `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The function.
    pub function: String,
    /// Why, for the audit.
    #[arg(long)]
    pub why: String,
    /// Only say what would be held.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The function.
    pub function: String,
    /// How many of the messages that wait come back per second; all at once otherwise.
    #[arg(long, value_name = "RATE")]
    pub per_second: Option<f64>,
    /// Only say what would come back.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The function.
    pub function: String,
    /// The file with the payload, JSON; `-` for standard input. Not for functions of the clock.
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// The name of the request: one that comes twice is one.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
}

/// Arguments of `backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// The function.
    pub function: String,
    /// The first instant (RFC 3339) or day.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub from: DateTime<Utc>,
    /// The first instant or day after it.
    #[arg(long, value_name = "WHEN", value_parser = plan::instant)]
    pub to: DateTime<Utc>,
    /// The name of the request: one that comes twice is one.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Only say what would run.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The key of the message or run.
    pub key: String,
    /// Why, for the audit.
    #[arg(long)]
    pub why: String,
}

/// Arguments of `limits`.
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// What to change; all limits are shown if nothing is.
    #[command(subcommand)]
    pub command: Option<LimitsCommand>,
}

/// Changes of limits.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum LimitsCommand {
    /// Give a rate limit another rate; messages that have a slot already keep it.
    Set(SetRateArgs),
    /// Let another number of messages of one concurrency key be at work at a time.
    SetPlaces(SetPlacesArgs),
    /// Give a rate limit back the rate that the code says.
    Reset {
        /// The rate limit.
        name: String,
        #[command(flatten)]
        changing: Changing,
    },
    /// Give a function back as many places as the code says.
    ResetPlaces {
        /// The function.
        function: String,
        #[command(flatten)]
        changing: Changing,
    },
}

/// How a limit is changed.
#[derive(Debug, Args)]
pub struct Changing {
    /// Why, for the audit.
    #[arg(long)]
    pub why: Option<String>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `limits set`.
#[derive(Debug, Args)]
pub struct SetRateArgs {
    /// The rate limit.
    pub name: String,
    /// How many tries are let through in that time.
    #[arg(long, value_name = "N")]
    pub count: u32,
    /// In which time, such as 1s, 5m or 1h.
    #[arg(long, value_name = "SPAN", value_parser = limits::span)]
    pub per: Duration,
    /// How many are let through at once after a time without any; as many as the code says otherwise.
    #[arg(long, value_name = "N")]
    pub burst: Option<u32>,
    #[command(flatten)]
    pub changing: Changing,
}

/// Arguments of `limits set-places`.
#[derive(Debug, Args)]
pub struct SetPlacesArgs {
    /// The function.
    pub function: String,
    /// How many messages of one concurrency key may be at work at a time.
    pub places: u32,
    #[command(flatten)]
    pub changing: Changing,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Follow the chain of hashes through all entries instead of showing them; exit code 1 if it is broken.
    #[arg(long)]
    pub verify: bool,
    /// Only what this one has done.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Only what was done so, such as function.pause.
    #[arg(long, value_name = "WORD")]
    pub action: Option<String>,
    /// Only what was done to this.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    #[command(flatten)]
    pub when: When,
    #[command(flatten)]
    pub most: Most,
}
