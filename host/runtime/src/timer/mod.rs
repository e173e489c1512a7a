//! The listener of one function that the clock triggers.
//!
//! Of all hosts with the same state folder one holds the timer's lock and runs it; the others wait
//! for the lock, which the kernel releases when its holder dies, however it dies. A run never
//! overlaps the next: the timer is set again when the run has ended, from the moment it began, so
//! that of several missed runs one follows. What the handler makes of a run changes nothing in the
//! schedule.

mod plan;
mod status;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::HeaderName;
use nightshift_bindings::function_json::DataType;
use nightshift_bindings::invocation::encode::{
    Envelope, RetryContext, ScheduleStatus, TimerInvocation,
};
use nightshift_telemetry::causes;
use nightshift_time::ncrontab::Schedule;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{Mode, TimerFunction};
use crate::call::{Caller, Failure, insert, instant};
use crate::gate::Gate;
use crate::stats::Counters;
use status::Status;

/// When the run was due, in RFC 3339 (default mode): the same for a tick whoever runs it and how often.
const DUE: HeaderName = HeaderName::from_static("x-nightshift-due");

/// How often a waiting host tries to get a timer's lock, unless `host.json` says otherwise.
const LOCK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest sleep: the wall clock may be set in between.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What a timer works with.
#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) function: TimerFunction,
    pub(crate) caller: Caller,
    pub(crate) counters: Arc<Counters>,
    /// Whether to begin runs.
    pub(crate) gate: Gate,
    /// Gives up the run that is under way.
    pub(crate) cancel: CancellationToken,
}

/// What a run is told.
struct Tick<'a> {
    status: Option<&'a Status>,
    /// When the run was due, if the schedule asked for it.
    due: Option<DateTime<Utc>>,
    is_past_due: bool,
    retry: Option<RetryContext>,
}

impl Timer {
    /// Runs until the host stops. A host that takes on nothing leaves the timer to others.
    pub(crate) async fn run(self) {
        while self.gate.opened().await {
            self.counters.set_listening(true);
            if let Some(lock) = self.only_one().await {
                tracing::info!(function.name = %self.function.name, "this host runs the timer");
                self.keep_time().await;
                drop(lock);
            }
            self.counters.set_listening(false);
            self.gate.closed().await;
        }
    }

    /// One run that somebody asked for; nothing is remembered of it.
    pub(crate) async fn run_by_hand(self) {
        self.run_once(None, None, false).await;
    }

    /// Waits for the lock; `None` when the gate closes first.
    async fn only_one(&self) -> Option<Flock<File>> {
        let singleton = &self.caller.config.singleton;
        let interval = singleton.listener_lock_recovery_polling_interval;
        let interval = interval.unwrap_or(LOCK_INTERVAL);
        let mut is_told = false;
        loop {
            match try_lock(self.folder(), &self.function.name) {
                Ok(Some(lock)) => return Some(lock),
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(
                        function.name = %self.function.name,
                        timer.folder = %self.folder().display(),
                        error = %error,
                        "the timer cannot be locked, so it does not run; trying again \
                         (NIGHTSHIFT_HOST_STATE_DIR chooses another folder)"
                    );
                }
                Ok(None) | Err(_) => {}
            }
            tokio::select! {
                () = self.gate.closed() => return None,
                () = sleep(interval) => {}
            }
        }
    }

    async fn keep_time(&self) {
        let (schedule, zone) = (&self.function.schedule, self.function.zone);
        let name = &self.function.name;
        let remembered = || Status::read(self.folder(), name);
        let remembered = self.function.is_monitored.then(remembered).flatten();
        let Some(start) = plan::begin(schedule, zone, self.now(), remembered) else {
            self.tell_the_end();
            return;
        };
        let mut status = start.status;
        self.remember(&status);
        let mut is_past_due = start.is_past_due;
        let mut is_due = is_past_due || self.function.runs_on_startup;
        loop {
            if !is_due && !self.wait_until(status.next).await || !self.gate.is_open() {
                return;
            }
            let begun = self.now();
            let is_scheduled = !is_due || is_past_due;
            let due = is_scheduled.then_some(status.next);
            self.run_once(Some(&status), due, is_past_due).await;
            (is_due, is_past_due) = (false, false);
            let Some(next) = plan::next(schedule, zone, begun) else {
                self.tell_the_end();
                return;
            };
            status = Status {
                last: Some(begun),
                next,
                last_updated: self.now(),
            };
            self.remember(&status);
        }
    }

    /// False when the gate closes first.
    async fn wait_until(&self, time: DateTime<Utc>) -> bool {
        loop {
            let Ok(left) = (time - self.now()).to_std() else {
                return true;
            };
            if left.is_zero() {
                return true;
            }
            tokio::select! {
                () = self.gate.closed() => return false,
                () = sleep(left.min(LONGEST_SLEEP)) => {}
            }
        }
    }

    /// One run, and as many more as the retry policy allows until one succeeds. How often was tried
    /// is forgotten with the host.
    async fn run_once(
        &self,
        status: Option<&Status>,
        due: Option<DateTime<Utc>>,
        is_past_due: bool,
    ) {
        let mut tick = Tick {
            status,
            due,
            is_past_due,
            retry: None,
        };
        // Failures are told by the run itself.
        while let Err(failure) = self.tick(&tick).await {
            let number = tick.retry.as_ref().map_or(0, |retry| retry.count) + 1;
            let policy = self.function.retry.as_ref();
            let Some(pause) = policy.and_then(|policy| policy.pause_before(number)) else {
                return;
            };
            tokio::select! {
                () = self.gate.closed() => return,
                () = sleep(pause) => {}
            }
            tick.retry = Some(RetryContext {
                count: number,
                max_count: policy.and_then(|policy| policy.max_retry_count),
                failure: causes(&failure),
            });
        }
    }

    /// One try, which is counted and told.
    async fn tick(&self, tick: &Tick<'_>) -> Result<(), Failure> {
        let id = Uuid::new_v4();
        let begun = Instant::now();
        let running = self.counters.invocation_began();
        let outcome = tokio::select! {
            outcome = self.call(id, tick) => outcome,
            () = self.cancel.cancelled() => Err(Failure::HostStopped),
        };
        drop(running);
        self.counters
            .invocation_ended(0, outcome.is_err(), begun.elapsed());
        let name = &self.function.name;
        match outcome {
            Ok(logs) => {
                for line in logs {
                    tracing::info!(function.name = %name, invocation.id = %id, "{line}");
                }
                Ok(())
            }
            Err(failure) => {
                tracing::warn!(
                    function.name = %name,
                    invocation.id = %id,
                    error = causes(&failure),
                    "the invocation failed; the timer goes on"
                );
                Err(failure)
            }
        }
    }

    async fn call(&self, id: Uuid, tick: &Tick<'_>) -> Result<Vec<String>, Failure> {
        self.caller.awaited_handler().await?;
        let zone = self.function.zone;
        let envelope = Envelope {
            function: &self.function.name,
            binding: &self.function.binding,
            data_type: DataType::Unspecified,
            now: self.now(),
            random: Uuid::new_v4(),
        };
        let status = tick.status.filter(|_| self.function.is_monitored);
        let invocation = TimerInvocation {
            adjusts_for_dst: matches!(self.function.schedule, Schedule::Crontab(_)),
            status: status.map(|status| ScheduleStatus {
                last: status.last.map(|last| last.with_timezone(&zone)),
                next: status.next.with_timezone(&zone),
                last_updated: status.last_updated.with_timezone(&zone),
            }),
            is_past_due: tick.is_past_due,
            retry: tick.retry.clone(),
        };
        let body = envelope.encode_timer(&invocation);
        let mut headers = self.caller.headers(id);
        if self.caller.mode() == Mode::Default
            && let Some(due) = tick.due
        {
            insert(&mut headers, DUE, &instant(due));
        }
        let response = self.caller.post(&self.function.name, headers, body).await?;
        let outputs = &self.function.outputs;
        self.caller.send_outputs(outputs, &response).await?;
        Ok(response.logs)
    }

    /// Writes down where the timer is. A failure costs at most a late or a second run after the
    /// next start, so it stops nothing.
    fn remember(&self, status: &Status) {
        if !self.function.is_monitored {
            return;
        }
        if let Err(error) = status.write(self.folder(), &self.function.name) {
            tracing::warn!(
                function.name = %self.function.name,
                error = %error,
                "where the timer is could not be written down"
            );
        }
    }

    fn tell_the_end(&self) {
        tracing::warn!(function.name = %self.function.name, "the timer has no further occurrence");
    }

    fn now(&self) -> DateTime<Utc> {
        self.caller.config.clock.now()
    }

    fn folder(&self) -> &Path {
        &self.caller.config.settings.state_folder
    }
}

/// The timer's lock, if nobody has it.
fn try_lock(folder: &Path, function: &str) -> io::Result<Option<Flock<File>>> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{function}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}
