//! The binding `timerTrigger`.

use super::Trace;

/// A `timerTrigger`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerTrigger {
    /// The binding's name, under which the timer's state travels in `Data`.
    pub name: String,
    /// An NCRONTAB expression or a time span; `%NAME%` is not resolved yet.
    pub schedule: String,
    /// Whether the function also runs when the host starts; false unless the file says otherwise.
    pub run_on_startup: bool,
    /// Whether the last run is remembered across restarts; true unless the file says otherwise.
    pub use_monitor: bool,
}

/// `None` without a schedule.
pub(super) fn read(trace: &mut Trace<'_, '_>, name: String) -> Option<TimerTrigger> {
    let schedule = trace.text("schedule");
    let path = trace.at("schedule");
    if trace.reader.is_absent(&path) {
        let what = "is missing: write an NCRONTAB expression, such as \"0 */5 * * * *\"";
        trace.problem("schedule", what);
    }
    let run_on_startup = trace.boolean("runOnStartup", false);
    let use_monitor = trace.boolean("useMonitor", true);
    Some(TimerTrigger {
        name,
        schedule: schedule?,
        run_on_startup,
        use_monitor,
    })
}
