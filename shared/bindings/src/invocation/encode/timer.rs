//! The envelope of a timer's tick.

use std::fmt::Display;

use chrono::{DateTime, TimeZone};
use serde_json::{Value, json};

use super::Envelope;
use super::time::spelt_local;

/// What .NET calls the beginning of time: the last run of a timer that has never run.
const NEVER: &str = "0001-01-01T00:00:00+00:00";

/// What is remembered of a timer, in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleStatus<Z: TimeZone> {
    /// When the last run was due, if there was one.
    pub last: Option<DateTime<Z>>,
    /// When the next one is.
    pub next: DateTime<Z>,
    /// When this was written down.
    pub last_updated: DateTime<Z>,
}

/// A timer's tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerInvocation<Z: TimeZone> {
    /// Whether wall time decides: true for an expression, false for a time span.
    pub adjusts_for_dst: bool,
    /// What is remembered; `None` when the timer is not monitored.
    pub status: Option<ScheduleStatus<Z>>,
    /// Whether the tick comes later than it was due.
    pub is_past_due: bool,
    /// What went before, when a failed run is tried again.
    pub retry: Option<RetryContext>,
}

/// What a run that is tried again is told (`RetryContext`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryContext {
    /// Which retry this is, counted from 1.
    pub count: u32,
    /// How many there may be; `None`, on the wire -1, for without end.
    pub max_count: Option<u32>,
    /// Why the run before failed.
    pub failure: String,
}

impl Envelope<'_> {
    /// The `POST` body of an invocation by a timer.
    pub fn encode_timer<Z: TimeZone<Offset: Display>>(&self, tick: &TimerInvocation<Z>) -> Vec<u8> {
        let status = tick.status.as_ref().map(|status| {
            json!({
                "Last": status.last.as_ref().map_or_else(|| NEVER.to_owned(), spelt_local),
                "LastUpdated": spelt_local(&status.last_updated),
                "Next": spelt_local(&status.next),
            })
        });
        let data: Value = json!({
            "Schedule": {"AdjustForDST": tick.adjusts_for_dst},
            "ScheduleStatus": status,
            "IsPastDue": tick.is_past_due,
        });
        let mut named = serde_json::Map::new();
        named.insert(self.binding.to_owned(), data);
        let mut metadata = json!({"sys": self.sys()});
        if let Some(retry) = &tick.retry {
            metadata["RetryContext"] = json!({
                "RetryCount": retry.count,
                "MaxRetryCount": retry.max_count.map_or(-1, i64::from),
                "Exception": retry.failure,
            });
        }
        json!({"Data": named, "Metadata": metadata})
            .to_string()
            .into_bytes()
    }
}
