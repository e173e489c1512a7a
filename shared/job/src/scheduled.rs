//! The shape of a function that the clock calls.

use nightshift_contract::Payload;
use serde::Serialize;

use crate::{Schedule, Tick};

/// A timer's door: it does nothing but give its work a message for each tick of its schedule.
///
/// The function's `function.json` has a `timerTrigger` whose `schedule` is
/// [`Timetable::wake_up`](crate::Timetable::wake_up) of [`Self::SCHEDULE`]. A wake-up only makes somebody
/// look at what is due: one that is late, comes twice or not at all changes nothing.
pub trait ScheduledFunction: Send + Sync + 'static {
    /// The Azure function's name, `<job>-<door>`.
    const NAME: &'static str;

    /// The text of its `function.json`.
    const CONFIG: &'static str;

    /// When it runs.
    const SCHEDULE: Schedule;

    /// The text of the `function.json` of the function that does the work, whose queue gets a message
    /// for each tick.
    const WORK: &'static str;

    /// The body of the messages: the input of that function.
    type Payload: Payload + Serialize;

    /// The body of the message for `tick`: always the same for the same tick.
    fn payload(&self, tick: &Tick) -> Self::Payload;
}
