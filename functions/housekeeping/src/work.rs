//! `housekeeping-work`: retention, and a watch over the schedules.
//!
//! What: partitions of the inbox go when none of their messages would be run any more; ticks, runs and
//! the audit's old end after 90 days; a schedule on which nobody has decided although a tick was due is an error in the log.
//! When each schedule last ended well, and how far behind leaderboards are, is read for those who watch this process's metrics. When: each minute, a bounded amount. Why it is safe to run twice: what is gone is gone. What it leaves to
//! others: messages whose copy has not come, and the outbox, which every handler sweeps.

use chrono::{DateTime, Utc};
use nightshift_contract::HousekeepingDue;
use nightshift_job::{BatchFunction, Cx, Item, JobError, Outcome, Policy};
use nightshift_postgres::audit;
use nightshift_postgres::inbox::{OldPartitions, drop_old_partitions};
use nightshift_postgres::run::forget_old;
use nightshift_postgres::schedule::{LastEnd, Silent, last_ends, prune, silent};
use nightshift_telemetry::metrics::{ENDED_WELL, Gauge, HEARTBEAT, NEXT_DUE};
use sqlx::PgConnection;

use crate::leaderboards::Leaderboards;

/// How many partitions one run drops: each stops the inbox for a moment.
const PARTITIONS_AT_A_TIME: i32 = 2;

/// How many may be left before somebody is told: one is new each day, so they have piled up for days.
const TOO_MANY_PARTITIONS: i32 = 3;

/// How long a tick and a run can be looked at.
const HISTORY_DAYS: i32 = 90;

/// How many ticks one run removes.
const TICKS_AT_A_TIME: i64 = 10_000;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work;

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    partitions: OldPartitions,
    ticks_pruned: u64,
    runs_pruned: i64,
    audit_pruned: i64,
    silent: Vec<Silent>,
}

impl BatchFunction for Work {
    const NAME: &'static str = "housekeeping-work";
    const CONFIG: &'static str = include_str!("../work/function.json");
    const POLICY: Policy = Policy {
        // The next minute's run does what this one could not.
        max_attempts: 3,
        ..Policy::DEFAULT
    };
    type Input = HousekeepingDue;

    async fn run(
        &self,
        items: &[&Item<HousekeepingDue>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        // The watch goes first: dropping a partition ends the inbox's rest until the commit.
        let silent = silent(tx).await?;
        let ends = last_ends(tx).await?;
        let leaderboards = Leaderboards::read(tx, cx.now()).await?;
        let ticks_pruned = prune(tx, HISTORY_DAYS, TICKS_AT_A_TIME).await?;
        let runs_pruned = forget_old(tx, HISTORY_DAYS).await?;
        let audit_pruned = audit::prune(tx, audit::RETENTION_DAYS).await?;
        let partitions = drop_old_partitions(tx, PARTITIONS_AT_A_TIME).await?;
        log(&Report {
            partitions,
            ticks_pruned,
            runs_pruned,
            audit_pruned,
            silent,
        });
        let now = cx.now();
        cx.after_commit(async move {
            leaderboards.show();
            show(&ends, now);
        });
        Ok(vec![Outcome::Completed; items.len()])
    }
}

/// Sets what is seen of the schedules, and of this process, from outside.
fn show(ends: &[LastEnd], now: DateTime<Utc>) {
    set(&ENDED_WELL, ends, |end| end.ended_well);
    set(&NEXT_DUE, ends, |end| end.next_due);
    HEARTBEAT.replace([(&[][..], unix_seconds(now))]);
}

fn set(gauge: &Gauge, ends: &[LastEnd], instant: impl Fn(&LastEnd) -> Option<DateTime<Utc>>) {
    let cells: Vec<([&str; 1], f64)> = ends
        .iter()
        .filter_map(|end| Some(([end.function.as_str()], unix_seconds(instant(end)?))))
        .collect();
    gauge.replace(
        cells
            .iter()
            .map(|(values, seconds)| (&values[..], *seconds)),
    );
}

fn unix_seconds(at: DateTime<Utc>) -> f64 {
    // No instant of ours is so far away that a float would round it.
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of the next 100,000 years fit"
    )]
    let seconds = at.timestamp_millis() as f64 / 1000.0;
    seconds
}

fn log_silent(silent: &Silent) {
    let function = &silent.function;
    let Some(due) = silent.due else {
        tracing::error!(
            schedule.function = function,
            "a schedule cannot be read by this release, which cannot watch it"
        );
        return;
    };
    tracing::error!(
        schedule.function = function,
        schedule.due = %due,
        "a schedule has gone silent: nobody has decided on a tick that was due; is its timer running? If the function is gone for good, delete its row of nightshift.schedule"
    );
}

fn log(report: &Report) {
    report.silent.iter().for_each(log_silent);
    let OldPartitions { dropped, remaining } = report.partitions;
    if remaining > TOO_MANY_PARTITIONS {
        tracing::error!(
            inbox.partitions_remaining = remaining,
            "old partitions of the inbox pile up: it is never free for long enough to drop one"
        );
    }
    tracing::info!(
        inbox.partitions_dropped = dropped,
        inbox.partitions_remaining = remaining,
        schedule.ticks_pruned = report.ticks_pruned,
        runs_pruned = report.runs_pruned,
        audit.pruned = report.audit_pruned,
        schedule.silent = report.silent.len(),
        "tidied up"
    );
}
