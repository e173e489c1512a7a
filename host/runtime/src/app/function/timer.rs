//! Functions that the clock triggers.
//!
//! Schedules are in the zone that `WEBSITE_TIME_ZONE` names, or else `TZ`, and in UTC without
//! either.

use nightshift_bindings::function_json::TimerTrigger;
use nightshift_bindings::problem::ConfigProblem;
use nightshift_bindings::retry::RetryPolicy;
use nightshift_bindings::substitution::resolve_names;
use nightshift_time::ncrontab::{Schedule, Tz, zone};

use super::{Context, ServiceBusOutputs};
use nightshift_settings::Lookup;

/// The settings that may name a zone, the first first.
const ZONES: [&str; 2] = ["WEBSITE_TIME_ZONE", "TZ"];

/// A function with a `timerTrigger`.
#[derive(Debug, Clone)]
pub(crate) struct TimerFunction {
    /// The folder's name.
    pub(crate) name: String,
    /// The trigger binding's name.
    pub(crate) binding: String,
    pub(crate) schedule: Schedule,
    pub(crate) zone: Tz,
    pub(crate) runs_on_startup: bool,
    /// Whether the last run is remembered across restarts.
    pub(crate) is_monitored: bool,
    /// What becomes of runs that fail.
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) outputs: ServiceBusOutputs,
}

/// Reads schedule and zone.
pub(super) fn resolve(
    context: Context<'_>,
    trigger: &TimerTrigger,
) -> Result<TimerFunction, Vec<ConfigProblem>> {
    let Context { file, lookup, .. } = context;
    let retry = file.retry.clone();
    let at_schedule = |what: String| file.trigger_problem("schedule", what);
    let schedule = resolve_names(&trigger.schedule, |name| lookup.value(name))
        .map_err(|error| at_schedule(error.to_string()))
        .and_then(|text| {
            let parsed: Result<Schedule, _> = text.parse();
            parsed.map_err(|error| at_schedule(error.to_string()))
        });
    let zone = configured_zone(lookup).map_err(at_schedule);
    match (schedule, zone) {
        (Ok(schedule), Ok(zone)) => Ok(TimerFunction {
            name: context.name.to_owned(),
            binding: trigger.name.clone(),
            zone,
            runs_on_startup: trigger.run_on_startup,
            is_monitored: trigger.use_monitor && schedule.is_worth_monitoring(),
            schedule,
            retry: retry.or_else(|| context.host_json.retry.clone()),
            outputs: context.outputs,
        }),
        (schedule, zone) => Err(schedule.err().into_iter().chain(zone.err()).collect()),
    }
}

fn configured_zone(lookup: &Lookup) -> Result<Tz, String> {
    for setting in ZONES {
        let Some(name) = lookup.get(setting).filter(|name| !name.trim().is_empty()) else {
            continue;
        };
        let name = name.trim().trim_start_matches(':');
        return zone(name).map_err(|error| format!("the setting {setting}: {error}"));
    }
    Ok(Tz::UTC)
}
