//! What a function is, independent of how it is called and of how its outcome is kept.
//!
//! A function is a type with constants and async methods, in one of three shapes: [`BatchFunction`]
//! (all that waits in one commit), [`TransactionalFunction`] (a commit for each message) and
//! [`ExternalFunction`] (an effect outside the database). It gets typed input, the open transaction
//! in which everything it does must happen, and a [`Cx`]; it says with an [`Outcome`] or a
//! [`JobError`] how it went. Whether an error is worth another try is decided
//! once, by [`Classify`], so that functions use plain `?`. A [`ScheduledFunction`] is the clock's door to
//! another function: its [`Schedule`] says when that one gets a message.

mod backoff;
mod classify;
mod cx;
mod enqueue;
mod function;
mod key;
mod limit;
mod listed;
mod outcome;
mod schedule;
mod scheduled;

pub use backoff::Backoff;
pub use classify::{Classify, Disposition, JobError};
pub use cx::{AfterCommit, Cx};
pub use enqueue::{Enqueue, EnqueueError};
pub use function::{
    BatchFunction, ExternalFunction, Item, KeyOf, Policy, Prepared, SessionRule,
    TransactionalFunction,
};
pub use key::{BodyHash, ConcurrencyKey, JobKey};
pub use limit::{BadRateLimit, LONGEST_SPAN, Rate, RateLimit, WhenAway};
pub use listed::ListedFunction;
pub use outcome::{Children, Outcome, Refusal};
pub use schedule::{
    BadRequestId, BadSchedule, Decision, Due, GRACE, Listed, MAX_CATCH_UP, MAX_NAME_LENGTH, Missed,
    OpenTicks, Overlap, Plan, REPLACED, RequestId, Schedule, Skipped, Tick, TickId, TickKind,
    Timetable, WhySkipped,
};
pub use scheduled::ScheduledFunction;
