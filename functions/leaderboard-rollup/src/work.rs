//! `leaderboard-rollup-work`: what is new in the sources of leaderboards becomes scores, and is shown.
//!
//! What: one transaction counts what is new of a source, closes windows whose time is over and moves the
//! watermark; then Redis is shown what has changed. When: each minute. Why it is safe to run twice: an event
//! counts by its transaction's number, once; what is shown is fenced by the number of the count, and a Redis
//! that is away or empty is put right by the next tick. Two at once do not wait for each other, since one that
//! is gone would be waited for as long as its call may take, and boards in Redis would end meanwhile. A
//! declaration that does not fit is an error in the log and costs its own boards only.

use std::time::Duration;

use nightshift_cache::CacheError;
use nightshift_cache::board::Boards;
use nightshift_contract::{LeaderboardRollupDue, RollupTask};
use nightshift_job::{Cx, Enqueue, ExternalFunction, Item, JobError, Outcome, Policy, Prepared};
use nightshift_telemetry::causes;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::again::{self, Drift};
use crate::count::{Counted, count};
use crate::declaration::{self, Mode, ReadError, Source};
use crate::publish::{self, Show, ShowError, Shown};
use crate::scores::Score;

/// The queue of [`Work`].
const QUEUE: &str = "leaderboard-rollup";

/// After what time a source is looked at again that somebody else was counting.
const AGAIN: Duration = Duration::from_secs(20);

/// The number of no count.
const NOT_COUNTED: i64 = -1;

/// The function.
#[derive(Debug, Clone)]
pub struct Work {
    pool: PgPool,
    boards: Option<Boards>,
}

impl Work {
    /// Counts in the database of `pool`; without `boards` nothing is shown in Redis.
    pub fn new(pool: PgPool, boards: Option<Boards>) -> Self {
        Self { pool, boards }
    }
}

/// What is to be shown.
#[derive(Debug)]
pub struct Call {
    /// The number of the count.
    run: i64,
    windows: Vec<Show>,
    /// All scores that it has changed, if they are known.
    changed: Option<Vec<Score>>,
    /// There is more to count.
    more: bool,
}

/// What is shown.
#[derive(Debug)]
pub struct Answer {
    shown: Vec<Shown>,
    more: bool,
}

impl ExternalFunction for Work {
    const NAME: &'static str = "leaderboard-rollup-work";
    const CONFIG: &'static str = include_str!("../work/function.json");
    const POLICY: Policy = Policy {
        // The next minute's run does what this one could not.
        max_attempts: 3,
        timeout: Duration::from_mins(4),
        ..Policy::DEFAULT
    };
    type Input = LeaderboardRollupDue;
    type Call = Call;
    type Answer = Answer;

    async fn prepare(
        &self,
        item: &Item<LeaderboardRollupDue>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Prepared<Call>, JobError> {
        let Some(name) = &item.input.source else {
            return fan_out(item, tx, cx).await;
        };
        let source = match declaration::source(tx, name).await {
            Ok(source) => source,
            Err(ReadError::Declaration(problem)) => {
                tracing::error!(leaderboard.source = name, error = %problem, "a source cannot be counted");
                return Ok(Prepared::End(Outcome::Skipped(problem.to_string())));
            }
            Err(ReadError::Database(error)) => return Err(error.into()),
        };
        // A board of a long history is built with one statement. To compile statements takes longer than it saves,
        // and so does to start processes for what is new: how much that is the planner guesses by the table's length.
        let processes = match item.input.task {
            RollupTask::Count => "set_config('max_parallel_workers_per_gather', '0', true)",
            RollupTask::Verify | RollupTask::Rebuild => "NULL",
        };
        let sql = format!(
            "SELECT set_config('statement_timeout', '200s', true), set_config('jit', 'off', true), {processes}"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        let is_free = match item.input.task {
            RollupTask::Count => true,
            RollupTask::Rebuild => again::rebuild(tx, &source, cx.now()).await?,
            RollupTask::Verify => match verify(&source, tx, cx).await? {
                Verified::Busy => false,
                Verified::Stands => return Ok(Prepared::End(Outcome::Completed)),
                Verified::Rebuilt => true,
            },
        };
        let counted = if is_free {
            count(tx, &source, cx.now()).await?
        } else {
            None
        };
        let Some(counted) = counted else {
            return Ok(match item.input.task {
                // What was counted is shown meanwhile, so that boards outlive a long count of somebody else.
                RollupTask::Count => Prepared::Call(Call {
                    run: NOT_COUNTED,
                    windows: publish::open(tx, &source, cx.now()).await?,
                    changed: None,
                    more: false,
                }),
                RollupTask::Verify | RollupTask::Rebuild => {
                    Prepared::End(Outcome::Snooze(cx.now() + AGAIN))
                }
            });
        };
        log(&source, &counted);
        Ok(Prepared::Call(Call {
            run: counted.run,
            windows: publish::open(tx, &source, cx.now()).await?,
            changed: counted.changed,
            more: counted.more,
        }))
    }

    async fn call(
        &self,
        _item: &Item<LeaderboardRollupDue>,
        call: Call,
        cx: &Cx,
    ) -> Result<Answer, JobError> {
        let mut shown = Vec::new();
        if let Some(boards) = &self.boards {
            for window in &call.windows {
                let changed = call.changed.as_deref();
                let changed = changed.filter(|_| window.is_changed_by(call.run));
                let told = window.show(boards, &self.pool, changed, cx.now()).await;
                match told {
                    Ok(told) => shown.push(told),
                    Err(error) => {
                        let is_away = matches!(
                            error,
                            ShowError::Cache(CacheError::Unreachable(_) | CacheError::TooSlow(_))
                        );
                        tracing::error!(
                            leaderboard.window = window.id,
                            error = causes(&error),
                            "a leaderboard is not shown; the next tick tries again"
                        );
                        if is_away {
                            // The others would wait for the same Redis.
                            break;
                        }
                    }
                }
            }
        }
        let more = call.more;
        Ok(Answer { shown, more })
    }

    async fn record(
        &self,
        item: &Item<LeaderboardRollupDue>,
        answer: &Answer,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        publish::note(tx, &answer.shown).await?;
        if answer.more {
            let rest = LeaderboardRollupDue {
                task: RollupTask::Count,
                ..item.input.clone()
            };
            return Ok(Outcome::go_on_with(&rest)?);
        }
        Ok(Outcome::Completed)
    }

    /// Nobody knows what Redis shows, so all of it is looked at; nothing is counted twice.
    async fn unknown(
        &self,
        item: &Item<LeaderboardRollupDue>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Prepared<Call>, JobError> {
        self.prepare(item, tx, cx).await
    }
}

/// What a verification has come to.
enum Verified {
    /// Somebody else counts.
    Busy,
    /// The scores are as they were.
    Stands,
    /// Open windows were counted anew, and are to be shown.
    Rebuilt,
}

/// Says whether the scores are what the events come to. They are put right where events may have become visible too
/// late to be counted; where none can have, somebody has to look at why they are not.
async fn verify(source: &Source, tx: &mut PgConnection, cx: &Cx) -> Result<Verified, JobError> {
    let Some(found) = again::verify(tx, source, cx.now()).await? else {
        return Ok(Verified::Busy);
    };
    again::prune_rejected(tx, source, cx.now()).await?;
    let is_late = matches!(source.mode, Mode::Overlap(_));
    for Drift { board, scores } in &found {
        if *scores == 0 {
            tracing::info!(
                leaderboard.board = board,
                "scores are what the events come to"
            );
        } else if is_late {
            tracing::warn!(
                leaderboard.board = board,
                leaderboard.drift = *scores,
                "scores are counted anew: events became visible later than the overlap of their source allows"
            );
        } else {
            tracing::error!(
                leaderboard.board = board,
                leaderboard.drift = *scores,
                "scores are not what the events come to; the task rebuild counts them anew"
            );
        }
    }
    if !is_late || found.iter().all(|drift| drift.scores == 0) {
        return Ok(Verified::Stands);
    }
    again::rebuild(tx, source, cx.now()).await?;
    Ok(Verified::Rebuilt)
}

/// A message for each source.
async fn fan_out(
    item: &Item<LeaderboardRollupDue>,
    tx: &mut PgConnection,
    cx: &Cx,
) -> Result<Prepared<Call>, JobError> {
    for source in declaration::names(tx).await? {
        let part = LeaderboardRollupDue {
            source: Some(source),
            ..item.input.clone()
        };
        cx.enqueue(item, Enqueue::to(QUEUE, &part)?);
    }
    Ok(Prepared::End(Outcome::Completed))
}

fn log(source: &Source, counted: &Counted) {
    for problem in &counted.problems {
        tracing::error!(leaderboard.source = source.name, error = %problem, "a board cannot be counted");
    }
    if !counted.rejected.is_empty() {
        tracing::warn!(
            leaderboard.source = source.name,
            leaderboard.rejected = ?counted.rejected,
            "events count for nothing; nightshift.leaderboard_rejected has the first of them"
        );
    }
    tracing::info!(
        leaderboard.source = source.name,
        leaderboard.mode = source.mode.as_str(),
        leaderboard.run = counted.run,
        leaderboard.events = counted.events,
        leaderboard.late = counted.late,
        leaderboard.voided = counted.voided,
        leaderboard.built = ?counted.built,
        leaderboard.closed = counted.closed,
        "counted"
    );
}
