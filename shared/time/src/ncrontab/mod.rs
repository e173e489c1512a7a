//! NCRONTAB: the schedules of Azure Functions' timer triggers.
//!
//! An expression has six fields, `second minute hour day month day-of-week`, or five, without the
//! second; anything else must be a time span. The rules are those of the `NCrontab` library and of
//! the timer extension around it, which differ from every Rust crate for cron, and some of them
//! from every other cron:
//!
//! - Sunday is 0, and there is no 7. Day of month **and** day of week have to match.
//! - A reversed range is swapped, not wrapped: `5-1` is `1-5`.
//! - A name is any beginning of an English name, the first match wins: `M` is Monday or March.
//! - `25:00:00` is 25 days.
//!
//! At a change of the clocks every wall time runs once: one that is skipped runs as much later as
//! the clocks jumped, one that is repeated runs the first time only. Expressions that name
//! intervals ([`Crontab::is_interval`]) run on through the repetition.
//!
//! Two things are stricter than the original: a date that never comes (`0 0 0 30 2 *`) and a time
//! span of zero or less are refused at once, instead of waiting until the year 9999 or running
//! without a pause.
//!
//! ```
//! use nightshift_time::ncrontab::{Schedule, zone};
//!
//! let schedule: Schedule = "0 30 2 * * *".parse()?;
//! let after = "2026-03-28T12:00:00Z".parse()?;
//! let next = schedule.next_after(after, zone("Europe/Berlin")?);
//! let local = next.map(|next| next.local().to_rfc3339());
//! assert_eq!(local.as_deref(), Some("2026-03-29T03:30:00+02:00"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clocks;
mod crontab;
mod error;
mod field;
mod interval;
mod parser;
mod schedule;
#[cfg(test)]
mod tests;
mod values;
mod wake_up;
mod zone;

pub use chrono_tz::Tz;

pub use crontab::Crontab;
pub use error::{ParseError, Reason};
pub use field::Field;
pub use interval::Interval;
pub use schedule::{ClockChange, Occurrence, Schedule};
pub use zone::{UnknownZone, zone};
