//! What a schedule will do, as values.

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{Decision, Listed, OpenTicks, Overlap, Plan};
use nightshift_time::ncrontab::{ClockChange, Occurrence};

use super::changes::{Change, changes};

/// How far ahead changes of the clocks are looked for that come after the horizon.
const CHANGES_WITHIN: TimeDelta = TimeDelta::days(400);

/// How many of those are shown: one in spring and one in autumn.
const CHANGES: usize = 2;

/// What is near a change of the clocks.
const NEAR: TimeDelta = TimeDelta::hours(3);

/// How many runs are shown near a change.
const MOST_NEAR: usize = 6;

/// Runs are counted so far.
const MOST_COUNTED: usize = 100_000;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    /// How many runs of one function are shown.
    pub(super) most: usize,
}

/// What one schedule will do.
#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) listed: Listed,
    /// The runs until the horizon, the first ones.
    pub(super) runs: Vec<Occurrence>,
    /// How many more there are.
    pub(super) more: usize,
    /// The changes of the clocks until the horizon.
    pub(super) changes: Vec<Change>,
    /// The next changes after it, and the runs near them.
    pub(super) later: Vec<(Change, Vec<Occurrence>)>,
    pub(super) outage: Option<Outage>,
}

/// What would happen after an outage.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// By due time.
    pub(super) ends: Vec<End>,
}

/// What became of a tick, or of several that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) first: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
    /// `None`: more than ten thousand.
    pub(super) count: Option<u32>,
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Runs,
    Waits,
    Skipped(String),
}

impl Forecast {
    pub(super) fn new(
        listed: Listed,
        span: Span,
        outage: Option<(DateTime<Utc>, DateTime<Utc>)>,
    ) -> Self {
        let (timetable, zone) = (&listed.schedule, listed.schedule.zone());
        let mut ticks = timetable
            .ticks_after(span.from)
            .take_while(|tick| tick.instant() <= span.until);
        let runs: Vec<Occurrence> = ticks.by_ref().take(span.most).collect();
        let more = ticks.take(MOST_COUNTED).count();
        let changes_until = |from, until| changes(zone, from, until);
        let later = changes_until(span.until, span.until + CHANGES_WITHIN);
        let later = later.into_iter().take(CHANGES).map(|change| {
            let near = timetable
                .ticks_after(change.at - NEAR)
                .take_while(|tick| tick.instant() < change.at + NEAR);
            (change, near.take(MOST_NEAR).collect())
        });
        Self {
            runs,
            more,
            changes: changes_until(span.from, span.until),
            later: later.collect(),
            outage: outage.map(|(from, to)| {
                let plan = timetable.plan(from, to);
                let ends = ends(&plan, timetable.overlap());
                Outage { from, to, ends }
            }),
            listed,
        }
    }

    /// Whether more runs than are counted come until the horizon.
    pub(super) fn is_counted(&self) -> bool {
        self.more < MOST_COUNTED
    }
}

/// What becomes of everything in `plan`, if nothing was under way before.
fn ends(plan: &Plan, overlap: Overlap) -> Vec<End> {
    let decisions = overlap.decide(plan.runs.len(), OpenTicks::default());
    let runs = plan.runs.iter().zip(decisions).map(|(run, decision)| End {
        first: run.due,
        last: run.due,
        count: Some(1),
        fate: match decision {
            Decision::Enqueue => Fate::Runs,
            Decision::Buffer => Fate::Waits,
            Decision::Skip(why) => Fate::Skipped(why.to_owned()),
        },
    });
    let skipped = plan.skipped.iter().map(|skipped| End {
        first: skipped.first,
        last: skipped.last,
        count: skipped.count,
        fate: Fate::Skipped(skipped.why.to_string()),
    });
    let mut ends: Vec<End> = runs.chain(skipped).collect();
    ends.sort_by_key(|end| end.first);
    ends.into_iter().fold(Vec::new(), merged)
}

/// `ends` and `end`, which is joined to the one before if it is skipped for the same reason.
fn merged(mut ends: Vec<End>, end: End) -> Vec<End> {
    match ends.last_mut() {
        Some(last) if matches!(end.fate, Fate::Skipped(_)) && last.fate == end.fate => {
            last.last = end.last;
            last.count = last.count.zip(end.count).map(|(one, other)| one + other);
        }
        _ => ends.push(end),
    }
    ends
}

/// What a change of the clocks does to `run`.
pub(super) fn note(run: &Occurrence, is_interval: bool) -> Option<String> {
    let wall = run.wall().format("%H:%M:%S");
    Some(match run.clock_change()? {
        ClockChange::Skipped => format!("there is no {wall} that day"),
        ClockChange::FirstPass if is_interval => format!("the first of two {wall}"),
        ClockChange::FirstPass => format!("the first of two {wall}; the second does not run"),
        ClockChange::SecondPass => format!("the second of two {wall}"),
        _ => return None,
    })
}
