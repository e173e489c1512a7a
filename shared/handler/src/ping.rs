//! Tells those who watch a schedule from outside how its ticks end.
//!
//! A service that waits for a sign of life from each schedule, and raises an alarm when none comes, notices
//! what nobody inside can: that nothing runs at all. So the sign is sent after the commit of a tick's end,
//! and by nobody else: a process that dies in between sends none, which is at most a false alarm. What is
//! sent late, or not, holds up no work.
//!
//! Each schedule has a line of its own, on which one ping is under way at a time, so that the last one says
//! how the last tick ended. What is still to be said is said once: ticks that end while a ping is under way
//! share the next one.

mod settings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nightshift_fetch::{Guard, Limits, fetch_public};
use nightshift_job::TickId;
use nightshift_postgres::schedule::{Ended, Finished};
use nightshift_settings::{ExposeSecret, SecretString};
use nightshift_telemetry::causes;
use nightshift_telemetry::metrics::PINGS;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use warp::http::Request;

pub use settings::PingSettings;

/// How long an answer may take, and be.
const LIMITS: Limits = Limits {
    patience: Duration::from_secs(10),
    max_bytes: 64 << 10,
};

/// How long is waited before the second and the third try; the last one ends within a minute of the first.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// The end of a tick, as those outside see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TickEnd {
    pub(crate) schedule: String,
    pub(crate) is_well: bool,
}

impl TickEnd {
    /// What is to be said of `tick`, if it has ended and that can be said.
    pub(crate) fn of(tick: &TickId, ended: &Ended, finished: &Finished) -> Option<Self> {
        let is_well = ended.is_well().filter(|_| finished.has_ended)?;
        Some(Self {
            schedule: tick.function().to_owned(),
            is_well,
        })
    }
}

/// Where a ping goes.
#[derive(Debug, Clone)]
struct Target {
    /// It holds a token.
    url: SecretString,
    host: String,
}

/// Sends pings. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    guard: Guard,
    lines: BTreeMap<String, Line>,
    under_way: TaskTracker,
}

/// Whom to tell of one schedule.
#[derive(Debug, Default)]
struct Line {
    well: Option<Target>,
    failed: Option<Target>,
    pending: Mutex<Pending>,
}

/// What is still to be said, in order: whether ticks have ended well. Each is there once at most.
#[derive(Debug, Default)]
struct Pending {
    ends: Vec<bool>,
    /// Whether somebody is saying it.
    is_busy: bool,
}

impl Line {
    fn target(&self, is_well: bool) -> Option<&Target> {
        if is_well {
            self.well.as_ref()
        } else {
            self.failed.as_ref()
        }
    }

    /// Takes down one more to be said. Returns whether nobody is at it.
    fn push(&self, is_well: bool) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.ends.retain(|end| *end != is_well);
        pending.ends.push(is_well);
        !std::mem::replace(&mut pending.is_busy, true)
    }

    /// What is to be said next. After `None` nobody is at it.
    fn next(&self) -> Option<bool> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.is_busy = !pending.ends.is_empty();
        pending.is_busy.then(|| pending.ends.remove(0))
    }
}

impl Pings {
    /// Tells in the background how ticks have ended, whose end is committed.
    pub(crate) fn tell(&self, ends: Vec<TickEnd>) {
        for TickEnd { schedule, is_well } in ends {
            let line = self.0.lines.get(&schedule);
            let has_target = line.is_some_and(|line| line.target(is_well).is_some());
            if has_target && line.is_some_and(|line| line.push(is_well)) {
                let inner = Arc::clone(&self.0);
                let saying = async move { inner.say_all(&schedule).await };
                self.0.under_way.spawn(saying);
            }
        }
    }

    /// Returns once nothing is under way any more. What is told from then on is not waited for.
    pub(crate) async fn close(&self) {
        self.0.under_way.close();
        self.0.under_way.wait().await;
    }
}

impl Inner {
    async fn say_all(&self, schedule: &str) {
        let Some(line) = self.lines.get(schedule) else {
            return;
        };
        while let Some(is_well) = line.next() {
            if let Some(target) = line.target(is_well) {
                self.say(schedule, target).await;
            }
        }
    }

    async fn say(&self, schedule: &str, target: &Target) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(why) = self.ask(target).await else {
                PINGS.add(&[schedule, "sent"], 1);
                return;
            };
            let Some(pause) = pauses.next() else {
                PINGS.add(&[schedule, "unsent"], 1);
                tracing::warn!(
                    schedule.function = schedule,
                    ping.host = target.host,
                    ping.tries = PAUSES.len() + 1,
                    error = why,
                    "a ping was not taken; who watches the schedule may raise a false alarm"
                );
                return;
            };
            sleep(pause).await;
        }
    }

    /// One try.
    async fn ask(&self, target: &Target) -> Result<(), String> {
        let request = Request::get(target.url.expose_secret()).body(Bytes::new());
        // The error would say nothing of use, and the address is not to be said.
        let request = request.map_err(|_| "its address cannot be read".to_owned())?;
        let answer = fetch_public(request, LIMITS, &self.guard).await;
        let status = answer.map_err(|error| causes(&error))?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("{} answered {status}", target.host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_that_is_to_be_said_is_there_once_and_the_last_one_comes_last() {
        let line = Line::default();
        assert!(line.push(true), "nobody was at it");
        assert_eq!(line.next(), Some(true));
        for is_well in [true, false, false, true, true] {
            assert!(!line.push(is_well), "somebody is at it");
        }
        assert_eq!([line.next(), line.next()], [Some(false), Some(true)]);
        assert_eq!(line.next(), None);
        assert!(line.push(false), "nobody is at it any more");
    }
}
