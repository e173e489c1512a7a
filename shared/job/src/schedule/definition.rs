//! A schedule that has been read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_time::ncrontab::{Crontab, Occurrence, Schedule as Expression, Tz, zone};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BadSchedule, Missed, Overlap, Schedule};

/// The longest `catch_up` and `jitter`: what is not known after so long is not known at all.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A [`Schedule`] that has been read and can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Definition", into = "Definition")]
pub struct Timetable {
    crontab: Crontab,
    zone: Tz,
    overlap: Overlap,
    missed: Missed,
    catch_up: Duration,
    jitter: Duration,
}

/// What is kept of a timetable, and shown of it.
#[derive(Debug, Serialize, Deserialize)]
struct Definition {
    cron: String,
    zone: String,
    overlap: Overlap,
    missed: Missed,
    catch_up_seconds: u64,
    jitter_seconds: u64,
}

impl Timetable {
    pub(super) fn new(schedule: &Schedule) -> Result<Self, BadSchedule> {
        Self::try_from(Definition {
            cron: schedule.cron.to_owned(),
            zone: schedule.zone.to_owned(),
            overlap: schedule.overlap,
            missed: schedule.missed,
            catch_up_seconds: schedule.catch_up.as_secs(),
            jitter_seconds: schedule.jitter.as_secs(),
        })
    }

    /// Reads what [`Self::to_json`] has written.
    pub fn from_json(text: &str) -> Result<Self, BadSchedule> {
        let definition = serde_json::from_str::<Definition>(text);
        Self::try_from(definition.map_err(|error| BadSchedule::Stored(error.to_string()))?)
    }

    /// The timetable as one line of JSON, the same for schedules that mean the same.
    pub fn to_json(&self) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The expression, in its canonical form.
    pub fn cron(&self) -> String {
        self.crontab.to_string()
    }

    /// The zone whose clocks it follows.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// What happens to ticks that overlap.
    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    /// Which missed ticks are run.
    pub fn missed(&self) -> Missed {
        self.missed
    }

    /// How long after its due time a missed tick may still be run.
    pub fn catch_up(&self) -> Duration {
        self.catch_up
    }

    /// Over how much time after their due time ticks are spread.
    pub fn jitter(&self) -> Duration {
        self.jitter
    }

    /// Whether the expression names intervals, which go on through an hour that comes twice, rather than
    /// points in time.
    pub fn is_interval(&self) -> bool {
        self.crontab.is_interval()
    }

    /// The `schedule` of the timer that wakes the function, which is NCRONTAB in UTC: each tick is at a
    /// wake-up, and at a wake-up without one nothing happens.
    pub fn wake_up(&self) -> String {
        self.crontab.wake_up(self.zone).to_string()
    }

    /// The ticks after `after`, in order.
    pub fn ticks_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = Occurrence> {
        let expression = Expression::Crontab(self.crontab.clone());
        let zone = self.zone;
        let first = expression.next_after(after, zone);
        std::iter::successors(first, move |last| {
            expression.next_after(last.instant(), zone)
        })
    }

    /// When the first tick after `after` is due; `None` at the end of the calendar.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ticks_after(after).next().map(|next| next.instant())
    }

    /// How much later than it is due the tick of `function` at `due` is run: always the same, and less
    /// than the jitter.
    pub fn delay(&self, function: &str, due: DateTime<Utc>) -> Duration {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if jitter == 0 {
            return Duration::ZERO;
        }
        let mut hash = Sha256::new();
        hash.update(function.as_bytes());
        hash.update(due.timestamp().to_be_bytes());
        let mut random = [0; 8];
        random.copy_from_slice(&hash.finalize()[..8]);
        Duration::from_millis(u64::from_be_bytes(random) % jitter)
    }
}

impl TryFrom<Definition> for Timetable {
    type Error = BadSchedule;

    fn try_from(definition: Definition) -> Result<Self, BadSchedule> {
        let expression = &definition.cron;
        if expression.split_whitespace().count() != 6 {
            return Err(BadSchedule::Fields(expression.clone()));
        }
        let crontab = expression.parse().map_err(|source| BadSchedule::Cron {
            expression: expression.clone(),
            source,
        })?;
        let catch_up = Duration::from_secs(definition.catch_up_seconds);
        let jitter = Duration::from_secs(definition.jitter_seconds);
        if catch_up > LONGEST || jitter > LONGEST {
            return Err(BadSchedule::Span(
                "catch_up and jitter must be at most 366 days",
            ));
        }
        if definition.missed == (Missed::All { max: 0 }) {
            return Err(BadSchedule::Span(
                "missed: all needs a max of at least 1; none is for not catching up",
            ));
        }
        Ok(Self {
            crontab,
            zone: zone(&definition.zone)?,
            overlap: definition.overlap,
            missed: definition.missed,
            catch_up,
            jitter,
        })
    }
}

impl From<Timetable> for Definition {
    fn from(timetable: Timetable) -> Self {
        Self {
            cron: timetable.crontab.to_string(),
            zone: timetable.zone.name().to_owned(),
            overlap: timetable.overlap,
            missed: timetable.missed,
            catch_up_seconds: timetable.catch_up.as_secs(),
            jitter_seconds: timetable.jitter.as_secs(),
        }
    }
}
